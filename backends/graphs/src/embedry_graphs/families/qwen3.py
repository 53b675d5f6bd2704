"""Qwen 3 (arXiv:2505.09388): a decoder with grouped heads, normed queries and keys, and rotary positions."""

from embedry_graphs import attention
from embedry_graphs.attention import Attention, Pattern
from embedry_graphs.blocks import Floats, gated, product_onto, rms_norm, words
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.grouped import grouped_attention
from embedry_graphs.rotary import Rotary
from embedry_graphs.shape import Shape

PREFIXES = ("model.",)


def token_vectors(graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool) -> str:
    """Words; the layers; and a norm."""
    x = words(graph, weights, "embed_tokens", shape)
    attend, rotary, pattern = Attention(graph, shape), Rotary(graph, shape, shape.theta), attention.causal()
    for number in range(shape.layers):
        x = _layer(graph, weights, shape, f"layers.{number}", x, attend, rotary, pattern)
    return rms_norm(graph, x, weights.read("norm.weight", shape.width), shape.epsilon)


def _layer(
    graph: Graph,
    weights: Checkpoint,
    shape: Shape,
    layer: str,
    x: str,
    attend: Attention,
    rotary: Rotary,
    pattern: Pattern,
) -> str:
    """One layer: a = x + attention(norm(x)), then a + feed_forward(norm(a))."""
    width, inner = shape.width, shape.inner
    heads = shape.heads * shape.head_width

    def weight(name: str, inputs: int, outputs: int) -> Floats:
        return weights.read(f"{layer}.{name}.weight", outputs, inputs).T

    def scale(name: str, size: int = width) -> Floats:
        return weights.read(f"{layer}.{name}.weight", size)

    normed = rms_norm(graph, x, scale("input_layernorm"), shape.epsilon)
    seen = grouped_attention(graph, shape, normed, weight, scale, attend, rotary, pattern)
    a = product_onto(graph, seen, weight("self_attn.o_proj", heads, width), x)
    normed = rms_norm(graph, a, scale("post_attention_layernorm"), shape.epsilon)
    active = gated(
        graph, normed, weight("mlp.gate_proj", width, inner), weight("mlp.up_proj", width, inner), shape.activation
    )
    return product_onto(graph, active, weight("mlp.down_proj", inner, width), a)
