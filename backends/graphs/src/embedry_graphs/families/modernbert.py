"""ModernBERT (Warner et al. 2024, arXiv:2412.13663): norms before, rotary positions, gated feed-forward, mostly local attention."""

from embedry_graphs import attention
from embedry_graphs.attention import Attention, Pattern
from embedry_graphs.blocks import first, gated, norm, product, product_onto, words
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.rotary import Rotary
from embedry_graphs.shape import Shape

PREFIXES = ("model.",)


def token_vectors(graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool) -> str:
    """Words, normed; the layers; and a norm."""
    x = words(graph, weights, "embeddings.tok_embeddings", shape)
    x = norm(graph, weights, "embeddings.norm", x, shape, bias=False)
    attend = Attention(graph, shape)
    whole = Rotary(graph, shape, shape.theta), attention.EVERYTHING
    local = Rotary(graph, shape, shape.local_theta), attention.within(shape.window)
    for number in range(shape.layers):
        rotary, pattern = local if number in shape.local_layers else whole
        only = first_only and number == shape.layers - 1
        x = _layer(graph, weights, shape, number, x, attend, rotary, pattern, first_only=only)
    return norm(graph, weights, "final_norm", x, shape, bias=False)


def _layer(
    graph: Graph, weights: Checkpoint, shape: Shape, number: int, x: str, attend: Attention, rotary: Rotary, pattern: Pattern,
    *, first_only: bool,
) -> str:  # fmt: skip
    """One layer: a = x + attention(norm(x)), then a + feed_forward(norm(a)); the first layer's input is normed already."""
    layer, width = f"layers.{number}", shape.width
    normed = norm(graph, weights, f"{layer}.attn_norm", x, shape, bias=False) if number > 0 else x
    query, key, value = (
        weights.read(f"{layer}.attn.Wqkv.weight", 3 * width, width).reshape(3, width, width).swapaxes(1, 2)
    )
    asking = first(graph, normed, axis=1) if first_only else normed
    asked = product(graph, asking, query)
    seen = attend(
        rotary(asked, shape.heads, first_only=first_only),
        rotary(product(graph, normed, key), shape.heads),
        product(graph, normed, value),
        pattern,
        first_only=first_only,
    )
    before = first(graph, x, axis=1) if first_only else x
    a = product_onto(graph, seen, weights.read(f"{layer}.attn.Wo.weight", width, width).T, before)
    normed = norm(graph, weights, f"{layer}.mlp_norm", a, shape, bias=False)
    gate, up = (
        weights.read(f"{layer}.mlp.Wi.weight", 2 * shape.inner, width).reshape(2, shape.inner, width).swapaxes(1, 2)
    )
    active = gated(graph, normed, gate, up, shape.activation)
    return product_onto(graph, active, weights.read(f"{layer}.mlp.Wo.weight", width, shape.inner).T, a)
