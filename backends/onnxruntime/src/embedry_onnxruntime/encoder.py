"""The transformer encoder that all families share: embed, then layers of attention and feed-forward, each normed after.

Shapes: token vectors are (batch, sequence, width); `lengths` is the number of real tokens of each text, int32 (batch,).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from embedry_onnxruntime.checkpoint import Checkpoint
from embedry_onnxruntime.graph import FUSED, Graph


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


def embed(
    graph: Graph,
    words: NDArray[np.float32],
    positions: NDArray[np.float32],
    norm: tuple[NDArray[np.float32], NDArray[np.float32]],
    epsilon: float,
    places: str = "",
) -> tuple[str, str]:
    """norm(words[id] + positions[place]) -> token vectors, and the lengths that the mask stands for.

    A token's place is its column, unless `places`, int32 (batch, sequence), says otherwise.
    """
    scale, shift = norm
    inputs = [
        "input_ids", "", graph.weight(words), graph.weight(positions), "", graph.weight(scale), graph.weight(shift),
        "attention_mask", places,
    ]  # fmt: skip
    vectors, lengths = graph.node("EmbedLayerNormalization", inputs, domain=FUSED, outputs=2, epsilon=epsilon)
    return vectors, lengths


def places_after_padding(graph: Graph, pad_id: int) -> str:
    """Places numbered as RoBERTa does: from the padding's id + 1, skipping padding, wherever it stands in a text."""
    is_text = graph.op(
        "Cast", graph.op("Not", graph.op("Equal", "input_ids", graph.constant(pad_id))), to=TensorProto.INT32
    )
    counted = graph.op("Mul", graph.op("CumSum", is_text, graph.integers(1)), is_text)
    return graph.op("Add", counted, graph.constant(pad_id))


def layer(
    graph: Graph,
    weights: Checkpoint,
    names: LayerNames,
    x: str,
    lengths: str,
    *,
    heads: int,
    epsilon: float,
    bias: str = "",
) -> str:
    """X = norm(x + attention(x)); x = norm(x + feed_forward(x)), with the exact (erf) GELU."""
    # Query, key and value as one product: faster than three, and the fused operator's own form.
    projections = [weights.linear(name) for name in (names.query, names.key, names.value)]
    qkv = np.concatenate([weight for weight, _ in projections], axis=1)
    qkv_bias = np.concatenate([shift for _, shift in projections])
    attended = graph.fused(
        "Attention", x, graph.weight(qkv), graph.weight(qkv_bias), lengths, "", bias, num_heads=heads
    )
    x = _add_and_norm(graph, weights, names.attention_out, names.attention_norm, attended, x, epsilon)

    up, up_bias = weights.linear(names.feed_forward_in)
    hidden = graph.fused("BiasGelu", graph.op("MatMul", x, graph.weight(up)), graph.weight(up_bias))
    return _add_and_norm(graph, weights, names.feed_forward_out, names.feed_forward_norm, hidden, x, epsilon)


def _add_and_norm(graph: Graph, weights: Checkpoint, linear: str, norm: str, y: str, x: str, epsilon: float) -> str:
    """norm(x + linear(y)); the linear's bias is added by the norm, which saves a pass over memory."""
    weight, bias = weights.linear(linear)
    scale, shift = weights.norm(norm)
    product = graph.op("MatMul", y, graph.weight(weight))
    return graph.fused(
        "SkipLayerNormalization",
        product, x, graph.weight(scale), graph.weight(shift), graph.weight(bias), epsilon=epsilon,
    )  # fmt: skip


def pool(graph: Graph, x: str, pooling: str) -> str:
    """Token vectors -> one vector a text: the first token's (cls), or the mean over the real tokens."""
    if pooling == "cls":
        return graph.op(
            "Squeeze", graph.op("Slice", x, graph.integers(0), graph.integers(1), graph.integers(1)), graph.integers(1)
        )
    mask = graph.op(
        "Unsqueeze", graph.op("Cast", "attention_mask", to=1), graph.integers(1)
    )  # float (batch, 1, sequence)
    total = graph.op("MatMul", mask, x)
    count = graph.op("ReduceSum", mask, graph.integers(2), keepdims=1)
    return graph.op("Squeeze", graph.op("Div", total, count), graph.integers(1))
