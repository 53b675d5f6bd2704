"""RoBERTa (Liu et al. 2019, arXiv:1907.11692) and XLM-RoBERTa: BERT with positions numbered after the padding's."""

from embedry_graphs import blocks, post_norm
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.families import bert
from embedry_graphs.families.bert import layer_names as layer_names
from embedry_graphs.graph import Graph
from embedry_graphs.post_norm import LayerBuilder
from embedry_graphs.shape import Shape

PREFIXES = ("roberta.",)


def token_vectors(
    graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool, build_layer: LayerBuilder = post_norm.layer
) -> str:
    """The sum of a word's, a position's and a token type's vectors, normed; then BERT's layers."""
    words, positions, types = bert.tables(graph, weights, shape)
    counted = blocks.rows_after_padding(graph, positions, shape.pad_id)
    x = graph.op("Add", graph.op("Gather", words, "input_ids"), counted)
    x = blocks.plus(graph, x, types)
    x = blocks.norm(graph, weights, "embeddings.LayerNorm", x, shape)
    return post_norm.layers(graph, weights, shape, x, layer_names, build_layer, first_only=first_only)
