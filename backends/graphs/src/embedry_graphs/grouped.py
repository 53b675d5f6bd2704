"""The attention of current decoders: grouped heads with normalized queries and keys and rotary positions."""

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
    """The attention output of each token, (batch, sequence, heads * head width), before the output product.

    Args:
        graph: the graph to add to.
        shape: the sizes of the model.
        x: normed token vectors.
        weight: returns the weight with a name, (inputs, outputs).
        scale: returns the scale of the norm with a name and width.
        attend: the attention of the model.
        rotary: the rotary positions of the layer.
        pattern: the attention pattern of the layer.
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
