"""RoBERTa (Liu et al. 2019, arXiv:1907.11692) and XLM-RoBERTa: BERT with positions numbered after the padding's."""

from embedry_onnxruntime import encoder
from embedry_onnxruntime.checkpoint import Checkpoint
from embedry_onnxruntime.encoder import Shape
from embedry_onnxruntime.families import bert
from embedry_onnxruntime.families.bert import attention_bias as attention_bias
from embedry_onnxruntime.families.bert import layer_names as layer_names
from embedry_onnxruntime.graph import Graph

PREFIX = "roberta."


def embed(graph: Graph, weights: Checkpoint, shape: Shape) -> str:
    """The first token vectors: the sum of a word's and a position's, normed."""
    words, positions = bert.tables(graph, weights, shape)
    counted = encoder.rows_after_padding(graph, positions, shape.pad_id)
    x = graph.op("Add", graph.op("Gather", words, "input_ids"), counted)
    return encoder.norm(graph, weights, "embeddings.LayerNorm", x, shape)
