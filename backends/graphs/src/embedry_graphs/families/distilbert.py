"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT with half the layers, no token types, and names of its own."""

from embedry_graphs import post_norm
from embedry_graphs.checkpoint import Checkpoint
from embedry_graphs.families.bert import attention_bias as attention_bias
from embedry_graphs.graph import Graph
from embedry_graphs.post_norm import LayerNames, Shape

PREFIX = "distilbert."


def embed(graph: Graph, weights: Checkpoint, shape: Shape) -> str:
    """The first token vectors: the sum of a word's and a position's, normed."""
    words = graph.weight(weights.read("embeddings.word_embeddings.weight", shape.words, shape.width))
    positions = graph.weight(weights.read("embeddings.position_embeddings.weight", shape.positions, shape.width))
    x = graph.op("Add", graph.op("Gather", words, "input_ids"), post_norm.rows_of_columns(graph, positions))
    return post_norm.norm(graph, weights, "embeddings.LayerNorm", x, shape)


def layer_names(number: int) -> LayerNames:
    """The names of a layer's parts."""
    layer = f"transformer.layer.{number}"
    return LayerNames(
        query=f"{layer}.attention.q_lin",
        key=f"{layer}.attention.k_lin",
        value=f"{layer}.attention.v_lin",
        attention_out=f"{layer}.attention.out_lin",
        attention_norm=f"{layer}.sa_layer_norm",
        feed_forward_in=f"{layer}.ffn.lin1",
        feed_forward_out=f"{layer}.ffn.lin2",
        feed_forward_norm=f"{layer}.output_layer_norm",
    )
