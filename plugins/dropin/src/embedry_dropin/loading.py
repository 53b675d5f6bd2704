"""Converts the constructor arguments of another library to an embedder."""

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
"""Backends with another name in sentence-transformers."""

_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "auto": None}
"""Maps dtypes of torch to precisions of embedry."""

_ORGANIZATION = "sentence-transformers"
"""The default organization on the hub, for names without one."""


@dataclass(frozen=True)
class EngineChoice:
    """The engine options that are known before the device."""

    backend: str | None
    precision: str | None

    def options(self, device: Any) -> "Options":
        """The engine options of `resolve` for a torch device, "cpu" or None."""
        device = single_device(device)
        backend = _BACKENDS.get(self.backend or "", self.backend)
        if backend is None and device is not None and device.startswith(("cuda", "mps")):
            backend = os.environ.get("EMBEDRY_BACKEND") or "transformers"  # the default backend supports only CPUs
        return {"backend": backend, "device": device, "precision": self.precision}


def resolved(
    name: str | Path | None, revision: str | None, cache_dir: str | Path | None, options: "Options"
) -> LazyEmbedder:
    """Resolves a model name of sentence-transformers: a folder, a repository, or a name without the organization.

    Raises:
        OptionError: the name is empty, or the entry is pinned to another revision.
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
    """Resolves the same model with another engine or another maximum length. Raises as `resolve`."""
    given: Options = {**options, "max_seq_length": max_seq_length, "cache_dir": embedder.config.cache_dir}
    return resolve(embedder.spec, **given)


@lru_cache(maxsize=64)  # saves 0.1 ms, which matters for a single query
def prompted(embedder: LazyEmbedder, prompt: str) -> LazyEmbedder:
    """An embedder that prepends this prompt to texts of the role "prompt". It shares the engine."""
    config = embedder.config
    view = shared(replace(config, spec=replace(config.spec, prompts={"prompt": prompt})))
    assert isinstance(view, LazyEmbedder)  # noqa: S101
    return view


def default_prompt_name(embedder: LazyEmbedder) -> str | None:
    """The name of the default prompt, from the files of a model without an entry; None if they state none."""
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
    """The precision of `resolve` for the dtype in `model_kwargs`; fp32 by default.

    Raises:
        OptionError: the dtype is not supported, or there are other arguments.
    """
    rest = {name: value for name, value in model_kwargs.items() if name not in ("dtype", "torch_dtype")}
    if rest:
        raise OptionError(f"model_kwargs may have 'dtype' only, got {rest}; leave the others out")
    dtype = str(model_kwargs.get("dtype") or model_kwargs.get("torch_dtype") or "float32").removeprefix("torch.")
    if dtype not in _PRECISIONS:
        raise OptionError(f"the dtype in model_kwargs must be one of {', '.join(_PRECISIONS)}, got {dtype!r}")
    return _PRECISIONS[dtype]


def single_device(device: Any) -> str | None:
    """Converts a device to the form of `resolve`, such as "cuda". Accepts a `torch.device`, and a list with one distinct device.

    Raises:
        OptionError: there are several devices.
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
