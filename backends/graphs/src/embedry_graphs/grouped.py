"""The attention of today's decoders: grouped heads, whose queries and keys are normed and then turned by their position."""

from collections.abc import Callable

from embedry_graphs.attention import Attention, Pattern
from embedry_graphs.blocks import Floats, normed_heads, product
from embedry_graphs.graph import Graph
from embedry_graphs.rotary import Rotary
from embedry_graphs.shape import Shape


def grouped_attention(
    graph: Graph,
    shape: Shape,
    x: str,
    weight: Callable[[str, int, int], Floats],
    scale: Callable[[str, int], Floats],
    attend: Attention,
    rotary: Rotary,
    pattern: Pattern,
) -> str:
    """What each token sees, (batch, sequence, heads * head width), before the product behind it.

    Args:
        graph: is added to.
        shape: of the model.
        x: normed token vectors.
        weight: the weight of this name, (inputs, outputs).
        scale: the scale of the norm of this name and width.
        attend: of the model.
        rotary: of the layer.
        pattern: of the layer.
    """
    heads = {"q": shape.heads, "k": shape.key_heads}
    query, key = (
        rotary(
            normed_heads(
                graph,
                product(graph, x, weight(f"self_attn.{name}_proj", shape.width, count * shape.head_width)),
                scale(f"self_attn.{name}_norm", shape.head_width),
                count,
                shape.epsilon,
            ),
            count,
        )
        for name, count in heads.items()
    )
    value = product(graph, x, weight("self_attn.v_proj", shape.width, shape.key_heads * shape.head_width))
    return attend(query, key, value, pattern)
