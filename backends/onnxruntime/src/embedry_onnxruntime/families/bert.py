"""BERT (Devlin et al. 2018, arXiv:1810.04805): words, learned positions, one token type."""

from collections.abc import Mapping
from typing import Any

from embedry_onnxruntime import encoder
from embedry_onnxruntime.checkpoint import Checkpoint
from embedry_onnxruntime.encoder import LayerNames, Shape
from embedry_onnxruntime.graph import Graph

PREFIX = "bert."


def shape(config: Mapping[str, Any]) -> Shape:
    """What config.json says of the layers."""
    return Shape(config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"])


def embed(graph: Graph, weights: Checkpoint, config: Mapping[str, Any]) -> str:
    """The first token vectors: the sum of a word's and a place's, normed."""
    words, positions = tables(graph, weights)
    x = graph.op("Add", graph.op("Gather", words, "input_ids"), encoder.rows_of_columns(graph, positions))
    return encoder.norm(graph, weights, "embeddings.LayerNorm", x, config["layer_norm_eps"])


def tables(graph: Graph, weights: Checkpoint) -> tuple[str, str]:
    """The tables of words and of positions."""
    # A single text has token type 0 throughout: its row is the same for every token, so it joins the positions.
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    words = weights["embeddings.word_embeddings.weight"]
    return graph.weight(words), graph.weight(positions)


def attention_bias(graph: Graph, weights: Checkpoint) -> str:
    """None: places are known from the first vectors."""
    return ""


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
