"""Bulk jobs on a Ray cluster: `embedry bulk run OUT --on ray`; and `EmbedBatch` for pipelines of Ray Data.

Importing this module does not import Ray.
"""

from embedry_ray.batch import EmbedBatch

__all__ = ["EmbedBatch"]
