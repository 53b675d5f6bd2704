"""Weights of vocabulary terms from token vectors, (batch, terms): SPLADE, and models with one weight per token.

The logits of all terms for 512 tokens would be 62 MB for a vocabulary of 30,522, 512 MB for one of 250,002, and more for longer
texts. So the product is split into blocks of `_TERMS` columns and, for texts of more than `_TOKENS`, into blocks of `_TOKENS` rows.
"""

from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from embedry.heads import SpladePooling
from embedry_graphs import blocks
from embedry_graphs.blocks import Floats
from embedry_graphs.graph import Graph

_TERMS = 4080
"""Terms whose logits are computed at a time: 8 MB for 512 tokens. Measured with 768 inputs, 30,522 terms and 512 tokens: 2,032, 4,080
or all of them at once take the same time, within 3%, and the product alone takes 96% of it; but 4,096 columns take 15% more in one
text, whose values for a term then lie a multiple of 4,096 bytes apart and share the same few lines of the cache."""

_TOKENS = 512
"""Tokens of a longer text whose logits are computed at a time. Such a text exceeds a batch's budget, and so comes alone."""


def splade(graph: Graph, module: SpladePooling, x: str, weight: Floats, bias: Floats | None, positions: int) -> str:
    """The pooled weights of all terms, (batch, terms).

    Args:
        graph: the graph to add to.
        module: how they are pooled.
        x: what the logits are a product of, (batch, sequence, width).
        weight: of that product, (width, terms).
        bias: of it, (terms,).
        positions: the most tokens of a text; 0 for no limit.
    """
    columns = [slice(start, start + _TERMS) for start in range(0, weight.shape[1], _TERMS)]
    weights = [graph.weight(weight[:, cut]) for cut in columns]
    if module.strategy == "sum":
        biases = [graph.weight(bias[cut]) if bias is not None else "" for cut in columns]

        def summed(x: str, mask: str) -> str:
            return _joined(graph, [_sum(graph, module, x, mask, *each) for each in zip(weights, biases, strict=True)])

        return _in_rows(graph, summed, "ReduceSum", x, positions)

    # A weight grows with its logit: only of each term's greatest logit anything else is computed.
    def greatest(x: str, mask: str) -> str:
        products = (graph.op("MatMul", x, each) for each in weights)
        return _joined(graph, [graph.op("ReduceMax", each, graph.integers(1), keepdims=0) for each in products])

    is_text = graph.op("Unsqueeze", graph.op("Cast", "attention_mask", to=TensorProto.BOOL), graph.integers(2))
    x = graph.op("Where", is_text, x, blocks.first(graph, x, axis=1))  # in place of padding, a token that counts anyway
    found = _in_rows(graph, greatest, "ReduceMax", x, positions)
    return _activated(graph, module, graph.op("Add", found, graph.weight(bias)) if bias is not None else found)


def _in_rows(graph: Graph, pool: Callable[[str, str], str], reduce: str, x: str, positions: int) -> str:
    """What `pool` makes of tokens and their mask, and of a long text of its parts, which `reduce` brings together."""
    mask = graph.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    if 0 < positions <= _TOKENS:
        return pool(x, mask)
    size, axis = graph.integers(_TOKENS), graph.integers(1)
    times = graph.op("Div", graph.op("Add", blocks.sequence(graph), graph.integers(_TOKENS - 1)), size)

    def part(number: str) -> str:
        start = graph.op("Mul", graph.op("Unsqueeze", number, graph.integers(0)), size)
        end = graph.op("Add", start, size)
        return pool(*(graph.op("Slice", each, start, end, axis) for each in (x, mask)))

    parts = graph.repeat(graph.op("Squeeze", times), part)
    return graph.op(reduce, parts, graph.integers(0), keepdims=0)


def _sum(graph: Graph, module: SpladePooling, x: str, mask: str, weight: str, bias: str) -> str:
    logits = graph.op("MatMul", x, weight)
    weights = _activated(graph, module, graph.op("Add", logits, bias) if bias else logits)
    total = graph.op("MatMul", graph.op("Unsqueeze", mask, graph.integers(1)), weights)
    return graph.op("Squeeze", total, graph.integers(1))


def _activated(graph: Graph, module: SpladePooling, logits: str) -> str:
    """Weights from logits; those below 6e-8 become 0, for log(1 + x) is computed in float32."""
    one = graph.scalar(np.float32(1))
    x = graph.op("Log", graph.op("Add", graph.op("Relu", logits), one))
    return graph.op("Log", graph.op("Add", x, one)) if module.activation == "log1p_relu" else x


def _joined(graph: Graph, parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)


def by_term(graph: Graph, weights: str, terms: int, skip: Sequence[int]) -> str:
    """The greatest weight of the tokens of each term, (batch, terms), 0 for terms without any.

    Args:
        graph: the graph to add to.
        weights: of tokens, (batch, sequence), none below 0.
        terms: of the vocabulary.
        skip: ids whose weights do not count.
    """
    counts = graph.op("Cast", "attention_mask", to=TensorProto.BOOL)
    ids = graph.op("Cast", "input_ids", to=TensorProto.INT64)
    for each in skip:
        counts = graph.op("And", counts, graph.op("Not", graph.op("Equal", ids, graph.scalar(np.int64(each)))))
    zero = graph.scalar(np.float32(0))
    counted = graph.op("Where", counts, weights, zero)
    shape = graph.op("Concat", graph.op("Shape", "input_ids", start=0, end=1), graph.integers(terms), axis=0)
    return graph.op("ScatterElements", graph.op("Expand", zero, shape), ids, counted, axis=1, reduction="max")
