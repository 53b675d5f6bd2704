"""nomic's BERT (Nussbaum et al. 2024, arXiv:2402.01613): BERT with rotary positions and a gated feed-forward block, without biases."""

from embedry_graphs.attention import Attention
from embedry_graphs.blocks import first, gated, norm, product, product_onto, words
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.rotary import Rotary
from embedry_graphs.shape import Shape

PREFIXES = ("nomic_bert.", "bert.")


def token_vectors(graph: Graph, weights: Checkpoint, shape: Shape, *, first_only: bool) -> str:
    """Words, normed; then the layers."""
    x = words(graph, weights, "embeddings.word_embeddings", shape, types="embeddings.token_type_embeddings")
    x = norm(graph, weights, "emb_ln", x, shape)
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
    """One layer: a = norm(x + attention(x)), then norm(a + feed_forward(a))."""
    layer, width, inner = f"encoder.layers.{number}", shape.width, shape.inner
    query, key, value = (
        weights.read(f"{layer}.attn.Wqkv.weight", 3 * width, width).reshape(3, width, width).swapaxes(1, 2)
    )
    asking = first(graph, x, axis=1) if first_only else x
    asked = product(graph, asking, query)
    seen = attend(
        rotary(asked, shape.heads, first_only=first_only),
        rotary(product(graph, x, key), shape.heads),
        product(graph, x, value),
        first_only=first_only,
    )
    a = product_onto(graph, seen, weights.read(f"{layer}.attn.out_proj.weight", width, width).T, asking)
    a = norm(graph, weights, f"{layer}.norm1", a, shape)
    up, gate = (weights.read(f"{layer}.mlp.{name}.weight", inner, width).T for name in ("fc11", "fc12"))
    active = gated(graph, a, gate, up, shape.activation)
    z = product_onto(graph, active, weights.read(f"{layer}.mlp.fc2.weight", width, inner).T, a)
    return norm(graph, weights, f"{layer}.norm2", z, shape)
