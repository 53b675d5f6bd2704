"""MPNet (Song et al. 2020, arXiv:2004.09297): positions as in RoBERTa, and a learned bias for each relative distance."""

import numpy as np
from numpy.typing import NDArray

from embedry_graphs import post_norm
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.post_norm import LayerNames, Shape

PREFIX = "mpnet."

_PADDING = 1
"""The padding's id, fixed in the original code; positions are numbered after it."""

_MAX_DISTANCE = 128
"""Distances from here on share the last bucket (the T5 paper, arXiv:1910.10683, section 2.1)."""


def embed(graph: Graph, weights: Checkpoint, shape: Shape) -> str:
    """The first token vectors: the sum of a word's and a position's, normed."""
    words = graph.weight(weights.read("embeddings.word_embeddings.weight", shape.words, shape.width))
    positions = graph.weight(weights.read("embeddings.position_embeddings.weight", shape.positions, shape.width))
    counted = post_norm.rows_after_padding(graph, positions, _PADDING)
    x = graph.op("Add", graph.op("Gather", words, "input_ids"), counted)
    return post_norm.norm(graph, weights, "embeddings.LayerNorm", x, shape)


def attention_bias(graph: Graph, weights: Checkpoint, shape: Shape) -> str:
    """The bias between every two positions, cut to the batch's length: (1, heads, sequence, sequence)."""
    columns = np.arange(shape.positions - _PADDING - 1)
    table = weights.read("encoder.relative_attention_bias.weight", shape.buckets, shape.heads)
    spread = table[_bucket(columns[np.newaxis, :] - columns[:, np.newaxis], len(table))]  # (longest, longest, heads)
    full = graph.weight(spread.transpose(2, 0, 1)[np.newaxis])
    length = graph.op("Slice", graph.op("Shape", "input_ids"), graph.integers(1), graph.integers(2))
    ends = graph.op("Concat", length, length, axis=0)
    return graph.op("Slice", full, graph.integers(0, 0), ends, graph.integers(2, 3))


def _bucket(distance: NDArray[np.int_], buckets: int) -> NDArray[np.int_]:
    """The row of the bias table for each distance, key minus query.

    Half of the buckets for each direction; in each, half for exact distances and the rest for logarithmic ranges of
    them up to `_MAX_DISTANCE` (same section of the T5 paper).
    """
    half = buckets // 2
    exact = half // 2
    size = np.abs(distance)
    # float32 as in the original code: in float64 some distances fall into the next bucket.
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact)) / np.log(
        np.float32(_MAX_DISTANCE / exact)
    )
    far = exact + (ratio * (half - exact)).astype(np.int_)
    return np.where(distance > 0, half, 0) + np.where(size < exact, size, np.minimum(far, half - 1))


def layer_names(number: int) -> LayerNames:
    """The names of a layer's parts."""
    layer = f"encoder.layer.{number}"
    return LayerNames(
        query=f"{layer}.attention.attn.q",
        key=f"{layer}.attention.attn.k",
        value=f"{layer}.attention.attn.v",
        attention_out=f"{layer}.attention.attn.o",
        attention_norm=f"{layer}.attention.LayerNorm",
        feed_forward_in=f"{layer}.intermediate.dense",
        feed_forward_out=f"{layer}.output.dense",
        feed_forward_norm=f"{layer}.output.LayerNorm",
    )
