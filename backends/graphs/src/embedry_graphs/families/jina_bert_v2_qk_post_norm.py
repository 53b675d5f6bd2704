"""Jina's second BERT as its code model has it: queries and keys are normed, and the attention's result twice."""

from embedry_graphs.attention import Attention, Pattern
from embedry_graphs.blocks import gated, norm, product, product_onto
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.families import jina_bert_v2
from embedry_graphs.graph import Graph
from embedry_graphs.shape import Shape

PREFIXES = ("bert.",)


def token_vectors(graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool) -> str:
    """As in jina_bert_v2, with other layers."""
    return jina_bert_v2.with_layers(graph, weights, shape, _layer, first_only=first_only)


def _layer(
    graph: Graph,
    weights: Checkpoint,
    shape: Shape,
    layer: str,
    x: str,
    asking: str,
    attend: Attention,
    pattern: Pattern,
) -> str:
    """One layer: a = norm(x + norm(x + attention(x))), then norm(a + feed_forward(a)); queries and keys are normed over all heads."""
    width, inner = shape.width, shape.inner
    query = product(graph, asking, *weights.linear(f"{layer}.attention.self.query", width, width))
    key = product(graph, x, *weights.linear(f"{layer}.attention.self.key", width, width))
    value, value_bias = weights.linear(f"{layer}.attention.self.value", width, width)
    seen = attend(
        norm(graph, weights, f"{layer}.attention.self.layer_norm_q", query, shape),
        norm(graph, weights, f"{layer}.attention.self.layer_norm_k", key, shape),
        product(graph, x, value),
        pattern,
        first_only=asking != x,
    )
    out, out_bias = weights.linear(f"{layer}.attention.output.dense", width, width)
    a = graph.op("Add", product_onto(graph, seen, out, asking), graph.weight(out_bias + value_bias @ out))
    a = norm(graph, weights, f"{layer}.attention.output.LayerNorm", a, shape)
    a = norm(graph, weights, f"{layer}.layer_norm_1", graph.op("Add", a, asking), shape)
    up, gate = (
        weights.read(f"{layer}.mlp.up_gated_layer.weight", 2 * inner, width).reshape(2, inner, width).swapaxes(1, 2)
    )
    down, down_bias = weights.linear(f"{layer}.mlp.down_layer", inner, width)
    z = product_onto(graph, gated(graph, a, gate, up, shape.activation), down, a)
    return norm(graph, weights, f"{layer}.layer_norm_2", graph.op("Add", z, graph.weight(down_bias)), shape)
