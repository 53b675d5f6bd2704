"""Gemma 3's text model (arXiv:2503.19786), and EmbeddingGemma (arXiv:2509.20354), in which tokens attend in both directions."""

from math import sqrt

from embedry_graphs import attention
from embedry_graphs.attention import Attention, Pattern
from embedry_graphs.blocks import Floats, gated, product, rms_norm, words
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.grouped import grouped_attention
from embedry_graphs.rotary import Rotary
from embedry_graphs.shape import Shape

PREFIXES = ("model.",)


def token_vectors(graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool) -> str:
    """Words, scaled; the layers; and a norm. Every norm's scale is stored less 1."""
    x = words(graph, weights, "embed_tokens", shape, scale=sqrt(shape.width))
    attend = Attention(graph, shape)
    patterns = (
        (attention.causal(), attention.causal(shape.window))
        if shape.is_causal
        else (attention.EVERYTHING, attention.within(shape.window))
    )
    whole = Rotary(graph, shape, shape.theta), patterns[0]
    local = Rotary(graph, shape, shape.local_theta), patterns[1]
    for number in range(shape.layers):
        rotary, pattern = local if number in shape.local_layers else whole
        x = _layer(graph, weights, shape, f"layers.{number}", x, attend, rotary, pattern)
    return rms_norm(graph, x, 1 + weights.read("norm.weight", shape.width), shape.epsilon)


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
    """One layer: a = x + norm(attention(norm(x))), then a + norm(feed_forward(norm(a)))."""
    width, inner = shape.width, shape.inner
    heads = shape.heads * shape.head_width

    def weight(name: str, inputs: int, outputs: int) -> Floats:
        return weights.read(f"{layer}.{name}.weight", outputs, inputs).T

    def scale(name: str, size: int = width) -> Floats:
        return 1 + weights.read(f"{layer}.{name}.weight", size)

    normed = rms_norm(graph, x, scale("input_layernorm"), shape.epsilon)
    seen = grouped_attention(graph, shape, normed, weight, scale, attend, rotary, pattern)
    out = product(graph, seen, weight("self_attn.o_proj", heads, width))
    a = graph.op("Add", x, rms_norm(graph, out, scale("post_attention_layernorm"), shape.epsilon))
    normed = rms_norm(graph, a, scale("pre_feedforward_layernorm"), shape.epsilon)
    active = gated(
        graph, normed, weight("mlp.gate_proj", width, inner), weight("mlp.up_proj", width, inner), shape.activation
    )
    down = product(graph, active, weight("mlp.down_proj", inner, width))
    return graph.op("Add", a, rms_norm(graph, down, scale("post_feedforward_layernorm"), shape.epsilon))
