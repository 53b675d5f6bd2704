"""Jina's second BERT (Günther et al. 2023, arXiv:2310.19923): ALiBi in place of positions, and a gated feed-forward block."""

from collections.abc import Callable

from embedry_graphs import relative
from embedry_graphs.attention import Attention, Pattern
from embedry_graphs.blocks import first, gated, norm, product, product_onto, words
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.shape import Shape

PREFIXES = ("bert.",)

LayerBuilder = Callable[[Graph, Checkpoint, Shape, str, str, str, Attention, Pattern], str]
"""Adds the layer of this name: from token vectors x, and those of them that are wanted, `asking`, to the results of those."""


def token_vectors(graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool) -> str:
    """Words, normed; then the layers."""
    return with_layers(graph, weights, shape, _layer, first_only=first_only)


def with_layers(graph: Graph, weights: Checkpoint, shape: Shape, build_layer: LayerBuilder, *, first_only: bool) -> str:
    """The encoder whose layers `build_layer` adds."""
    x = words(graph, weights, "embeddings.word_embeddings", shape, types="embeddings.token_type_embeddings")
    x = norm(graph, weights, "embeddings.LayerNorm", x, shape)
    attend, pattern = Attention(graph, shape), relative.alibi(shape.heads)
    for number in range(shape.layers):
        asking = first(graph, x, axis=1) if first_only and number == shape.layers - 1 else x
        x = build_layer(graph, weights, shape, f"encoder.layer.{number}", x, asking, attend, pattern)
    return x


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
    """One layer: a = norm(x + attention(x)), then norm(a + feed_forward(a)).

    The key's bias adds the same to all scores of a row, which softmax ignores. The value's goes through attention unchanged,
    because the weights of a row sum to one, and is merged into the next bias.
    """
    width, inner = shape.width, shape.inner
    query = product(graph, asking, *weights.linear(f"{layer}.attention.self.query", width, width))
    key, _ = weights.linear(f"{layer}.attention.self.key", width, width)
    value, value_bias = weights.linear(f"{layer}.attention.self.value", width, width)
    seen = attend(query, product(graph, x, key), product(graph, x, value), pattern, first_only=asking != x)
    out, out_bias = weights.linear(f"{layer}.attention.output.dense", width, width)
    a = graph.op("Add", product_onto(graph, seen, out, asking), graph.weight(out_bias + value_bias @ out))
    a = norm(graph, weights, f"{layer}.attention.output.LayerNorm", a, shape)
    gate, up = (
        weights.read(f"{layer}.mlp.gated_layers.weight", 2 * inner, width).reshape(2, inner, width).swapaxes(1, 2)
    )
    down, down_bias = weights.linear(f"{layer}.mlp.wo", inner, width)
    z = product_onto(graph, gated(graph, a, gate, up, shape.activation), down, a)
    return norm(graph, weights, f"{layer}.mlp.layernorm", graph.op("Add", z, graph.weight(down_bias)), shape)
