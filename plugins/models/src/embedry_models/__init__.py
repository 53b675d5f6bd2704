"""The models of embedry: one data module per maker, collected for the hook."""

from collections.abc import Iterable

from embedry import ModelSpec, hookimpl
from embedry_models import (
    bge,
    colbert,
    cross_encoder,
    e5,
    google,
    granite,
    gte,
    jina,
    lighton,
    minishlab,
    mixedbread,
    nomic,
    opensearch,
    qwen,
    sentence_transformers,
    snowflake,
    stella,
    uae,
)

_MAKERS = (
    bge, colbert, cross_encoder, e5, google, granite, gte, jina, lighton, minishlab, mixedbread, nomic, opensearch,
    qwen, sentence_transformers, snowflake, stella, uae,
)  # fmt: skip


@hookimpl
def embedry_models() -> Iterable[ModelSpec]:
    """The entries of this package."""
    return [spec for maker in _MAKERS for spec in maker.MODELS]
