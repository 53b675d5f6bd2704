"""Attention of all families: all heads, over the real tokens of each text, at once for short texts and in blocks for long ones.

For a long text, at most the scores of `BLOCK` queries are in memory, that is heads * BLOCK * sequence numbers: 100 MB for 12
heads and 8,192 tokens, where all scores would be 3.2 GB. In a layer with a window, a block only computes the keys in its window.
An engine with memory-efficient attention processes long texts at once, see `Graph.whole`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embedry_graphs import blocks
from embedry_graphs.graph import Graph
from embedry_graphs.shape import Shape

SHORT = 512
"""Tokens up to which a text is computed whole. A longer one exceeds a batch's budget, and so comes alone."""

BLOCK = 256
"""Queries of a block. Measured over 8,192 tokens of 12 heads of 64: 1.47 s with 128, 1.36 with 256, 1.33 with 512, 1.22 for ONNX
Runtime's own attention in blocks, which takes no mask; with a window of 128: 0.09, 0.11 and 0.15."""

_FAR_BELOW = np.float32(-1e30)
"""Added to a score, no other counts beside it, and it is a number in bfloat16 too."""

Mask = Callable[[Graph, str], str]
"""From the distances of keys from queries, int64 (queries, keys), what Attention takes as its mask: whether a query sees a key,
boolean of the same shape, or what is added to the scores, float32 (1, heads, queries, keys)."""


@dataclass(frozen=True)
class Pattern:
    """The keys that a query attends to, and the terms added to their scores."""

    mask: Mask | None = None
    """None where every query sees every key."""
    is_bias: bool = False
    """Whether the mask is added to the scores."""
    back: int | None = None
    """The greatest distance to a key before the query that is seen; None for all."""
    ahead: int | None = None
    """The same for keys behind it."""
    table: str = ""
    """The mask of the first `SHORT` positions, (1, heads, SHORT, SHORT), where slicing it is faster than computing it."""


EVERYTHING = Pattern()


def causal(window: int | None = None) -> Pattern:
    """A query attends to itself and earlier tokens, up to a distance of `window`."""

    def mask(graph: Graph, distances: str) -> str:
        seen = graph.op("LessOrEqual", distances, graph.integers(0))
        if window is None:
            return seen
        return graph.op("And", seen, graph.op("GreaterOrEqual", distances, graph.integers(-window)))

    return Pattern(mask, back=window, ahead=0)


def within(window: int) -> Pattern:
    """A query attends to keys up to a distance of `window` on both sides."""

    def mask(graph: Graph, distances: str) -> str:
        return graph.op("LessOrEqual", graph.op("Abs", distances), graph.integers(window))

    return Pattern(mask, back=window, ahead=window)


