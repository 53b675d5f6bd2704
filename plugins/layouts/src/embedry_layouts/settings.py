"""config_sentence_transformers.json: the kind of model, its prompts and its similarity."""

from dataclasses import dataclass

from msgspec import Struct

from embedry.chains import Kind
from embedry.errors import IntegrityError
from embedry.spec import SIMILARITIES, Similarity
from embedry_layouts.files import SETTINGS, Count, Files

_KINDS: dict[str | None, Kind] = {
    None: "dense",
    "SentenceTransformer": "dense",
    "CrossEncoder": "reranker",
    "SparseEncoder": "sparse",
    "MultiVectorEncoder": "multi_vector",
    "ColBERT": "multi_vector",
}
"""The class of the library that saved a model -> its kind; the last is PyLate's."""

_PREFIXES = ("query_prefix", "document_prefix")
"""Keys that PyLate alone writes; its first versions left out the class."""


class SettingsFile(Struct):
    """The part of config_sentence_transformers.json for all kinds of models."""

    model_type: str | None = None
    prompts: dict[str, str | None] | None = None
    default_prompt_name: str | None = None
    similarity_fn_name: str | None = None
    truncate_dim: Count | None = None
    activation_fn: str | None = None
    max_active_dims: Count | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The validated settings."""

    kind: Kind
    prompts: dict[str, str]
    is_native: bool = True
    """Whether modules.json lists all modules of the model; PyLate leaves some out."""
    default_prompt: str | None = None
    """The name of the prompt that holds where a caller names none."""
    similarity: Similarity = "cosine"
    activation: str | None = None
    """The class that shows a reranker's scores."""


def read(files: Files) -> Settings:
    """Reads the settings of a model.

    Raises:
        UnsupportedModelError: the file has an unsupported setting; names the key and the value.
        IntegrityError: it contradicts itself, is not valid JSON or has the wrong structure.
    """
    stated = files.read_or(SETTINGS, SettingsFile, SettingsFile())
    if stated.model_type not in _KINDS:
        raise files.refused(SETTINGS, "model_type", stated.model_type)
    kind = _KINDS[stated.model_type]
    if kind == "dense" and any(getattr(stated, key) is not None for key in _PREFIXES):
        kind = "multi_vector"
    for key in ("truncate_dim", "max_active_dims"):
        if getattr(stated, key) is not None:
            raise files.refused(SETTINGS, key, getattr(stated, key))
    prompts = {name: prompt or "" for name, prompt in (stated.prompts or {}).items()}
    # Roles have prompts of their own: the default one is for callers that name no role, as in the library.
    if stated.default_prompt_name not in (None, "query", "document", *prompts):
        raise IntegrityError(
            f"{files.folder / SETTINGS} names the default prompt {stated.default_prompt_name!r}, and has only "
            f"{', '.join(map(repr, prompts)) or 'none'}"
        )
    return Settings(
        kind=kind,
        prompts=prompts,
        is_native=stated.model_type is not None and stated.model_type != "ColBERT",
        default_prompt=stated.default_prompt_name,
        similarity=_similarity(files, stated.similarity_fn_name, kind),
        activation=stated.activation_fn,
    )


def _similarity(files: Files, stated: str | None, kind: Kind) -> Similarity:
    if kind == "multi_vector":
        if stated == "meanmaxsim":
            raise files.refused(SETTINGS, "similarity_fn_name", stated)
        return "dot"
    if stated is None:
        return "dot" if kind == "sparse" else "cosine"
    for known in SIMILARITIES:
        if stated == known:
            return known  # type: ignore[return-value]  # it is one of the same names
    raise IntegrityError(
        f"{files.folder / SETTINGS} sets similarity_fn_name to {stated!r}, which is none of {', '.join(SIMILARITIES)}"
    )
