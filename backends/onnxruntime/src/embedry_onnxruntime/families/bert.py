"""BERT (Devlin et al. 2018, arXiv:1810.04805): words, learned positions, one token type."""

from collections.abc import Mapping
from typing import Any

from embedry_onnxruntime import encoder
from embedry_onnxruntime.checkpoint import Checkpoint
from embedry_onnxruntime.encoder import LayerNames
from embedry_onnxruntime.graph import Graph

PREFIX = "bert."


def token_vectors(graph: Graph, weights: Checkpoint, config: Mapping[str, Any], places: str = "") -> str:
    """Adds the encoder to the graph; the result's name, (batch, sequence, width).

    `places` are the rows of the position table that tokens take, where these are not their columns.
    """
    epsilon = config["layer_norm_eps"]
    # A single text has token type 0 throughout: its row is the same for every token, so it joins the positions.
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    words = weights["embeddings.word_embeddings.weight"]
    x, lengths = encoder.embed(graph, words, positions, weights.norm("embeddings.LayerNorm"), epsilon, places)
    for number in range(config["num_hidden_layers"]):
        names = layer_names(f"encoder.layer.{number}")
        x = encoder.layer(graph, weights, names, x, lengths, heads=config["num_attention_heads"], epsilon=epsilon)
    return x


def layer_names(layer: str) -> LayerNames:
    """The names of a layer's parts; BERT's descendants kept them."""
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
