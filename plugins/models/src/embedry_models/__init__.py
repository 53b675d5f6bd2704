"""The models of embedry: one module of data for each maker, collected here into the hook."""

from collections.abc import Iterable

from embedry import ModelSpec, hookimpl
from embedry_models import (
    bge,
    e5,
    google,
    granite,
    gte,
    jina,
    minishlab,
    mixedbread,
    nomic,
    qwen,
    sentence_transformers,
    snowflake,
    stella,
    uae,
)

_MAKERS = (
    bge, e5, google, granite, gte, jina, minishlab, mixedbread, nomic, qwen, sentence_transformers, snowflake,
    stella, uae,
)  # fmt: skip


@hookimpl
def embedry_models() -> Iterable[ModelSpec]:
    """The entries of this pack."""
    return [spec for maker in _MAKERS for spec in maker.MODELS]
