"""Jina's second BERT as its code model has it: queries and keys are normed, and the attention's result twice."""

from embedry_graphs import relative
from embedry_graphs.attention import Attention, Pattern
from embedry_graphs.blocks import first, gated, norm, product, product_onto, words
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.shape import Shape

PREFIXES = ("bert.",)


def token_vectors(graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool) -> str:
    """Words, normed; then the layers."""
    x = words(graph, weights, "embeddings.word_embeddings", shape, types="embeddings.token_type_embeddings")
    x = norm(graph, weights, "embeddings.LayerNorm", x, shape)
    attend, pattern = Attention(graph, shape), relative.alibi(shape.heads)
    for number in range(shape.layers):
        only = first_only and number == shape.layers - 1
        x = _layer(graph, weights, shape, f"encoder.layer.{number}", x, attend, pattern, first_only=only)
    return x


def _layer(
    graph: Graph,
    weights: Checkpoint,
    shape: Shape,
    layer: str,
    x: str,
    attend: Attention,
    pattern: Pattern,
    *,
    first_only: bool,
) -> str:
    """One layer: a = norm(x + norm(x + attention(x))), then norm(a + feed_forward(a)); queries and keys are normed over all heads."""
    width, inner = shape.width, shape.inner
    asking = first(graph, x, axis=1) if first_only else x
    query = product(graph, asking, *weights.linear(f"{layer}.attention.self.query", width, width))
    key = product(graph, x, *weights.linear(f"{layer}.attention.self.key", width, width))
    value, value_bias = weights.linear(f"{layer}.attention.self.value", width, width)
    seen = attend(
        norm(graph, weights, f"{layer}.attention.self.layer_norm_q", query, shape),
        norm(graph, weights, f"{layer}.attention.self.layer_norm_k", key, shape),
        product(graph, x, value),
        pattern,
        first_only=first_only,
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
