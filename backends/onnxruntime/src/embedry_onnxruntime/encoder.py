"""The transformer encoder that all families share: embed, then layers of attention and feed-forward, each normed after.

Shapes: token vectors are (batch, sequence, width). `lengths` is the number of real tokens of each
text, int64 (batch,).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from embedry_onnxruntime.checkpoint import Checkpoint
from embedry_onnxruntime.graph import Graph


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


@dataclass(frozen=True)
class Shape:
    """What config.json says of the layers."""

    layers: int
    heads: int
    epsilon: float
    """Added to the variance by every layer norm."""


class Family(Protocol):
    """One module of `families`."""

    PREFIX: str
    """What a checkpoint with a head puts before every tensor's name."""

    def shape(self, config: Mapping[str, Any]) -> Shape:
        """What config.json says of the layers."""
        ...

    def embed(self, graph: Graph, weights: Checkpoint, config: Mapping[str, Any]) -> str:
        """The first token vectors, normed."""
        ...

    def attention_bias(self, graph: Graph, weights: Checkpoint) -> str:
        """What is added to the attention of every two places, (1, heads, sequence, sequence); "" for nothing."""
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
"""Adds a layer: from token vectors x, and those of them that ask, `queries`, to the token vectors of those that ask."""


def encode(
    graph: Graph,
    family: Family,
    weights: Checkpoint,
    config: Mapping[str, Any],
    pooling: str,
    build_layer: LayerBuilder,
) -> str:
    """The whole way from the inputs `input_ids` and `attention_mask` to pooled vectors, (batch, width)."""
    shape = family.shape(config)
    x = family.embed(graph, weights, config)
    bias = family.attention_bias(graph, weights)
    mask = graph.op("Cast", "attention_mask", to=TensorProto.INT64)
    lengths = graph.op("ReduceSum", mask, graph.integers(1), keepdims=0)
    for number in range(shape.layers):
        queries = x
        if pooling == "cls" and number == shape.layers - 1:  # of the last layer's results only the first is needed
            queries, bias = _first(graph, x, axis=1), bias and _first(graph, bias, axis=2)
        x = build_layer(graph, weights, Layer(number, family.layer_names(number), shape, lengths, bias), x, queries)
    if pooling == "cls":
        return graph.op("Squeeze", x, graph.integers(1))
    return _mean(graph, x)


def layer(graph: Graph, weights: Checkpoint, layer: Layer, x: str, queries: str) -> str:
    """One layer: a = norm(queries + attention(queries, x)), then norm(a + feed_forward(a)), with the exact (erf) GELU.

    Three biases are not added but folded away, exactly. The key's adds the same to all scores of a row, which softmax
    does not see. The value's goes through attention unchanged, for the weights of a row sum to one, and joins the bias
    behind it. That of the second feed-forward product joins the shift of the norm before: its result is added to it.
    """
    names, epsilon = layer.names, layer.shape.epsilon
    key, value = (graph.op("MatMul", x, graph.weight(weights[f"{name}.weight"].T)) for name in (names.key, names.value))
    weights.mark_used(f"{names.key}.bias")
    attended = attention(graph, layer, _linear(graph, queries, *weights.linear(names.query)), key, value)
    out, out_bias = weights.linear(names.attention_out)
    up, up_bias = weights.linear(names.feed_forward_in)
    down, down_bias = weights.linear(names.feed_forward_out)
    flat = graph.integers(-1, len(out))
    attended, before = (graph.op("Reshape", tokens, flat) for tokens in (attended, queries))
    y = _product(graph, attended, out, graph.weight(out_bias + weights[f"{names.value}.bias"] @ out))
    a = norm(graph, weights, names.attention_norm, graph.op("Add", y, before), epsilon, shift=down_bias)
    active = graph.op("Gelu", _product(graph, a, up, graph.weight(up_bias - down_bias @ up)))
    z = norm(graph, weights, names.feed_forward_norm, _product(graph, active, down, a), epsilon)
    return graph.op("Reshape", z, graph.op("Shape", queries))


def attention(graph: Graph, layer: Layer, query: str, key: str, value: str) -> str:
    """Scaled dot-product attention of all heads, over the real tokens of each text."""
    heads = layer.shape.heads
    return graph.op(
        "Attention", query, key, value, layer.bias, "", "", layer.lengths, q_num_heads=heads, kv_num_heads=heads
    )


def norm(
    graph: Graph, weights: Checkpoint, name: str, x: str, epsilon: float, shift: NDArray[np.float32] | float = 0
) -> str:
    """The layer norm of this name, its result moved by `shift`.

    Apart from the addition before it: the runtime's fused form of both is not vectorised and takes five times as long.
    """
    scale = graph.weight(weights[f"{name}.weight"])
    bias = graph.weight(weights[f"{name}.bias"] + shift)
    return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)


def _linear(graph: Graph, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
    product = graph.op("MatMul", x, graph.weight(weight))
    return graph.op("Add", product, graph.weight(bias))


def _product(graph: Graph, x: str, weight: NDArray[np.float32], added: str) -> str:
    """The product x @ weight + added, of matrices: the runtime multiplies onto what is to be added."""
    return graph.op("Gemm", x, graph.weight(weight), added)


def _first(graph: Graph, x: str, axis: int) -> str:
    return graph.op("Slice", x, graph.integers(0), graph.integers(1), graph.integers(axis))


def _mean(graph: Graph, x: str) -> str:
    mask = graph.op("Unsqueeze", graph.op("Cast", "attention_mask", to=TensorProto.FLOAT), graph.integers(1))
    total = graph.op("MatMul", mask, x)  # (batch, 1, width)
    count = graph.op("ReduceSum", mask, graph.integers(2), keepdims=1)
    return graph.op("Squeeze", graph.op("Div", total, count), graph.integers(1))


def rows_of_columns(graph: Graph, table: str) -> str:
    """The rows of a position table for columns 0, 1, ...: (sequence, width)."""
    length = graph.op("Slice", graph.op("Shape", "input_ids"), graph.integers(1), graph.integers(2))
    return graph.op("Slice", table, graph.integers(0), length, graph.integers(0))


def rows_after_padding(graph: Graph, table: str, pad_id: int) -> str:
    """The rows of a position table as RoBERTa takes them: (batch, sequence, width).

    Places are numbered from the padding's id + 1, skipping padding, wherever it stands in a text.
    """
    is_text = graph.op(
        "Cast", graph.op("Not", graph.op("Equal", "input_ids", graph.scalar(np.int32(pad_id)))), to=TensorProto.INT32
    )
    counted = graph.op("Mul", graph.op("CumSum", is_text, graph.integers(1)), is_text)
    return graph.op("Gather", table, graph.op("Add", counted, graph.scalar(np.int32(pad_id))))
