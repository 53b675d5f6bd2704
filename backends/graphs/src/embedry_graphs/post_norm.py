"""The transformer encoder that all families share: embed, then layers of attention and feed-forward, each normed after.

Shapes: token vectors are (batch, sequence, width). `lengths` is the number of real tokens of each
text, int64 (batch,).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from embedry.backend import ModelConfig
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph


@dataclass(frozen=True)
class LayerNames:
    """What a family calls the parts of one layer in its checkpoint."""

    query: str
    key: str
    value: str
    attention_out: str
    attention_norm: str
    feed_forward_in: str
    feed_forward_out: str
    feed_forward_norm: str


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes that config.json states, which every tensor must have."""

    width: int
    inner: int
    """Width between the products of a feed-forward block."""
    layers: int
    heads: int
    epsilon: float
    """Added to the variance by every layer norm."""
    words: int
    positions: int
    token_types: int
    pad_id: int
    buckets: int
    """Of relative distances, for families that have them."""

    @classmethod
    def of(cls, config: ModelConfig) -> "Shape":
        """The sizes of a family whose configuration has them all."""
        names = {
            "width": "hidden_size", "inner": "intermediate_size", "layers": "num_hidden_layers",
            "heads": "num_attention_heads", "epsilon": "layer_norm_eps", "words": "vocab_size",
            "positions": "max_position_embeddings", "token_types": "type_vocab_size", "pad_id": "pad_token_id",
            "buckets": "relative_attention_num_buckets",
        }  # fmt: skip
        return cls(**{ours: getattr(config, theirs) for ours, theirs in names.items()})


class Family(Protocol):
    """One module of `families`."""

    PREFIX: str
    """What a checkpoint with a head puts before every tensor's name."""

    def embed(self, graph: Graph, weights: Checkpoint, shape: Shape) -> str:
        """The first token vectors, normed."""
        ...

    def attention_bias(self, graph: Graph, weights: Checkpoint, shape: Shape) -> str:
        """What is added to the attention of every two positions, (1, heads, sequence, sequence); "" for nothing."""
        ...

    def layer_names(self, number: int) -> LayerNames:
        """The names of a layer's parts."""
        ...


@dataclass(frozen=True)
class Layer:
    """One layer's place in a graph: its number from 0, and what all layers have in common."""

    number: int
    names: LayerNames
    shape: Shape
    lengths: str
    bias: str


LayerBuilder = Callable[[Graph, Checkpoint, Layer, str, str], str]
"""Adds a layer: from token vectors x, and those of them that are wanted, `queries`, to the results of those."""


def encode(
    graph: Graph, family: Family, weights: Checkpoint, shape: Shape, build_layer: LayerBuilder, *, first_only: bool
) -> str:
    """From the inputs `input_ids` and `attention_mask` to token vectors, (batch, sequence, width).

    With `first_only` to the vectors of first tokens alone, (batch, 1, width): the last layer computes no others.
    """
    x = family.embed(graph, weights, shape)
    bias = family.attention_bias(graph, weights, shape)
    mask = graph.op("Cast", "attention_mask", to=TensorProto.INT64)
    lengths = graph.op("ReduceSum", mask, graph.integers(1), keepdims=0)
    for number in range(shape.layers):
        queries = x
        if first_only and number == shape.layers - 1:
            queries, bias = first(graph, x, axis=1), bias and first(graph, bias, axis=2)
        x = build_layer(graph, weights, Layer(number, family.layer_names(number), shape, lengths, bias), x, queries)
    return x


