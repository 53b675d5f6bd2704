"""The registered embedders as a mapping, for example for a model menu."""

from collections.abc import Iterator, Mapping
from typing import TypedDict

from embedry import ModelSpec, list_models

DEFAULT_MODEL = "all-MiniLM-L6-v2"


class EmbeddingModel(TypedDict):
    """The data of an entry."""

    model_name: str
    """The repository on the Hugging Face hub, or the entry's own name where it has none."""
    dimensions: int
    max_seq_length: int
    """Tokens read of each text."""
    description: str


class _Models(Mapping[str, EmbeddingModel]):
    """A live view of the registry: models that are registered later appear in it."""

    def __getitem__(self, alias: str) -> EmbeddingModel:
        for spec in _embedders():
            if spec.name == alias:
                return _described(spec)
        raise KeyError(f"no model is called {alias!r}; list_available_models() names all")

    def __iter__(self) -> Iterator[str]:
        return (spec.name for spec in _embedders())

    def __len__(self) -> int:
        return len(_embedders())

    def __repr__(self) -> str:
        return repr(dict(self))


EMBEDDING_MODELS: Mapping[str, EmbeddingModel] = _Models()
"""Alias -> data of the model; read-only, from the registry."""


def list_available_models() -> list[str]:
    """The aliases of all registered embedders, in order."""
    return list(EMBEDDING_MODELS)


def _embedders() -> list[ModelSpec]:
    return [spec for spec in list_models() if spec.kind == "dense"]


def _described(spec: ModelSpec) -> EmbeddingModel:
    return EmbeddingModel(
        model_name=spec.repo or spec.name,
        dimensions=spec.dims,
        max_seq_length=spec.max_seq_length,
        description=spec.description,
    )
