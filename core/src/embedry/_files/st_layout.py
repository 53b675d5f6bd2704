"""Reads the sentence-transformers layout: a folder or repository that no entry knows, described by its own files.

modules.json lists the chain, `1_Pooling/config.json` the pooling, sentence_bert_config.json or tokenizer_config.json the
length, config_sentence_transformers.json the prompts. What is not written there is never guessed.
"""

import json
import warnings
from pathlib import Path
from typing import Any

from embedry import registry
from embedry._files import hub
from embedry.errors import EmbedryWarning, IntegrityError, UnknownModelError, WeightsNotFoundError
from embedry.spec import POOLINGS, ModelSpec

_WEIGHTS = ("model.safetensors", "tokenizer.json", "config.json")
_PROMPTS = "config_sentence_transformers.json"
_DESCRIPTION = (
    "modules.json", "config.json", "sentence_bert_config.json", _PROMPTS,
    "tokenizer_config.json", "*/config.json", "*/model.safetensors",
)  # fmt: skip

_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "last",
}
"""The switches that sentence-transformers wrote before version 6 -> names of poolings, in the order of concatenation."""

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""Names under which sentence-transformers looks for a document's prompt, in order."""


def from_folder(
    folder: Path, *, name: str | None = None, repo: str | None = None, revision: str | None = None
) -> ModelSpec:
    """The entry that the files of a folder describe. Its digests are unknown, so nothing can be verified.

    Args:
        folder: has modules.json.
        name: what to call the model; by default the repository or the folder's own name.
        repo: where the files came from, if from the hub.
        revision: the commit they came from.

    Raises:
        UnknownModelError: there is no such folder.
        WeightsNotFoundError: a file of the layout is missing.
        IntegrityError: a file of the layout cannot be read.
        SpecError: the files contradict each other.
    """
    if not folder.is_dir():
        raise UnknownModelError(
            f"no folder {folder}; a model on the hub is written organisation/name, without a leading dot"
        )
    config = _read(folder, "config.json")
    chain = _Chain(folder)
    return ModelSpec(
        name=name or repo or folder.name,
        repo=repo,
        revision=revision,
        folder=None if repo else str(folder),
        files=dict.fromkeys((*_WEIGHTS, *chain.files)),
        dims=chain.dims,
        max_seq_length=_max_seq_length(folder, config),
        preferred_backend="onnxruntime",
        architecture=config.get("model_type", ""),
        pooling=chain.pooling,
        normalize=chain.normalize,
        modules=chain.others,
        prompts=_prompts(folder),
        similarity=_read(folder, _PROMPTS, {}).get("similarity_fn_name") or "cosine",
        description=f"read from {repo or folder}",
    )


def from_hub(repo: str) -> ModelSpec:
    """The entry that a repository's files describe, pinned to the commit they were read at: the cached one, else main's.

    Raises:
        UnknownModelError: the repository is neither in the cache nor to be fetched.
    """
    folder = hub.cached(repo, None, ["modules.json", "config.json"])
    if folder is None:
        try:
            folder = hub.download(repo, None, _DESCRIPTION)
        except WeightsNotFoundError as error:
            text = f"{registry.installed().unknown(repo)}; as a repository: {error}"
            if Path(repo).is_dir():
                text += f"; for the folder of that name write './{repo}'"
            raise UnknownModelError(text) from error
    if not (folder / _PROMPTS).is_file():  # the repository has none, or another program fetched only a part of it
        try:
            hub.download(repo, folder.name, _DESCRIPTION)
        except WeightsNotFoundError as error:
            warnings.warn(
                EmbedryWarning(
                    f"{_PROMPTS} of {repo} is not in the Hugging Face cache and the hub cannot be asked, so {repo} is taken "
                    f"to have no prompts ({error})"
                ),
                stacklevel=4,
            )
    return from_folder(folder, repo=repo, revision=folder.name)


class _Chain:
    """The modules of modules.json: a transformer, a pooling, perhaps normalising, and whatever else there is."""

    def __init__(self, folder: Path) -> None:
        self.pooling = ""
        self.normalize = False
        self.dims = 0
        others: list[str] = []
        chain = _read(folder, "modules.json")
        for module in chain:
            kind = module["type"].rpartition(".")[2]
            if kind == "Transformer":
                if _read(folder, "sentence_bert_config.json", {}).get("do_lower_case"):
                    others.append("Transformer(do_lower_case=True)")
            elif kind == "Pooling":
                settings = _read(folder, f"{module['path']}/config.json")
                self.pooling = _pooling(settings)
                width = settings.get("embedding_dimension") or settings["word_embedding_dimension"]
                self.dims = width * len(self.pooling.split("+"))
                if settings.get("include_prompt") is False:
                    others.append("Pooling(include_prompt=False)")
            elif kind == "Normalize":
                self.normalize = True
            else:
                others.append(kind)
                self.dims = _read(folder, f"{module['path']}/config.json", {}).get("out_features", self.dims)
        paths = [module["path"] for module in chain if module["path"]]
        named = [*_DESCRIPTION, *(f"{path}/{file}" for path in paths for file in ("config.json", _WEIGHTS[0]))]
        # Whoever reproduces further modules reads the layout itself, and so needs the files that describe it.
        self.files = [file for file in named if others and (folder / file).is_file()]
        self.others = tuple(others)
        if not self.pooling:
            raise WeightsNotFoundError(
                f"modules.json in {folder} lists no Pooling, so how it makes one vector is not known"
            )


def _pooling(settings: dict[str, Any]) -> str:
    mode = settings.get("pooling_mode")
    if mode is None:
        modes = [name for key, name in _LEGACY_POOLING.items() if settings.get(key)]
    else:
        modes = [mode] if isinstance(mode, str) else list(mode)
    renamed = ["last" if name == "lasttoken" else name for name in modes]
    if not renamed or any(name not in POOLINGS for name in renamed):
        raise WeightsNotFoundError(f"the pooling config names no pooling that is known: {settings}")
    return "+".join(renamed)


def _max_seq_length(folder: Path, config: dict[str, Any]) -> int:
    stated = _read(folder, "sentence_bert_config.json", {}).get("max_seq_length")
    if stated is None:
        stated = _read(folder, "tokenizer_config.json", {}).get("model_max_length")
    longest = config.get("max_position_embeddings")
    lengths = [int(length) for length in (stated, longest) if length is not None]
    if not lengths:
        raise WeightsNotFoundError(f"no file in {folder} states how many tokens the model reads")
    return min(lengths)


def _prompts(folder: Path) -> dict[str, str]:
    settings = _read(folder, _PROMPTS, {})
    named: dict[str, str] = {name: prompt or "" for name, prompt in (settings.get("prompts") or {}).items()}
    default = named.get(settings.get("default_prompt_name") or "", "")
    document = next((named[name] for name in _DOCUMENT_PROMPTS if name in named), default)
    prompts = named | {"query": named.get("query", default), "document": document}
    return {name: prompt for name, prompt in prompts.items() if prompt or name not in ("query", "document")}


def _read(folder: Path, file: str, default: Any = None) -> Any:
    path = folder / file
    if not path.is_file():
        if default is not None:
            return default
        raise WeightsNotFoundError(
            f"{folder} has no {file}: it does not follow the sentence-transformers layout, and embedry does not guess; "
            "write a ModelSpec for it and pass that to resolve"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"{path} is no JSON, it is damaged or cut short: {error}") from error
