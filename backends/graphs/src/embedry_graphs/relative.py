"""Attention biased by distance: T5's learned buckets (Raffel et al. 2019, arXiv:1910.10683, section 2.1), and ALiBi's slopes."""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from embedry_graphs.attention import SHORT, Pattern
from embedry_graphs.blocks import Floats
from embedry_graphs.graph import Graph


def pattern(graph: Graph, table: Floats, farthest: int) -> Pattern:
    """The pattern in which each distance has a bucket, and each bucket a bias per head.

    Args:
        graph: the graph to add to.
        table: the biases, float32 (buckets, heads).
        farthest: distances from here on share a bucket.
    """
    # One column for each distance from -farthest to farthest: those beyond are in the bucket of the last.
    by_distance = np.ascontiguousarray(table[bucket(np.arange(-farthest, farthest + 1), len(table), farthest)].T)
    rows = graph.weight(by_distance)
    places = np.arange(SHORT)
    spread = by_distance[:, np.clip(places - places[:, np.newaxis], -farthest, farthest) + farthest]

    def bias(graph: Graph, distances: str) -> str:
        near = graph.op("Clip", distances, graph.scalar(np.int64(-farthest)), graph.scalar(np.int64(farthest)))
        found = graph.op("Gather", rows, graph.op("Add", near, graph.integers(farthest)), axis=1)
        return graph.op("Unsqueeze", found, graph.integers(0))

    return Pattern(bias, is_bias=True, table=graph.weight(spread[np.newaxis]))


def bucket(distance: NDArray[np.int_], buckets: int, farthest: int) -> NDArray[np.int_]:
    """The row of the bias table for each distance, key minus query.

    Half of the buckets for each direction; in each, half for exact distances and the rest for logarithmic ranges of
    them up to `farthest`.
    """
    half = buckets // 2
    exact = half // 2
    size = np.abs(distance)
    # float32 as in the original code: in float64 some distances fall into the next bucket.
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact)) / np.log(np.float32(farthest / exact))
    far = exact + (ratio * (half - exact)).astype(np.int_)
    return np.where(distance > 0, half, 0) + np.where(size < exact, size, np.minimum(far, half - 1))


def alibi(heads: int) -> Pattern:
    """A head's slope times the distance is taken from each score (Press et al. 2021, arXiv:2108.12409), to both sides alike."""
    slopes = -alibi_slopes(heads)[:, np.newaxis, np.newaxis]

    def bias(graph: Graph, distances: str) -> str:
        size = graph.op("Cast", graph.op("Abs", distances), to=TensorProto.FLOAT)
        return graph.op("Unsqueeze", graph.op("Mul", size, graph.weight(slopes)), graph.integers(0))

    return Pattern(bias, is_bias=True)


def alibi_slopes(heads: int) -> Floats:
    """The slopes 2^(-8 i / heads), i from 1; where `heads` is no power of two, every other slope of twice the power below follows
    those of that power, as in the paper's code.
    """
    power = 2 ** int(np.floor(np.log2(heads)))
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    slopes += [2 ** (-4 * (head + 1) / power) for head in range(0, 2 * (heads - power), 2)]
    return np.array(slopes, dtype=np.float32)
