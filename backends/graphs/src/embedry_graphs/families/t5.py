"""T5's encoder (Raffel et al. 2019, arXiv:1910.10683): relative positions, RMS norms before, and scores that are not scaled."""

from embedry_graphs import relative
from embedry_graphs.attention import Attention, Pattern
from embedry_graphs.blocks import Floats, activated, gated, product, product_onto, rms_norm, words
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.shape import Shape

PREFIXES = ()


def token_vectors(graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool) -> str:
    """Words; the layers; and a norm. The first layer's biases of distances serve all of them."""
    # The decoder's words too; a checkpoint of the encoder alone may name them as its own.
    own = "encoder.embed_tokens"
    is_own = weights.has(f"{own}.weight") and not weights.has("shared.weight")
    x = words(graph, weights, own if is_own else "shared", shape)
    table = weights.read(
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", shape.buckets, shape.heads
    )
    attend, pattern = Attention(graph, shape), relative.pattern(graph, table, shape.farthest)
    for number in range(shape.layers):
        x = _layer(graph, weights, shape, f"encoder.block.{number}.layer", x, attend, pattern)
    return rms_norm(graph, x, weights.read("encoder.final_layer_norm.weight", shape.width), shape.epsilon)


def _layer(
    graph: Graph, weights: Checkpoint, shape: Shape, layer: str, x: str, attend: Attention, pattern: Pattern
) -> str:
    """One layer: a = x + attention(norm(x)), then a + feed_forward(norm(a))."""
    width, inner, heads = shape.width, shape.inner, shape.heads * shape.head_width

    def weight(name: str, inputs: int, outputs: int) -> Floats:
        return weights.read(f"{layer}.{name}.weight", outputs, inputs).T

    def normed(x: str, part: int) -> str:
        return rms_norm(graph, x, weights.read(f"{layer}.{part}.layer_norm.weight", width), shape.epsilon)

    before = normed(x, 0)
    query, key, value = (product(graph, before, weight(f"0.SelfAttention.{name}", width, heads)) for name in "qkv")
    a = product_onto(graph, attend(query, key, value, pattern), weight("0.SelfAttention.o", heads, width), x)
    before = normed(a, 1)
    if shape.activation.startswith("gated"):
        gate, up = (weight(f"1.DenseReluDense.{name}", width, inner) for name in ("wi_0", "wi_1"))
        active = gated(graph, before, gate, up, shape.activation)
    else:
        active = activated(graph, product(graph, before, weight("1.DenseReluDense.wi", width, inner)), shape.activation)
    return product_onto(graph, active, weight("1.DenseReluDense.wo", inner, width), a)
