"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT with half the layers, no token types, and names of its own."""

from collections.abc import Mapping
from typing import Any

from embedry_onnxruntime import encoder
from embedry_onnxruntime.checkpoint import Checkpoint
from embedry_onnxruntime.encoder import LayerNames
from embedry_onnxruntime.graph import Graph

PREFIX = "distilbert."

_EPSILON = 1e-12
"""Of every layer norm; a constant in the original code, so config.json does not have it."""


def token_vectors(graph: Graph, weights: Checkpoint, config: Mapping[str, Any]) -> str:
    """Adds the encoder to the graph; the result's name, (batch, sequence, width)."""
    words, positions = (weights[f"embeddings.{table}_embeddings.weight"] for table in ("word", "position"))
    x, lengths = encoder.embed(graph, words, positions, weights.norm("embeddings.LayerNorm"), _EPSILON)
    for number in range(config["n_layers"]):
        names = _layer_names(f"transformer.layer.{number}")
        x = encoder.layer(graph, weights, names, x, lengths, heads=config["n_heads"], epsilon=_EPSILON)
    return x


def _layer_names(layer: str) -> LayerNames:
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
