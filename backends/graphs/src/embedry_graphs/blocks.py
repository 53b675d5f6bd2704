"""The building blocks of encoders: norms, products, activations, feed-forward blocks, position tables.

Shapes: token vectors are (batch, sequence, width).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.shape import Shape

Floats = NDArray[np.float32]


def words(graph: Graph, weights: Checkpoint, name: str, shape: Shape, *, types: str = "", scale: float = 1) -> str:
    """The word embeddings of the input, (batch, sequence, width).

    Args:
        graph: the graph to add to.
        weights: the weights of the model.
        name: the name of the table.
        shape: the sizes of the model.
        types: the table of token types, if any.
        scale: the factor of the rows, in families without token types.
    """
    table = weights.read(f"{name}.weight", shape.words, shape.width)
    apart = ""
    if types:
        table, apart = with_types(graph, weights, types, shape, table)
    x = graph.op("Gather", graph.weight(table * np.float32(scale) if scale != 1 else table), "input_ids")
    return plus(graph, x, apart)


def plus(graph: Graph, x: str, apart: str) -> str:
    """The sum of token vectors and what `with_types` leaves to be added."""
    return graph.op("Add", x, apart) if apart else x


def with_types(graph: Graph, weights: Checkpoint, name: str, shape: Shape, table: Floats) -> tuple[Floats, str]:
    """What token types add to words: a table with it, and what is to be added besides for each token; "" for nothing.

    A single text has type 0 throughout, so that type's row joins those of a table that has one for each token. The tokens of a
    pair have the types of their segments, in models with more than one.

    Args:
        graph: the graph to add to.
        weights: the weights of the model.
        name: the name of the table of token types.
        shape: the sizes of the model.
        table: the table of words or positions, (rows, width).
    """
    types = weights.read(f"{name}.weight", shape.token_types, shape.width)
    if graph.of_pairs and shape.token_types > 1:
        return table, graph.op("Gather", graph.weight(types), graph.segments())
    return table + types[0], ""


def norm(
    graph: Graph, weights: Checkpoint, name: str, x: str, shape: Shape, *, bias: bool = True, shift: Floats | float = 0
) -> str:
    """The layer norm with this name (Ba et al. 2016, arXiv:1607.06450), with or without a bias, plus `shift`.

    Not fused with the addition before it: ONNX Runtime's fused form is not vectorized and takes five times as long.
    """
    scale = weights.read(f"{name}.weight", shape.width)
    moved = weights.read(f"{name}.bias", shape.width) + shift if bias else None
    return scaled_norm(graph, x, scale, moved, shape.epsilon)


def scaled_norm(graph: Graph, x: str, scale: Floats, shift: Floats | None, epsilon: float) -> str:
    """The layer norm over the last axis with these values."""
    inputs = [graph.weight(scale), *([graph.weight(shift)] if shift is not None else [])]
    return graph.op("LayerNormalization", x, *inputs, axis=-1, epsilon=epsilon)


def rms_norm(graph: Graph, x: str, scale: Floats, epsilon: float) -> str:
    """X / sqrt(mean(x^2) + epsilon) * scale over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467)."""
    return graph.op("RMSNormalization", x, graph.weight(scale), axis=-1, epsilon=epsilon)


def normed_heads(graph: Graph, x: str, scale: Floats, heads: int, epsilon: float) -> str:
    """Queries or keys, (batch, sequence, heads * head width), the RMS norm of each head taken with the same scale."""
    width = len(scale)
    apart = graph.op("Reshape", x, graph.integers(0, 0, heads, width))
    return graph.op("Reshape", rms_norm(graph, apart, scale, epsilon), graph.integers(0, 0, heads * width))


def product(graph: Graph, x: str, weight: Floats, bias: Floats | None = None) -> str:
    """The product x @ weight, plus a bias, of token vectors."""
    result = graph.op("MatMul", x, graph.weight(weight))
    return result if bias is None else graph.op("Add", result, graph.weight(bias))


def product_onto(graph: Graph, x: str, weight: Floats, onto: str) -> str:
    """The product x @ weight, added to `onto`, both token vectors; the runtime accumulates the product in place."""
    inputs, outputs = weight.shape
    rows = graph.op("Reshape", x, graph.integers(-1, inputs))
    before = graph.op("Reshape", onto, graph.integers(-1, outputs))
    return graph.op("Reshape", graph.op("Gemm", rows, graph.weight(weight), before), graph.op("Shape", onto))


def gated(graph: Graph, x: str, gate: Floats, up: Floats, activation: str) -> str:
    """activation(x @ gate) * (x @ up) (Shazeer 2020, arXiv:2002.05202), the first half of a gated feed-forward block."""
    return graph.op("Mul", activated(graph, product(graph, x, gate), activation), product(graph, x, up))


def activated(graph: Graph, x: str, activation: str) -> str:
    """The activation with this name, one of `ACTIVATIONS`."""
    return ACTIVATIONS[activation](graph, x)


ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "gelu": lambda graph, x: graph.op("Gelu", x),
    "gelu_new": lambda graph, x: graph.op("Gelu", x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda graph, x: graph.op("Gelu", x, approximate="tanh"),
    "gated-gelu": lambda graph, x: graph.op("Gelu", x, approximate="tanh"),
    "relu": lambda graph, x: graph.op("Relu", x),
    "silu": lambda graph, x: graph.op("Mul", x, graph.op("Sigmoid", x)),
    "tanh": lambda graph, x: graph.op("Tanh", x),
}
"""Names that config.json gives activations -> the operators; "gelu" is the exact one, the other three approximate it by tanh."""


def first(graph: Graph, x: str, axis: int) -> str:
    """The first slice of an axis, which is kept with length 1."""
    return graph.op("Slice", x, graph.integers(0), graph.integers(1), graph.integers(axis))


def sequence(graph: Graph) -> str:
    """The length of the batch's longest text, int64 (1,)."""
    return graph.op("Shape", "input_ids", start=1, end=2)


def lengths(graph: Graph) -> str:
    """The number of real tokens of each text, int64 (batch,)."""
    mask = graph.op("Cast", "attention_mask", to=TensorProto.INT64)
    return graph.op("ReduceSum", mask, graph.integers(1), keepdims=0)


def rows_of_columns(graph: Graph, table: str) -> str:
    """The rows of a position table for columns 0, 1, ...: (sequence, width)."""
    return graph.op("Slice", table, graph.integers(0), sequence(graph), graph.integers(0))


def rows_after_padding(graph: Graph, table: str, pad_id: int) -> str:
    """The rows of a position table as RoBERTa takes them: (batch, sequence, width).

    Positions are numbered from the padding's id + 1, skipping padding at any position.
    """
    is_text = graph.op(
        "Cast", graph.op("Not", graph.op("Equal", "input_ids", graph.scalar(np.int32(pad_id)))), to=TensorProto.INT32
    )
    counted = graph.op("Mul", graph.op("CumSum", is_text, graph.integers(1)), is_text)
    return graph.op("Gather", table, graph.op("Add", counted, graph.scalar(np.int32(pad_id))))
