"""RoBERTa (Liu et al. 2019, arXiv:1907.11692) and XLM-RoBERTa: BERT with positions numbered after the padding's."""

from collections.abc import Mapping
from typing import Any

from embedry_onnxruntime import encoder
from embedry_onnxruntime.checkpoint import Checkpoint
from embedry_onnxruntime.families import bert
from embedry_onnxruntime.families.bert import attention_bias as attention_bias
from embedry_onnxruntime.families.bert import layer_names as layer_names
from embedry_onnxruntime.families.bert import shape as shape
from embedry_onnxruntime.graph import Graph

PREFIX = "roberta."


def embed(graph: Graph, weights: Checkpoint, config: Mapping[str, Any]) -> str:
    """The first token vectors: the sum of a word's and a place's, normed."""
    words, positions = bert.tables(graph, weights)
    places = encoder.rows_after_padding(graph, positions, config["pad_token_id"])
    x = graph.op("Add", graph.op("Gather", words, "input_ids"), places)
    return encoder.norm(graph, weights, "embeddings.LayerNorm", x, config["layer_norm_eps"])
