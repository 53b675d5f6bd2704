"""The token budget of a batch on a CPU."""

from embedry import ModelSpec

BATCH_TOKENS = 512
"""Padded tokens a batch. Measured: fewer leave the products small, more overflow the caches; from 256 to 1,024 it hardly
matters (docs/performance.md)."""

_ROWS = 2**24
"""Weights of a sparse model's batch, 64 MB, if its texts have no more than `_FEWEST` tokens."""

_FEWEST = 3
"""The tokens of nearly any text, with special ones."""


def batch_tokens(spec: ModelSpec, usual: int = BATCH_TOKENS) -> int:
    """Padded tokens per batch; fewer than usual if batches of short texts would have too many term weights."""
    return min(usual, max(1, _FEWEST * _ROWS // spec.dims)) if spec.kind == "sparse" else usual
