"""A backend for models that are a table: vectors of tokens, whose mean is a text's, or weights of terms. It needs numpy alone.

Importing this module is cheap; the table is read or mapped into memory by `load`.
"""

from embedry.backend import Backend, Encoder, LoadRequest
from embedry.heads import TermTable
from embedry.modules import StaticEmbedding


class StaticBackend(Backend):
    """See `embedry.backend.Backend`."""

    devices = ("cpu",)
    precisions = ("fp32",)
    modules = (StaticEmbedding, TermTable)
    outputs = ("dense", "sparse")

    def load(self, request: LoadRequest) -> Encoder:
        """The table of the entry's first module."""
        if isinstance(request.spec.body[0], TermTable):
            from embedry_static.terms import TermEncoder

            return TermEncoder(request.spec, request.folder, threads=request.threads)
        from embedry_static.encoder import StaticEncoder

        return StaticEncoder(request.spec, request.folder, threads=request.threads)


backend = StaticBackend()