def layer(graph: Graph, weights: Checkpoint, layer: Layer, x: str, queries: str) -> str:
    """One layer: a = norm(queries + attention(queries, x)), then norm(a + feed_forward(a)), with the exact (erf) GELU.

    Three biases are not added but folded away, exactly. The key's adds the same to all scores of a row, which softmax
    does not see. The value's goes through attention unchanged, for the weights of a row sum to one, and joins the bias
    behind it. That of the second feed-forward product joins the shift of the norm before: its result is added to it.
    """
    names, shape = layer.names, layer.shape
    width, inner = shape.width, shape.inner
    key, value = (
        graph.op("MatMul", x, graph.weight(weights.read(f"{name}.weight", width, width).T))
        for name in (names.key, names.value)
    )
    weights.mark_used(f"{names.key}.bias", width)
    attended = attention(graph, layer, _linear(graph, queries, *weights.linear(names.query, width, width)), key, value)
    out, out_bias = weights.linear(names.attention_out, width, width)
    up, up_bias = weights.linear(names.feed_forward_in, width, inner)
    down, down_bias = weights.linear(names.feed_forward_out, inner, width)
    flat = graph.integers(-1, width)
    attended, before = (graph.op("Reshape", tokens, flat) for tokens in (attended, queries))
    y = _product(graph, attended, out, graph.weight(out_bias + weights.read(f"{names.value}.bias", width) @ out))
    a = norm(graph, weights, names.attention_norm, graph.op("Add", y, before), shape, shift=down_bias)
    active = graph.op("Gelu", _product(graph, a, up, graph.weight(up_bias - down_bias @ up)))
    z = norm(graph, weights, names.feed_forward_norm, _product(graph, active, down, a), shape)
    return graph.op("Reshape", z, graph.op("Shape", queries))


def attention(graph: Graph, layer: Layer, query: str, key: str, value: str) -> str:
    """Scaled dot-product attention of all heads, over the real tokens of each text."""
    heads = layer.shape.heads
    return graph.op(
        "Attention", query, key, value, layer.bias, "", "", layer.lengths, q_num_heads=heads, kv_num_heads=heads
    )


def norm(
    graph: Graph, weights: Checkpoint, name: str, x: str, shape: Shape, shift: NDArray[np.float32] | float = 0
) -> str:
    """The layer norm of this name, its result moved by `shift`.

    Apart from the addition before it: the runtime's fused form of both is not vectorised and takes five times as long.
    """
    scale = graph.weight(weights.read(f"{name}.weight", shape.width))
    bias = graph.weight(weights.read(f"{name}.bias", shape.width) + shift)
    return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=shape.epsilon)


def _linear(graph: Graph, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
    product = graph.op("MatMul", x, graph.weight(weight))
    return graph.op("Add", product, graph.weight(bias))


def _product(graph: Graph, x: str, weight: NDArray[np.float32], added: str) -> str:
    """The product x @ weight + added, of matrices: the runtime multiplies onto what is to be added."""
    return graph.op("Gemm", x, graph.weight(weight), added)


def first(graph: Graph, x: str, axis: int) -> str:
    """The first slice of an axis, which stays, with length 1."""
    return graph.op("Slice", x, graph.integers(0), graph.integers(1), graph.integers(axis))


def rows_of_columns(graph: Graph, table: str) -> str:
    """The rows of a position table for columns 0, 1, ...: (sequence, width)."""
    length = graph.op("Slice", graph.op("Shape", "input_ids"), graph.integers(1), graph.integers(2))
    return graph.op("Slice", table, graph.integers(0), length, graph.integers(0))


def rows_after_padding(graph: Graph, table: str, pad_id: int) -> str:
    """The rows of a position table as RoBERTa takes them: (batch, sequence, width).

    Positions are numbered from the padding's id + 1, skipping padding, wherever it stands in a text.
    """
    is_text = graph.op(
        "Cast", graph.op("Not", graph.op("Equal", "input_ids", graph.scalar(np.int32(pad_id)))), to=TensorProto.INT32
    )
    counted = graph.op("Mul", graph.op("CumSum", is_text, graph.integers(1)), is_text)
    return graph.op("Gather", table, graph.op("Add", counted, graph.scalar(np.int32(pad_id))))
