"""Writes the heads of `head_names`: a product, an activation and optionally a norm; then a product with one row per label or term."""

from embedry import UnsupportedModelError
from embedry_graphs import blocks
from embedry_graphs.blocks import Floats
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.graph import Graph
from embedry_graphs.head_names import Head
from embedry_graphs.shape import Shape


def transformed(graph: Graph, weights: Checkpoint, shape: Shape, head: Head, x: str) -> str:
    """The input of the head's last product, for vectors of any shape."""
    activation = head.activation or shape.activation
    if activation not in blocks.ACTIVATIONS:
        raise UnsupportedModelError(f"config.json asks for the activation {activation!r} in a head, which no graph has")
    dense = weights.read(f"{head.dense}.weight", shape.width, shape.width).T
    bias = weights.read(f"{head.dense}.bias", shape.width) if head.has_dense_bias else None
    x = blocks.activated(graph, blocks.product(graph, x, dense, bias), activation)
    return blocks.norm(graph, weights, head.norm, x, shape, bias=head.has_norm_bias) if head.norm else x


def output(weights: Checkpoint, shape: Shape, head: Head, rows: int) -> tuple[Floats, Floats | None]:
    """Weight, (width, rows), and bias, (rows,), of the last product.

    A weight of its own counts even where config.json says that it is tied to the table of words, as in transformers 5.
    """
    own = f"{head.out}.weight"
    table = own if weights.has(own) or not head.words else f"{head.words}.weight"
    weight = weights.read(table, rows, shape.width).T
    if not head.has_out_bias:
        return weight, None
    names = [f"{head.out}.bias", *([head.bias] if head.bias else [])]
    biases = [weights.read(name, rows) for name in names if weights.has(name)]
    return weight, biases[0] if biases else weights.read(names[-1], rows)
