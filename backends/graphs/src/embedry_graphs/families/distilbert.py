"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT with half the layers, no token types, and names of its own."""

from embedry_graphs import blocks, post_norm
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.post_norm import LayerBuilder, LayerNames
from embedry_graphs.shape import Shape

PREFIXES = ("distilbert.",)


def token_vectors(
    graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool, build_layer: LayerBuilder = post_norm.layer
) -> str:
    """The sum of a word's and a position's vectors, normed; then the layers."""
    words = blocks.words(graph, weights, "embeddings.word_embeddings", shape)
    positions = graph.weight(weights.read("embeddings.position_embeddings.weight", shape.positions, shape.width))
    x = graph.op("Add", words, blocks.rows_of_columns(graph, positions))
    x = blocks.norm(graph, weights, "embeddings.LayerNorm", x, shape)
    return post_norm.layers(graph, weights, shape, x, layer_names, build_layer, first_only=first_only)


def layer_names(number: int) -> LayerNames:
    """The names of a layer's parts."""
    layer = f"transformer.layer.{number}"
    return LayerNames(
        query=f"{layer}.attention.q_lin",
        key=f"{layer}.attention.k_lin",
        value=f"{layer}.attention.v_lin",
        attention_out=f"{layer}.attention.out_lin",
        attention_norm=f"{layer}.sa_layer_norm",
        feed_forward_in=f"{layer}.ffn.lin1",
        feed_forward_out=f"{layer}.ffn.lin2",
        feed_forward_norm=f"{layer}.output_layer_norm",
    )
