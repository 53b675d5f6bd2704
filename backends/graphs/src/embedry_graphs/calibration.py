"""Calibration of 8-bit graphs: the range of every input channel of a product, measured with the fp32 graph.

For a text without padding, a measuring graph returns the minimum and maximum of each channel.
"""

from collections.abc import Mapping
from itertools import accumulate

import numpy as np
from safetensors.numpy import save

from embedry_graphs.blocks import Floats, activated, norm, product
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.post_norm import Layer


class MeasuringLayers:
    """Writes layers in fp32 and records the inputs of products that `QuantisedLayers` rounds.

    The biases are where the model has them. `post_norm.layer` folds some away, and so has other values in their place.
    """

    def __init__(self) -> None:
        self.channels: dict[str, int] = {}
        """`<layer>.<input>` -> its channels, in the order of the graph's result."""
        self._ends: tuple[list[str], list[str]] = [], []

    def __call__(self, graph: Graph, weights: Checkpoint, layer: Layer, x: str, queries: str) -> str:
        """See `post_norm.layer`."""
        names, shape = layer.names, layer.shape
        width, inner = shape.width, shape.inner
        self._measure(graph, layer, "attention", x, width)
        query, key, value = (
            product(graph, tokens, *weights.linear(name, width, width))
            for tokens, name in ((queries, names.query), (x, names.key), (x, names.value))
        )
        attended = layer.attention(query, key, value, layer.pattern, first_only=queries != x)
        self._measure(graph, layer, "attended", attended, width)
        y = product(graph, attended, *weights.linear(names.attention_out, width, width))
        a = norm(graph, weights, names.attention_norm, graph.op("Add", y, queries), shape)
        self._measure(graph, layer, "feed_forward", a, width)
        up = product(graph, a, *weights.linear(names.feed_forward_in, width, inner))
        active = activated(graph, up, shape.activation)
        self._measure(graph, layer, "hidden", active, inner)
        z = product(graph, active, *weights.linear(names.feed_forward_out, inner, width))
        return norm(graph, weights, names.feed_forward_norm, graph.op("Add", z, a), shape)

    def _measure(self, graph: Graph, layer: Layer, place: str, x: str, channels: int) -> None:
        self.channels[f"{layer.number}.{place}"] = channels
        for op, found in zip(("ReduceMin", "ReduceMax"), self._ends, strict=True):
            found.append(graph.op(op, x, graph.integers(0, 1), keepdims=0))

    def result(self, graph: Graph) -> str:
        """The measured ranges: the minimum of all channels, then the maximum, (2, channels)."""
        rows = [graph.op("Concat", *found, axis=0) for found in self._ends]
        return graph.op("Concat", *(graph.op("Unsqueeze", row, graph.integers(0)) for row in rows), axis=0)


def content(channels: Mapping[str, int], low: Floats, high: Floats) -> bytes:
    """The content of a calibration file, which `QuantisedLayers` reads.

    Args:
        channels: the channels of each input, as returned by `embedry_graphs.write_measuring`.
        low: the minimum of every channel over all texts, (sum of `channels`,).
        high: the maximum, likewise.
    """
    ends = [*accumulate(channels.values())][:-1]
    tensors = {
        f"{place}.{end}": values
        for end, found in (("low", low), ("high", high))
        for place, values in zip(channels, np.split(found, ends), strict=True)
    }
    return save({place: np.ascontiguousarray(values) for place, values in tensors.items()})
