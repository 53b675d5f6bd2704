"""The layers of BERT and its descendants: attention and a feed-forward block, each added to its input and then normalized.

Shapes: token vectors are (batch, sequence, width).
"""

from collections.abc import Callable
from dataclasses import dataclass

from embedry_graphs.attention import EVERYTHING, Attention, Pattern
from embedry_graphs.blocks import Floats, activated, first, norm, product
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.shape import Shape


@dataclass(frozen=True)
class LayerNames:
    """The names of a layer's parts in a family's checkpoints."""

    query: str
    key: str
    value: str
    attention_out: str
    attention_norm: str
    feed_forward_in: str
    feed_forward_out: str
    feed_forward_norm: str


@dataclass(frozen=True)
class Layer:
    """A layer in a graph: its number from 0, and the settings of all layers."""

    number: int
    names: LayerNames
    shape: Shape
    attention: Attention
    pattern: Pattern


LayerBuilder = Callable[[Graph, Checkpoint, Layer, str, str], str]
"""Adds a layer: from token vectors x, and those of them that are wanted, `queries`, to the results of those."""


def layer(graph: Graph, weights: Checkpoint, layer: Layer, x: str, queries: str) -> str:
    """One layer: a = norm(queries + attention(queries, x)), then norm(a + feed_forward(a)), with the model's activation between the products.

    Three biases are folded exactly instead of added. The key's adds the same to all scores of a row, which softmax
    does not see. The value's goes through attention unchanged, because the weights of a row sum to one, and joins the bias
    behind it. That of the second feed-forward product joins the shift of the norm before: its result is added to it.
    """
    names, shape = layer.names, layer.shape
    width, inner = shape.width, shape.inner
    key, value = (
        graph.op("MatMul", x, graph.weight(weights.read(f"{name}.weight", width, width).T))
        for name in (names.key, names.value)
    )
    weights.mark_used(f"{names.key}.bias", width)
    query = product(graph, queries, *weights.linear(names.query, width, width))
    attended = layer.attention(query, key, value, layer.pattern, first_only=queries != x)
    out, out_bias = weights.linear(names.attention_out, width, width)
    up, up_bias = weights.linear(names.feed_forward_in, width, inner)
    down, down_bias = weights.linear(names.feed_forward_out, inner, width)
    flat = graph.integers(-1, width)
    attended, before = (graph.op("Reshape", tokens, flat) for tokens in (attended, queries))
    y = _product(graph, attended, out, graph.weight(out_bias + weights.read(f"{names.value}.bias", width) @ out))
    a = norm(graph, weights, names.attention_norm, graph.op("Add", y, before), shape, shift=down_bias)
    active = activated(graph, _product(graph, a, up, graph.weight(up_bias - down_bias @ up)), shape.activation)
    z = norm(graph, weights, names.feed_forward_norm, _product(graph, active, down, a), shape)
    return graph.op("Reshape", z, graph.op("Shape", queries))


def layers(
    graph: Graph,
    weights: Checkpoint,
    shape: Shape,
    x: str,
    names: Callable[[int], LayerNames],
    build_layer: LayerBuilder = layer,
    *,
    first_only: bool,
    pattern: Pattern = EVERYTHING,
) -> str:
    """All layers, from the first token vectors to the last.

    With `first_only` to the vectors of first tokens alone, (batch, 1, width): the last layer computes no others.
    """
    attention = Attention(graph, shape)
    for number in range(shape.layers):
        queries = first(graph, x, axis=1) if first_only and number == shape.layers - 1 else x
        x = build_layer(graph, weights, Layer(number, names(number), shape, attention, pattern), x, queries)
    return x


def _product(graph: Graph, x: str, weight: Floats, added: str) -> str:
    """The product x @ weight + added, of matrices: the runtime multiplies onto what is to be added."""
    return graph.op("Gemm", x, graph.weight(weight), added)
