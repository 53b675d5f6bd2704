"""A backend for static models, in which a text's vector is the mean of its tokens' rows of a table. It needs numpy alone.

Importing this module is cheap; the table is mapped into memory by `load`.
"""

from embedry.backend import Backend, Encoder, LoadRequest
from embedry.modules import StaticEmbedding


class StaticBackend(Backend):
    """See `embedry.backend.Backend`."""

    devices = ("cpu",)
    precisions = ("fp32",)
    modules = (StaticEmbedding,)

    def load(self, request: LoadRequest) -> Encoder:
        """The table of the entry's first module."""
        from embedry_static.encoder import StaticEncoder

        return StaticEncoder(request.spec, request.folder, threads=request.threads)


backend = StaticBackend()
