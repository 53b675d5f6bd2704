"""The kinds of models on a server: the routes for each kind, and the kinds that need a role."""

from embedry import ModelSpec
from embedry.chains import KINDS, Kind

ROUTES: dict[Kind, str] = {
    "dense": "/v1/embeddings or /embed",
    "reranker": "/rerank, /v1/rerank or /v2/rerank",
    "sparse": "/embed_sparse",
    "multi_vector": "/embed_all",
}


def split(model: str) -> tuple[str, Kind | None]:
    """Splits an argument of `embedry serve`, MODEL or MODEL:KIND; the kind is None if not stated."""
    start, colon, end = model.rpartition(":")
    return (start, end) if colon and end in KINDS else (model, None)


def needs_role(spec: ModelSpec) -> bool:
    """Whether the model encodes the same text differently as a query and as a document."""
    if spec.kind == "reranker":  # a pair has a query and a document
        return False
    return spec.kind == "multi_vector" or bool(spec.query_chain) or spec.prompt("query") != spec.prompt("document")
