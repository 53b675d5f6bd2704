"""The role of texts, as each API states it."""

from collections.abc import Mapping

from embedry import ModelSpec
from embedry_server.errors import ApiError

FIELDS = ("input_type", "task", "prompt_name", "task_type")
"""The fields of a request that may say the role: Cohere's and NVIDIA's, Jina's, text-embeddings-inference's, Google's."""

_SYNONYMS = {
    "query": "query",
    "search_query": "query",
    "retrieval.query": "query",
    "retrieval_query": "query",
    "question_answering": "query",
    "fact_verification": "query",
    "code_retrieval_query": "query",
    "document": "document",
    "passage": "document",
    "search_document": "document",
    "retrieval.passage": "document",
    "retrieval_document": "document",
    "unprompted": "unprompted",
}
"""The words of those APIs -> our role."""


def stated(spec: ModelSpec, fields: Mapping[str, str | None], suffix: str | None) -> str | None:
    """The role that a request states, in a field or as a suffix of the model's name; None if it states none.

    Raises:
        ApiError: the model does not have this role, or the request states two different roles.
    """
    found = {"model": suffix} if suffix is not None else {}
    for field, word in fields.items():
        if word is not None:
            found[field] = _role(spec, field, word)
    if len(set(found.values())) > 1:
        said = ", ".join(f"{field} says {role}" for field, role in found.items())
        raise ApiError(400, f"the request names two roles: {said}; send one of them", param=list(found)[-1])
    return next(iter(found.values()), None)


def suffixes(spec: ModelSpec) -> dict[str, str]:
    """Suffixes of a model's name, for clients that cannot send a field -> the role; NAME-query and NAME-passage follow NVIDIA."""
    known = names(spec)
    return ({"passage": "document"} if "document" in known else {}) | {role: role for role in known}


def names(spec: ModelSpec) -> list[str]:
    """The roles of a model; for a reranker, those of a pair's query."""
    tasks = [task for task in spec.prompts if task not in _SYNONYMS]
    return ["query", *tasks] if spec.kind == "reranker" else ["query", "document", *tasks, "unprompted"]


def _role(spec: ModelSpec, field: str, word: str) -> str:
    if word in spec.prompts and word.lower() not in _SYNONYMS:
        return word
    role = _SYNONYMS.get(word.lower())
    if role is None or role not in names(spec):
        raise ApiError(
            400, f"{field}={word!r} is no role of {spec.name!r}; it has {', '.join(names(spec))}", param=field
        )
    return role
