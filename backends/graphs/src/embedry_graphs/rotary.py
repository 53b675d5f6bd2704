"""Rotary positions (Su et al. 2021, arXiv:2104.09864): rotates pairs of channels of queries and keys by position."""

import numpy as np

from embedry_graphs import blocks
from embedry_graphs.graph import Graph
from embedry_graphs.shape import Shape


class Rotary:
    """Rotates queries and keys. A head's channel i is paired with channel i + half, as in GPT-NeoX."""

    def __init__(self, graph: Graph, shape: Shape, theta: float) -> None:
        """The angles of all positions.

        Position p turns pair i by p / theta^(2i / width). With `shape.ntk_factor` f the base is theta * f and every angle is
        divided by f^(2 / width), as the code of Alibaba's "new" architecture does ("NTK-aware" scaling, without its `mixed_b`).
        """
        self._graph = graph
        width = shape.head_width
        base = theta * shape.ntk_factor
        # float32 as in the original code: over thousands of positions the difference to float64 is seen.
        speeds = 1 / np.float32(base) ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width))
        speeds = speeds / np.float32(shape.ntk_factor ** (2 / width))
        angles = np.outer(np.arange(shape.positions, dtype=np.float32), speeds)
        self._cos, self._sin = (graph.weight(turn(angles).astype(np.float32)) for turn in (np.cos, np.sin))
        columns = graph.op(
            "Range", graph.scalar(np.int64(0)), graph.op("Squeeze", blocks.sequence(graph)), graph.scalar(np.int64(1))
        )
        self._positions = graph.op("Expand", columns, graph.op("Shape", "input_ids"))

    def __call__(self, x: str, heads: int, *, first_only: bool = False) -> str:
        """Rotated queries or keys, (batch, sequence, heads * head width).

        Those of first tokens alone, (batch, 1, heads * head width), stay as they are: the first position's angles are 0.
        """
        if first_only:
            return x
        return self._graph.op("RotaryEmbedding", x, self._cos, self._sin, self._positions, num_heads=heads)