class Attention:
    """The attention of all layers of one model."""

    def __init__(self, graph: Graph, shape: Shape) -> None:
        self._graph = graph
        self._shape = shape
        self._lengths = blocks.lengths(graph)
        self._masks: dict[Pattern, str] = {}

    def __call__(
        self, query: str, key: str, value: str, pattern: Pattern = EVERYTHING, *, first_only: bool = False
    ) -> str:
        """The attention output: (batch, sequence, heads * head width), or for first tokens alone (batch, 1, ...).

        Args:
            query: the queries of all tokens, or with `first_only` of first tokens, (batch, sequence, heads * head width).
            key: the keys of all tokens, (batch, sequence, key heads * head width).
            value: the values, like key.
            pattern: the attention pattern.
            first_only: whether there is only the first token's query.
        """
        mask = self._whole_mask(pattern)
        if first_only and mask:
            mask = blocks.first(self._graph, mask, axis=-2)

        def whole() -> str:
            return self._attend(query, key, value, mask, self._lengths)

        if self._graph.whole or 0 < self._shape.positions <= SHORT:
            return whole()
        return self._graph.choose(self._is_short, whole, lambda: self._in_blocks(query, key, value, pattern))

    # Added by the first layer that needs them: a runtime computes also what nothing reads.
    @cached_property
    def _sequence(self) -> str:
        return blocks.sequence(self._graph)

    @cached_property
    def _is_short(self) -> str:
        graph = self._graph
        return graph.op("Squeeze", graph.op("LessOrEqual", self._sequence, graph.integers(SHORT)))

    def _attend(self, query: str, key: str, value: str, mask: str, lengths: str) -> str:
        shape = self._shape
        return self._graph.op(
            "Attention", query, key, value, mask, "", "", lengths,
            q_num_heads=shape.heads, kv_num_heads=shape.key_heads, scale=shape.scale,
        )  # fmt: skip

    def _whole_mask(self, pattern: Pattern) -> str:
        """The mask for computing a text at once, created once for all layers with this pattern; "" for none."""
        if pattern.mask is None:
            return ""
        if pattern not in self._masks:
            graph = self._graph
            end = self._sequence if graph.whole else graph.op("Min", self._sequence, graph.integers(SHORT))
            self._masks[pattern] = (
                graph.op(
                    "Slice",
                    pattern.table,
                    graph.integers(0, 0),
                    graph.op("Concat", end, end, axis=0),
                    graph.integers(2, 3),
                )
                if pattern.table
                else self._finite(pattern, pattern.mask(graph, self._distances("", end, "", end)))
            )
        return self._masks[pattern]

    def _finite(self, pattern: Pattern, mask: str) -> str:
        """For an engine that computes texts whole, a mask with which no row of scores is minus infinity throughout.

        In a layer with a window the last padding sees no key. Its softmax is not a number then, unless an engine looks for such
        rows, which keeps OpenVINO from fusing the attention.
        """
        if not self._graph.whole or pattern.is_bias:
            return mask
        graph = self._graph
        return graph.op("Where", mask, graph.scalar(np.float32(0)), graph.scalar(_FAR_BELOW))

    def _distances(self, first_query: str, end_query: str, first_key: str, end_key: str) -> str:
        """Key position minus query position, int64 (queries, keys), of ranges given as int64 (1,); "" begins at 0."""
        queries, keys = self._range(first_query, end_query), self._range(first_key, end_key)
        return self._graph.op("Sub", keys, self._graph.op("Unsqueeze", queries, self._graph.integers(1)))

    def _range(self, first: str, end: str) -> str:
        graph = self._graph
        start = graph.op("Squeeze", first) if first else graph.scalar(np.int64(0))
        return graph.op("Range", start, graph.op("Squeeze", end), graph.scalar(np.int64(1)))

    def _in_blocks(self, query: str, key: str, value: str, pattern: Pattern) -> str:
        graph = self._graph
        zero, one, size = graph.integers(0), graph.integers(1), graph.integers(BLOCK)
        count = graph.op("Shape", query, start=1, end=2)
        times = graph.op("Div", graph.op("Add", count, graph.integers(BLOCK - 1)), size)
        missing = graph.op("Sub", graph.op("Mul", times, size), count)
        ends = graph.op("Concat", graph.integers(0, 0, 0, 0), missing, zero, axis=0)
        padded = graph.op("Pad", query, ends)  # every block has the same shape

        def block(number: str) -> str:
            start = graph.op("Mul", graph.op("Unsqueeze", number, zero), size)
            end = graph.op("Add", start, size)
            low, high = zero, self._sequence
            if pattern.back is not None:
                low = graph.op("Max", graph.op("Sub", start, graph.integers(pattern.back)), zero)
            if pattern.ahead is not None:
                high = graph.op("Min", graph.op("Add", end, graph.integers(pattern.ahead)), self._sequence)
            queries = graph.op("Slice", padded, start, end, one)
            keys, values = (graph.op("Slice", each, low, high, one) for each in (key, value))
            mask = pattern.mask(graph, self._distances(start, end, low, high)) if pattern.mask else ""
            # Of a text that ends before this block nothing is looked at; the one token keeps the operator's input valid.
            real = graph.op("Max", graph.op("Sub", self._lengths, low), one)
            return self._attend(queries, keys, values, mask, graph.op("Min", real, graph.op("Sub", high, low)))

        found = graph.op("Transpose", graph.repeat(graph.op("Squeeze", times), block), perm=[1, 0, 2, 3])
        width = self._shape.heads * self._shape.head_width
        joined = graph.op("Reshape", found, graph.integers(0, -1, width))
        return graph.op("Slice", joined, zero, count, one)
