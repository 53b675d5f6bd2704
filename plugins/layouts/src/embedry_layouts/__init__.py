"""Creates entries for unregistered models from the files of a folder or repository. Unsupported settings raise an error.

An entry point in `embedry.layouts`; the core calls it for a folder, or for a repository that no plugin registers.
"""

from embedry_layouts.layout import from_folder, from_hub, from_hub_at

__all__ = ["from_folder", "from_hub", "from_hub_at"]
