"""The body of a chain as part of the graph: applies the model's modules to token vectors.

Shapes: token vectors are (batch, sequence, width), a text's vector is (batch, width); every text has at least one token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from embedry import UnsupportedModelError
from embedry.heads import Classifier, MaskedLM, SpladePooling, TermWeights
from embedry.modules import Chain, Dense, LayerNorm, Normalize, Pooling
from embedry_graphs import blocks, head_names, heads, sparse
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.head_names import Head
from embedry_graphs.shape import Shape

_FEW = np.float32(1e-12)
"""The least norm divided by (torch.nn.functional.normalize)."""


@dataclass(frozen=True)
class Parts:
    """The parts that modules are built from."""

    folder: Path
    """Holds the weights of the modules that have their own."""
    encoder: Checkpoint
    """The transformer's weights, with those of its heads."""
    shape: Shape
    architecture: str
    settings: Mapping[str, Any]
    """The transformer's config.json."""

    def head(self, module: Classifier | MaskedLM) -> Head:
        """The head among the transformer's tensors that a module stands for."""
        return head_names.of(module, self.architecture, self.settings)


def first_only(body: Chain) -> bool:
    """Whether only the vectors of first tokens are needed."""
    taken = [
        module.pooling if isinstance(module, Classifier) else module.mode
        for module in body
        if isinstance(module, Classifier | Pooling)
    ]
    return bool(taken) and set(taken) == {"cls"}


def apply(graph: Graph, body: Chain, tokens: str, parts: Parts) -> tuple[str, int]:
    """Adds the modules of the body in order; returns the name and the width of the result.

    Args:
        graph: the graph to add to.
        body: the body of the model's entry.
        tokens: the name of the token vectors.
        parts: the parts that modules are built from.
    """
    x, size = tokens, parts.shape.width
    is_text = False  # whether x is a vector of a text, and not of each token
    for position, module in enumerate(body):
        if isinstance(module, Pooling):
            found = [_POOLINGS[mode](graph, tokens) for mode in module.modes]
            x = found[0] if len(found) == 1 else graph.op("Concat", *found, axis=1)
            size, is_text = parts.shape.width * len(found), True
        elif isinstance(module, Dense):
            x, size = _dense(graph, module, x, parts, is_text=is_text), module.outputs
        elif isinstance(module, LayerNorm):
            x = _norm(graph, module, x, parts.folder, size)
        elif isinstance(module, Normalize):
            length = graph.op("ReduceL2", x, graph.integers(1 if is_text else 2))
            x = graph.op("Div", x, graph.op("Max", length, graph.scalar(_FEW)))
        elif isinstance(module, Classifier):
            x, size, is_text = _classifier(graph, module, tokens, parts), module.labels, True
        elif isinstance(module, MaskedLM):
            pass  # its logits are never there as a whole: the pooling behind it computes them
        elif isinstance(module, SpladePooling) and body[position - 1] == MaskedLM():
            x, size = _splade(graph, module, x, parts), parts.shape.words
        elif isinstance(module, TermWeights):
            x, size = _term_weights(graph, module, x, parts.folder), module.outputs
        else:
            raise UnsupportedModelError(f"no graph is written for {module}")
    return x, size


def prefixes(body: Chain, parts: Parts) -> list[str]:
    """The name prefixes of transformer tensors that belong to the heads in use."""
    found = [parts.head(module) for module in body if isinstance(module, Classifier | MaskedLM)]
    return [prefix for head in found for prefix in head.prefixes]


def _classifier(graph: Graph, module: Classifier, tokens: str, parts: Parts) -> str:
    head = parts.head(module)
    x = heads.transformed(graph, parts.encoder, parts.shape, head, _POOLINGS[module.pooling](graph, tokens))
    return blocks.product(graph, x, *heads.output(parts.encoder, parts.shape, head, module.labels))


def _splade(graph: Graph, module: SpladePooling, tokens: str, parts: Parts) -> str:
    shape, head = parts.shape, parts.head(MaskedLM())
    x = heads.transformed(graph, parts.encoder, shape, head, tokens)
    weight, bias = heads.output(parts.encoder, shape, head, shape.words)
    return sparse.splade(graph, module, x, weight, bias, shape.positions)


def _term_weights(graph: Graph, module: TermWeights, tokens: str, folder: Path) -> str:
    weights = Checkpoint([folder / module.weights])
    linear = weights.linear("linear", module.inputs, 1)
    weights.check_all_read()
    x = graph.op("Relu", blocks.product(graph, tokens, *linear))
    return sparse.by_term(graph, graph.op("Squeeze", x, graph.integers(2)), module.outputs, module.skip)


def _dense(graph: Graph, module: Dense, x: str, parts: Parts, *, is_text: bool) -> str:
    weights = Checkpoint([parts.folder / module.weights]) if module.weights else parts.encoder
    weight = weights.read("linear.weight", module.outputs, module.inputs).T
    bias = weights.read("linear.bias", module.outputs) if module.bias else None
    if module.weights:
        weights.check_all_read()
    if is_text and bias is not None:
        x = graph.op("Gemm", x, graph.weight(weight), graph.weight(bias))
    else:
        x = blocks.product(graph, x, weight, bias)
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
