"""A backend for table models: token vectors, averaged per text, or weights of terms. It only requires numpy.

Importing this module is cheap; `load` reads the table or maps it into memory.
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
        """Loads the table of the entry's first module."""
        if isinstance(request.spec.body[0], TermTable):
            from embedry_static.terms import TermEncoder

            return TermEncoder(request.spec, request.folder, threads=request.threads)
        from embedry_static.encoder import StaticEncoder

        return StaticEncoder(request.spec, request.folder, threads=request.threads)


backend = StaticBackend()
