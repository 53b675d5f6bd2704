"""BERT (Devlin et al. 2018, arXiv:1810.04805): words, learned positions, token types."""

from embedry_graphs import blocks, post_norm
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.post_norm import LayerBuilder, LayerNames
from embedry_graphs.shape import Shape

PREFIXES = ("bert.",)


def token_vectors(
    graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool, build_layer: LayerBuilder = post_norm.layer
) -> str:
    """The sum of a word's, a position's and a token type's vectors, normed; then the layers."""
    words, positions, types = tables(graph, weights, shape)
    x = graph.op("Add", graph.op("Gather", words, "input_ids"), blocks.rows_of_columns(graph, positions))
    x = blocks.plus(graph, x, types)
    x = blocks.norm(graph, weights, "embeddings.LayerNorm", x, shape)
    return post_norm.layers(graph, weights, shape, x, layer_names, build_layer, first_only=first_only)


def tables(graph: Graph, weights: Checkpoint, shape: Shape) -> tuple[str, str, str]:
    """The tables of words and of positions, and what is to be added for token types that are not in the latter."""
    positions = weights.read("embeddings.position_embeddings.weight", shape.positions, shape.width)
    positions, types = blocks.with_types(graph, weights, "embeddings.token_type_embeddings", shape, positions)
    words = weights.read("embeddings.word_embeddings.weight", shape.words, shape.width)
    return graph.weight(words), graph.weight(positions), types


def layer_names(number: int) -> LayerNames:
    """The names of a layer's parts; BERT's descendants kept them."""
    layer = f"encoder.layer.{number}"
    return LayerNames(
        query=f"{layer}.attention.self.query",
        key=f"{layer}.attention.self.key",
        value=f"{layer}.attention.self.value",
        attention_out=f"{layer}.attention.output.dense",
        attention_norm=f"{layer}.attention.output.LayerNorm",
        feed_forward_in=f"{layer}.intermediate.dense",
        feed_forward_out=f"{layer}.output.dense",
        feed_forward_norm=f"{layer}.output.LayerNorm",
    )
