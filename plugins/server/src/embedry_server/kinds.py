"""The kinds of models that a server has: which routes give their results, and which of them need a role."""

from embedry import ModelSpec
from embedry.chains import KINDS, Kind

ROUTES: dict[Kind, str] = {
    "dense": "/v1/embeddings or /embed",
    "reranker": "/rerank, /v1/rerank or /v2/rerank",
    "sparse": "/embed_sparse",
    "multi_vector": "/embed_all",
}


def split(model: str) -> tuple[str, Kind | None]:
    """A model as `embedry serve` takes it, MODEL or MODEL:KIND, in two; None if it states no kind."""
    start, colon, end = model.rpartition(":")
    return (start, end) if colon and end in KINDS else (model, None)


def needs_role(spec: ModelSpec) -> bool:
    """Whether the same text gives one result as a query and another one as a document."""
    if spec.kind == "reranker":  # a pair says which is which
        return False
    return spec.kind == "multi_vector" or bool(spec.query_chain) or spec.prompt("query") != spec.prompt("document")
