"""RoBERTa (Liu et al. 2019, arXiv:1907.11692) and XLM-RoBERTa: BERT with positions numbered after the padding's."""

from embedry_graphs import post_norm
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.families import bert
from embedry_graphs.families.bert import attention_bias as attention_bias
from embedry_graphs.families.bert import layer_names as layer_names
from embedry_graphs.graph import Graph
from embedry_graphs.post_norm import Shape

PREFIX = "roberta."


def embed(graph: Graph, weights: Checkpoint, shape: Shape) -> str:
    """The first token vectors: the sum of a word's and a position's, normed."""
    words, positions = bert.tables(graph, weights, shape)
    counted = post_norm.rows_after_padding(graph, positions, shape.pad_id)
    x = graph.op("Add", graph.op("Gather", words, "input_ids"), counted)
    return post_norm.norm(graph, weights, "embeddings.LayerNorm", x, shape)
