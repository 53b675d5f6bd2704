"""`resolve`: from a name to the one shared embedder of this process."""

import os
from pathlib import Path
from typing import Never

from embedry import _backends, discovery, options, registry
from embedry._files import cache, st_layout
from embedry.errors import UnknownOptionError
from embedry.options import Config, OnOverflow
from embedry.spec import ModelSpec
from embedry.views import LazyEmbedder, shared

_OPTIONS = (
    "backend", "device", "precision", "dims", "normalize", "max_seq_length", "on_overflow", "threads", "folder", "cache_dir",
)  # fmt: skip


def resolve(
    name: str | Path | ModelSpec,
    *,
    backend: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    dims: int | None = None,
    normalize: bool | None = None,
    max_seq_length: int | None = None,
    on_overflow: OnOverflow = "truncate",
    threads: int | None = None,
    folder: str | Path | None = None,
    cache_dir: str | Path | None = None,
    **unknown: Never,
) -> LazyEmbedder:
    """The one embedder of this model and these options, shared by the whole process. Loads nothing.

    Args:
        name: a registered name, alias or repository id; any other repository id on the Hugging Face hub or a folder
            (a `Path`, or a string that starts with `.`, `/` or `~`), if its files follow the sentence-transformers
            layout; or a `ModelSpec`.
        backend: the engine; by default `EMBEDRY_BACKEND`, else the entry's `preferred_backend`. Never silently another.
        device: "cpu", "cuda", "cuda:1", "mps"; by default the backend's preferred one.
        precision: "fp32", "bf16", "fp16" or "int8"; by default what the backend takes for the device, stated in `info`.
            Never int8 unless asked for: its vectors are a space of their own, as near to fp32's as the entry states.
        dims: shorter vectors, where the model was trained for that length.
        normalize: scale to unit length; by default as the model was trained.
        max_seq_length: read fewer tokens of each text than the model could.
        on_overflow: what to do about a longer text: "truncate" it, "warn" and truncate, or raise an "error".
        threads: threads to compute with; by default the processors that this process may use.
        folder: a folder that holds the files of the entry, in place of every cache; they are verified all the same.
        cache_dir: the cache folder; by default `EMBEDRY_CACHE` or the platform's.
        **unknown: nothing; a name that is not above is an error with the nearest one.

    Raises:
        UnknownModelError, AmbiguousModelError: no model has the name, or two plugins claim it.
        UnknownBackendError, BackendImportError: the backend is missing or broken.
        UnsupportedModelError: the backend cannot reproduce this model.
        OptionError, UnknownOptionError: an option is impossible for this model, or does not exist.
        WeightsNotFoundError: an unregistered repository or folder lacks the files that describe a model.
    """
    for option in unknown:
        near = discovery.nearest(option, list(_OPTIONS))
        raise UnknownOptionError(f"resolve has no option {option!r}{near}; options: {', '.join(_OPTIONS)}")
    spec = _find(name)
    if folder is not None:
        from dataclasses import replace

        spec = replace(spec, folder=str(Path(folder).expanduser().absolute()))
    chosen = backend or os.environ.get("EMBEDRY_BACKEND") or spec.preferred_backend
    return shared(
        Config(
            spec=spec,
            backend=chosen,
            device=_backends.check(_backends.find(chosen), chosen, spec, device, precision),
            precision=precision,
            dims=options.checked_dims(spec, dims),
            normalize=options.checked_normalize(spec, normalize),
            max_seq_length=options.checked_length(spec, max_seq_length),
            on_overflow=options.checked_overflow(on_overflow),
            threads=options.checked_threads(threads),
            cache_dir=Path(cache_dir).expanduser().absolute() if cache_dir else cache.default_folder(),
        )
    )


def _find(name: str | Path | ModelSpec) -> ModelSpec:
    if isinstance(name, ModelSpec):
        return name
    if isinstance(name, Path) or name.startswith((".", "/", "~")) or os.path.isabs(name):
        return st_layout.from_folder(Path(name).expanduser().absolute())
    models = registry.installed()
    spec = models.find(name)
    if spec is not None:
        return spec
    if name.count("/") == 1 and all(name.split("/")):
        return st_layout.from_hub(name)
    raise models.unknown(name)
