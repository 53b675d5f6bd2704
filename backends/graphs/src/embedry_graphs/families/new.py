"""Alibaba's "new" encoder (Zhang et al. 2024, arXiv:2407.19669): BERT with rotary positions and a gated feed-forward block."""

from embedry_graphs.attention import Attention
from embedry_graphs.blocks import first, gated, norm, product, product_onto, words
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.rotary import Rotary
from embedry_graphs.shape import Shape

PREFIXES = ("new.", "gte.")


def token_vectors(graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool) -> str:
    """Words, normed; then the layers."""
    types = "embeddings.token_type_embeddings" if shape.token_types else ""
    x = words(graph, weights, "embeddings.word_embeddings", shape, types=types)
    x = norm(graph, weights, "embeddings.LayerNorm", x, shape)
    attend, rotary = Attention(graph, shape), Rotary(graph, shape, shape.theta)
    for number in range(shape.layers):
        only = first_only and number == shape.layers - 1
        x = _layer(graph, weights, shape, number, x, attend, rotary, first_only=only)
    return x


def _layer(
    graph: Graph,
    weights: Checkpoint,
    shape: Shape,
    number: int,
    x: str,
    attend: Attention,
    rotary: Rotary,
    *,
    first_only: bool,
) -> str:
    """One layer: a = norm(x + attention(x)), then norm(a + feed_forward(a)).

    The value's bias goes through attention unchanged, because the weights of a row sum to one, and is merged into the next bias.
    """
    layer, width, inner = f"encoder.layer.{number}", shape.width, shape.inner
    fused, biases = weights.linear(f"{layer}.attention.qkv_proj", width, 3 * width)
    query, key, value = fused.reshape(width, 3, width).swapaxes(0, 1)
    query_bias, key_bias, value_bias = biases.reshape(3, width)
    asking = first(graph, x, axis=1) if first_only else x
    asked = product(graph, asking, query, query_bias)
    seen = attend(
        rotary(asked, shape.heads, first_only=first_only),
        rotary(product(graph, x, key, key_bias), shape.heads),
        product(graph, x, value),
        first_only=first_only,
    )
    out, out_bias = weights.linear(f"{layer}.attention.o_proj", width, width)
    a = graph.op("Add", product_onto(graph, seen, out, asking), graph.weight(out_bias + value_bias @ out))
    down, down_bias = weights.linear(f"{layer}.mlp.down_proj", inner, width)
    a = norm(graph, weights, f"{layer}.attn_ln", a, shape)
    up, gate = (
        weights.read(f"{layer}.mlp.up_gate_proj.weight", 2 * inner, width).reshape(2, inner, width).swapaxes(1, 2)
    )
    z = product_onto(graph, gated(graph, a, gate, up, shape.activation), down, a)
    return norm(graph, weights, f"{layer}.mlp_ln", graph.op("Add", z, graph.weight(down_bias)), shape)
