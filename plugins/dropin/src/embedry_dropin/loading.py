"""From the arguments of another library's constructor to an embedder of embedry."""

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedry import LazyEmbedder, OptionError, UnknownModelError, resolve
from embedry.lazy import shared

if TYPE_CHECKING:
    from embedry import Options

_SETTINGS = "config_sentence_transformers.json"

_BACKENDS = {"torch": "transformers", "onnx": "onnxruntime"}
"""Backends that sentence-transformers calls by another name."""

_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "auto": None}
"""A dtype of torch, and what embedry calls it."""

_ORGANIZATION = "sentence-transformers"
"""On the hub, where a name has none."""


@dataclass(frozen=True)
class EngineChoice:
    """What was chosen of an engine before its device is known."""

    backend: str | None
    precision: str | None

    def options(self, device: Any) -> "Options":
        """The options of `resolve` that choose the engine for a device of torch, for "cpu", or for None."""
        device = single_device(device)
        backend = _BACKENDS.get(self.backend or "", self.backend)
        if backend is None and device is not None and device.startswith(("cuda", "mps")):
            backend = os.environ.get("EMBEDRY_BACKEND") or "transformers"  # the default one is for processors
        return {"backend": backend, "device": device, "precision": self.precision}


def resolved(
    name: str | Path | None, revision: str | None, cache_dir: str | Path | None, options: "Options"
) -> LazyEmbedder:
    """The embedder of a model that is named as in sentence-transformers: a folder, a repository, or the end of one's name.

    Raises:
        OptionError: there is no name, or the entry is pinned to another revision.
        As `resolve`.
    """
    if not name:
        raise OptionError(f"model_name_or_path must be a name or a folder, got {name!r}")
    found = _named(Path(name) if Path(name).is_dir() else name, {**options, "cache_dir": cache_dir})
    spec = found.spec
    if revision not in (None, spec.revision):
        raise OptionError(
            f"revision must be {spec.revision!r}, which {spec.name!r} is pinned to, got {revision!r}; leave revision out, or "
            "write a ModelSpec for the other one"
        )
    return found


def _named(name: str | Path, options: "Options") -> LazyEmbedder:
    try:
        return resolve(name, **options)
    except UnknownModelError:
        if not isinstance(name, str) or "/" in name:
            raise
    return resolve(f"{_ORGANIZATION}/{name}", **options)


def again(embedder: LazyEmbedder, options: "Options", *, max_seq_length: int | None) -> LazyEmbedder:
    """The same model with another engine or another length. Raises as `resolve`."""
    given: Options = {**options, "max_seq_length": max_seq_length, "cache_dir": embedder.config.cache_dir}
    return resolve(embedder.spec, **given)


@lru_cache(maxsize=64)  # a tenth of a millisecond, which a single query would notice
def prompted(embedder: LazyEmbedder, prompt: str) -> LazyEmbedder:
    """The embedder that puts this before each text of the role "prompt". It shares the engine."""
    config = embedder.config
    view = shared(replace(config, spec=replace(config.spec, prompts={"prompt": prompt})))
    assert isinstance(view, LazyEmbedder)  # noqa: S101
    return view


def default_prompt_name(embedder: LazyEmbedder) -> str | None:
    """The name of the prompt for callers that name none, which the files of a model without an entry may state."""
    from embedry._files import hub_cache, parsing
    from embedry.registry import installed

    spec, folder = embedder.spec, None
    if spec.folder is not None:
        folder = Path(spec.folder)
    elif spec.repo is not None and installed().find(spec.name) is None:
        folder = hub_cache.cached(spec.repo, spec.revision, [_SETTINGS], embedder.config.cache_dir)
    if folder is None or not (folder / _SETTINGS).is_file():
        return None
    stated = parsing.read(folder, _SETTINGS, dict[str, Any])
    return stated.get("default_prompt_name")


def precision(model_kwargs: dict[str, Any]) -> str | None:
    """The precision of `resolve` for the dtype of a model's keyword arguments; fp32 without one.

    Raises:
        OptionError: it is another one, or there are other arguments.
    """
    rest = {name: value for name, value in model_kwargs.items() if name not in ("dtype", "torch_dtype")}
    if rest:
        raise OptionError(f"model_kwargs may have 'dtype' only, got {rest}; leave the others out")
    dtype = str(model_kwargs.get("dtype") or model_kwargs.get("torch_dtype") or "float32").removeprefix("torch.")
    if dtype not in _PRECISIONS:
        raise OptionError(f"the dtype in model_kwargs must be one of {', '.join(_PRECISIONS)}, got {dtype!r}")
    return _PRECISIONS[dtype]


def single_device(device: Any) -> str | None:
    """A device as `resolve` takes it: "cuda" for a `torch.device`, and for a list that repeats one.

    Raises:
        OptionError: there are several.
    """
    if device is None:
        return None
    devices = {str(each) for each in device} if isinstance(device, list | tuple) else {str(device)}
    if len(devices) != 1:
        raise OptionError(
            f"device={device!r} is not supported: a model computes on one device, and uses all of it; embedry-ray computes on "
            "many, see docs/clusters.md"
        )
    return devices.pop()
