"""The body of a chain as part of the graph: from token vectors to the vector that the model's modules make of them.

Shapes: token vectors are (batch, sequence, width), a text's vector is (batch, width); every text has at least one token.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import TensorProto

from embedry import UnsupportedModelError
from embedry.modules import Chain, Dense, LayerNorm, Normalize, Pooling
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph

_FEW = np.float32(1e-12)
"""The least norm divided by (torch.nn.functional.normalize)."""


def first_only(body: Chain) -> bool:
    """Whether nothing but the vectors of first tokens matters."""
    return all(module.mode == "cls" for module in body if isinstance(module, Pooling))


def apply(graph: Graph, body: Chain, tokens: str, folder: Path, width: int) -> tuple[str, int]:
    """Adds the modules of the body in their order; the name and the width of the result.

    Args:
        graph: is added to.
        body: of the model's entry.
        tokens: the name of the token vectors.
        folder: holds the weights of the modules.
        width: of a token vector.
    """
    x, size = tokens, width
    for module in body:
        if isinstance(module, Pooling):
            parts = [_POOLINGS[mode](graph, tokens) for mode in module.modes]
            x = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
            size = width * len(parts)
        elif isinstance(module, Dense):
            x = _dense(graph, module, x, folder)
            size = module.outputs
        elif isinstance(module, LayerNorm):
            x = _norm(graph, module, x, folder, size)
        elif isinstance(module, Normalize):
            length = graph.op("Max", graph.op("ReduceL2", x, graph.integers(1)), graph.scalar(_FEW))
            x = graph.op("Div", x, length)
        else:
            raise UnsupportedModelError(f"no graph is written for {module}")
    return x, size


def _dense(graph: Graph, module: Dense, x: str, folder: Path) -> str:
    weights = Checkpoint([folder / module.weights])
    weight = graph.weight(weights.read("linear.weight", module.outputs, module.inputs).T)
    if module.bias:
        x = graph.op("Gemm", x, weight, graph.weight(weights.read("linear.bias", module.outputs)))
    else:
        x = graph.op("MatMul", x, weight)
    weights.check_all_read()
    if module.activation == "silu":
        return graph.op("Mul", x, graph.op("Sigmoid", x))
    return graph.op(_ACTIVATIONS[module.activation], x)


def _norm(graph: Graph, module: LayerNorm, x: str, folder: Path, width: int) -> str:
    if module.weights:
        weights = Checkpoint([folder / module.weights])
        scale, shift = weights.read("norm.weight", width), weights.read("norm.bias", width)
        weights.check_all_read()
    else:
        scale, shift = np.ones(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
    return graph.op("LayerNormalization", x, graph.weight(scale), graph.weight(shift), axis=-1, epsilon=1e-5)


def _float_mask(graph: Graph, axis: int) -> str:
    """The mask as float, with one more axis of length 1."""
    return graph.op("Unsqueeze", graph.op("Cast", "attention_mask", to=TensorProto.FLOAT), graph.integers(axis))


def _mean(graph: Graph, tokens: str) -> str:
    return _over_count(graph, tokens, _float_mask(graph, 1), root=False)


def _mean_sqrt(graph: Graph, tokens: str) -> str:
    return _over_count(graph, tokens, _float_mask(graph, 1), root=True)


def _weighted_mean(graph: Graph, tokens: str) -> str:
    """Weights 1, 2, 3, ... by position."""
    weights = graph.op("CumSum", _float_mask(graph, 1), graph.integers(2))
    return _over_count(graph, tokens, graph.op("Mul", weights, _float_mask(graph, 1)), root=False)


def _over_count(graph: Graph, tokens: str, weights: str, *, root: bool) -> str:
    """The weighted sum of token vectors, divided by the sum of weights, (batch, 1, sequence), or by its root."""
    total = graph.op("MatMul", weights, tokens)  # (batch, 1, width)
    count = graph.op("ReduceSum", weights, graph.integers(2), keepdims=1)
    count = graph.op("Sqrt", count) if root else count
    return graph.op("Squeeze", graph.op("Div", total, count), graph.integers(1))


def _cls(graph: Graph, tokens: str) -> str:
    start = graph.op("Slice", tokens, graph.integers(0), graph.integers(1), graph.integers(1))
    return graph.op("Squeeze", start, graph.integers(1))


def _last(graph: Graph, tokens: str) -> str:
    """The vector of the last real token: the mask's sum is one more than its position."""
    counts = graph.op(
        "ReduceSum", graph.op("Cast", "attention_mask", to=TensorProto.INT64), graph.integers(1), keepdims=1
    )
    return graph.op("GatherND", tokens, graph.op("Sub", counts, graph.integers(1)), batch_dims=1)


def _max(graph: Graph, tokens: str) -> str:
    """The greatest value of each channel; padding is moved far below."""
    padding = graph.op("Sub", _float_mask(graph, 2), graph.scalar(np.float32(1)))  # 0 and -1
    low = graph.op("Mul", padding, graph.scalar(np.float32(1e30)))
    return graph.op("ReduceMax", graph.op("Add", tokens, low), graph.integers(1), keepdims=0)


_POOLINGS: dict[str, Callable[[Graph, str], str]] = {
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
    "cls": _cls,
    "last": _last,
    "max": _max,
}

_ACTIVATIONS = {"identity": "Identity", "tanh": "Tanh", "relu": "Relu", "gelu": "Gelu", "sigmoid": "Sigmoid"}
"""The operator of each activation that has one."""
