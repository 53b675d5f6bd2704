"""RoBERTa (Liu et al. 2019, arXiv:1907.11692) and XLM-RoBERTa: BERT with positions numbered after the padding's."""

from collections.abc import Mapping
from typing import Any

from embedry_onnxruntime import encoder
from embedry_onnxruntime.checkpoint import Checkpoint
from embedry_onnxruntime.families import bert
from embedry_onnxruntime.graph import Graph

PREFIX = "roberta."


def token_vectors(graph: Graph, weights: Checkpoint, config: Mapping[str, Any]) -> str:
    """Adds the encoder to the graph; the result's name, (batch, sequence, width)."""
    return bert.token_vectors(
        graph, weights, config, places=encoder.places_after_padding(graph, config["pad_token_id"])
    )
