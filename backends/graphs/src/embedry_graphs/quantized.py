"""Layers with 8-bit integer products: uint8 activations with steps from calibration, int8 weights.

Steps are fixed instead of computed per batch, so that a text's vector does not depend on the other texts. Channels of
very different magnitude are smoothed first (SmoothQuant, Xiao et al. 2022, arXiv:2211.10438). The few largest channels
between the feed-forward products stay float, because smoothing is not possible after a GELU.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from embedry import SpecError
from embedry_graphs.blocks import Floats, activated, norm
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.post_norm import Layer

_OUTLIERS = 4
"""Hidden channels that stay float. Measured on all-MiniLM-L6-v2: none 0.9971, one 0.9992, four 0.9996, 32 0.9997 mean
cosine, with nothing else quantized."""

_ATTENTION_POWER = 0.5
_FEED_FORWARD_POWER = 0.7
"""How much of a channel's size moves from the activations to the weights (alpha in the paper), the best of those tried."""


@dataclass(frozen=True)
class Range:
    """The minimum and maximum of each channel over the calibration texts, both (channels,)."""

    low: Floats
    high: Floats

    @property
    def size(self) -> Floats:
        """The largest magnitude of each channel."""
        return np.maximum(-self.low, self.high)


@dataclass(frozen=True)
class Quantized:
    """Names of a uint8 tensor, its step and its zero point."""

    values: str
    step: str
    zero: str


class QuantizedLayers:
    """Writes layers from a calibration: a safetensors file with `<layer>.<input>.low` and `.high` for the inputs
    "attention", "attended", "feed_forward" and "hidden" of each layer's products.
    """

    def __init__(self, calibration: Path) -> None:
        self._path = calibration
        try:
            self._ranges = load_file(calibration)
        except Exception as error:  # the reader's own class, or an OSError
            raise SpecError(f"the int8 calibration {calibration} cannot be read: {error}") from error

    def _range(self, layer: Layer, place: str, channels: int) -> Range:
        low, high = (self._ranges.get(f"{layer.number}.{place}.{end}") for end in ("low", "high"))
        if low is None or high is None or not low.shape == high.shape == (channels,):
            raise SpecError(
                f"the int8 calibration {self._path} is not this model's: of layer {layer.number} it must have the range of "
                f"{channels} channels of {place!r}"
            )
        return Range(low, high)

    def __call__(self, graph: Graph, weights: Checkpoint, layer: Layer, x: str, queries: str) -> str:
        """See `post_norm.layer`, of which this is the 8-bit form."""
        names, shape = layer.names, layer.shape
        width = shape.width
        projections = [weights.linear(name, width, width) for name in (names.query, names.key, names.value)]
        seen = self._range(layer, "attention", width)
        smooth = smoothing(seen, np.concatenate([weight for weight, _ in projections], axis=1), _ATTENTION_POWER)
        read = quantize(graph, x, seen, smooth)
        reads = (read if queries == x else quantize(graph, queries, seen, smooth), read, read)
        query, key, value = (
            product(graph, tokens, weight * smooth[:, np.newaxis], bias)
            for tokens, (weight, bias) in zip(reads, projections, strict=True)
        )
        attended = layer.attention(query, key, value, layer.pattern, first_only=queries != x)
        source = quantize(graph, attended, self._range(layer, "attended", width))
        y = product(graph, source, *weights.linear(names.attention_out, width, width))
        a = norm(graph, weights, names.attention_norm, graph.op("Add", y, queries), shape)
        z = self._feed_forward(graph, weights, layer, a)
        return norm(graph, weights, names.feed_forward_norm, graph.op("Add", z, a), shape)

    def _feed_forward(self, graph: Graph, weights: Checkpoint, layer: Layer, a: str) -> str:
        names, shape = layer.names, layer.shape
        up, up_bias = weights.linear(names.feed_forward_in, shape.width, shape.inner)
        down, down_bias = weights.linear(names.feed_forward_out, shape.inner, shape.width)
        seen, hidden = self._range(layer, "feed_forward", len(up)), self._range(layer, "hidden", len(down))
        order = np.argsort(hidden.size, kind="stable")  # the largest channels last, where one slice takes them
        small, large = order[:-_OUTLIERS], order[-_OUTLIERS:]
        smooth = smoothing(seen, up, _FEED_FORWARD_POWER)
        read = quantize(graph, a, seen, smooth)
        inner = product(graph, read, (up * smooth[:, np.newaxis])[:, order], up_bias[order])
        has_fused = shape.activation == "gelu"
        active = graph.fused("Gelu", inner) if has_fused else activated(graph, inner, shape.activation)
        kept = down[order]
        kept[-_OUTLIERS:] = 0
        rest = quantize(graph, active, Range(hidden.low[small], hidden.high[small]))
        ends = graph.integers(len(small)), graph.integers(len(order)), graph.integers(2)
        outliers = graph.op("MatMul", graph.op("Slice", active, *ends), graph.weight(down[large]))
        return graph.op("Add", product(graph, rest, kept, down_bias), outliers)


def smoothing(seen: Range, weight: Floats, power: float) -> Floats:
    """The divisor of each input channel, and factor of its row of the weight; geometric mean 1 (channels,).

    size(activation)^power / size(weight)^(1 - power), equation 4 of the SmoothQuant paper.
    """
    sizes = np.maximum(seen.size, 1e-4) ** power / np.maximum(np.abs(weight).max(axis=1), 1e-6) ** (1 - power)
    return np.asarray(sizes / np.exp(np.log(sizes).mean()), dtype=np.float32)


def quantize(graph: Graph, x: str, seen: Range, smooth: Floats | None = None) -> Quantized:
    """Rounds x / smooth to 256 steps from the observed minimum to maximum, which include 0 exactly; other values saturate."""
    low, high = seen.low, seen.high
    if smooth is not None:
        x = graph.op("Mul", x, graph.weight(np.reciprocal(smooth)))
        low, high = low / smooth, high / smooth
    least, greatest = min(0.0, float(low.min())), max(0.0, float(high.max()))
    size = max(greatest - least, 1e-9) / 255
    step, zero = graph.scalar(np.float32(size)), graph.scalar(np.uint8(round(-least / size)))
    return Quantized(graph.op("QuantizeLinear", x, step, zero), step, zero)


def product(graph: Graph, x: Quantized, weight: Floats, bias: Floats) -> str:
    """The product x @ weight + bias, as float."""
    values, steps = rounded(weight)
    return graph.fused(
        "MatMulIntegerToFloat",
        x.values, graph.weight(values), x.step, graph.weight(steps), x.zero, "", graph.weight(bias),
    )  # fmt: skip


def rounded(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """A weight (in, out) in int8, and the step of each column, (out,).

    Processors without VNNI add the products of neighboring rows in 16 bits and saturate (vpmaddubsw in Intel's manual,
    volume 2). The step is the least with which two neighbors of one sign sum to no more than 128: 255 * 128 < 2^15, so
    no activation saturates, and on average 0.7 bits are kept of the one that halving all weights would lose.
    """
    inputs, outputs = weight.shape
    pairs = np.zeros((-(-inputs // 2), 2, outputs), dtype=np.float32)
    pairs.reshape(-1, outputs)[:inputs] = weight
    sums = [np.maximum(sign * pairs, 0).sum(axis=1).max(axis=0) for sign in (1, -1)]
    steps = np.asarray(np.maximum(np.maximum(*sums), 1e-9) / 127, dtype=np.float32)
    return np.rint(weight / steps).astype(np.int8), steps
