"""MPNet (Song et al. 2020, arXiv:2004.09297): positions as in RoBERTa, and T5's learned bias for each relative distance."""

from embedry_graphs import blocks, post_norm, relative
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.post_norm import LayerBuilder, LayerNames
from embedry_graphs.shape import Shape

PREFIXES = ("mpnet.",)

_PADDING = 1
"""The padding's id, fixed in the original code; positions are numbered after it."""

_FARTHEST = 128
"""Distances from here on share the last bucket, likewise."""


def token_vectors(
    graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool, build_layer: LayerBuilder = post_norm.layer
) -> str:
    """The sum of a word's and a position's vectors, normed; then BERT's layers with a bias."""
    words = blocks.words(graph, weights, "embeddings.word_embeddings", shape)
    positions = graph.weight(weights.read("embeddings.position_embeddings.weight", shape.positions, shape.width))
    x = graph.op("Add", words, blocks.rows_after_padding(graph, positions, _PADDING))
    x = blocks.norm(graph, weights, "embeddings.LayerNorm", x, shape)
    table = weights.read("encoder.relative_attention_bias.weight", shape.buckets, shape.heads)
    return post_norm.layers(
        graph, weights, shape, x, layer_names, build_layer,
        first_only=first_only, pattern=relative.pattern(graph, table, _FARTHEST),
    )  # fmt: skip


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
