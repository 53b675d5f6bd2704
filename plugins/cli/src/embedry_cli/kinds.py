"""Describes the kinds of models: which commands use them, and the properties of their outputs."""

from collections.abc import Iterator

from embedry import Classifier, LateInteraction, ModelSpec, Score, SpladePooling
from embedry.chains import Kind

COMMANDS: dict[Kind, str] = {
    "dense": "embedry embed --kind dense --model {}",
    "reranker": "embedry rerank QUESTION FILE... --model {}",
    "sparse": "embedry embed --kind sparse --model {}",
    "multi_vector": "embedry embed --kind multi_vector --model {}",
}
"""The command that uses a model of each kind."""

SIZES: dict[Kind, str] = {"dense": "dims", "reranker": "scores", "sparse": "terms", "multi_vector": "dims"}
"""The unit of `dims` in a model's entry."""


def facts(spec: ModelSpec) -> Iterator[tuple[str, object]]:
    """Yields the names and values of the output properties of a model of one kind."""
    yield SIZES[spec.kind], ", ".join(map(str, (spec.dims, *spec.matryoshka.dims)))
    end = spec.chain[-1]
    if isinstance(end, Score):
        yield "activation", end.activation
        if isinstance(spec.chain[0], Classifier):
            yield "pooling", spec.chain[0].pooling
    if isinstance(end, SpladePooling):
        yield "pooling", end.strategy
        yield "activation", end.activation
    if spec.query_chain:
        yield "queries", "read by a table of terms, without the transformer"
    if isinstance(end, LateInteraction):
        lengths = {"query": end.query_length, "document": end.document_length}
        yield "lengths", ", ".join(f"{count} tokens of a {role}" for role, count in lengths.items() if count)
        if end.expand_to:
            attended = "which are attended to" if end.attend else "which are not attended to"
            yield "expansion", f"queries to {end.expand_to} tokens with {end.expand_with!r}, {attended}"
        if end.skip:
            yield "left out", f"in a {' and a '.join(end.skip_in)}: {' '.join(end.skip)}"
        if end.keep_only:
            yield "counted", f"of a document {len(end.keep_only):,} tokens of the vocabulary alone"
