"""`resolve`, and the same for other kinds of models: from a name to the one shared model of this process."""

import os
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Unpack, cast

from embedry import _backends, _layouts, discovery, lock, options, registry
from embedry._files import cache, sources
from embedry.chains import DOORS, Kind
from embedry.errors import LockError, OptionError, UnknownModelError, UnknownOptionError
from embedry.lazy import LazyModel, shared
from embedry.options import Config, OnOverflow, Options, RerankerOptions
from embedry.reranking import LazyReranker
from embedry.spec import ModelSpec
from embedry.views import LazyEmbedder, LazyMultiVectorEmbedder, LazySparseEmbedder

P = ParamSpec("P")


def _known_options_only(function: Callable[P, LazyEmbedder]) -> Callable[P, LazyEmbedder]:
    """Makes a misspelled option of `resolve` an error that names the nearest one, as `resolve_kind` does for other kinds."""

    @wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> LazyEmbedder:
        _check_known("dense", [option for option in options if option != "name"])
        return function(*args, **options)

    return checked


def _check_known(kind: Kind, given: Iterable[str]) -> None:
    known = list((RerankerOptions if kind == "reranker" else Options).__annotations__)
    for option in given:
        if option not in known:
            near = discovery.nearest(option, known)
            raise UnknownOptionError(f"{DOORS[kind]} has no option {option!r}; {near}options: {', '.join(known)}")


@_known_options_only
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
    vector_cache: bool | str | Path | None = None,
) -> LazyEmbedder:
    """The embedder of this model with these options; one instance is shared by the whole process. Loads nothing.

    Args:
        name: a registered name, alias or repository id; any other repository id on the Hugging Face hub or a folder
            (a `Path`, or a string that starts with `.`, `/` or `~`), if its files follow the sentence-transformers
            layout; or a `ModelSpec`.
        backend: the engine; by default `EMBEDRY_BACKEND`, or else the entry's `preferred_backend`. There is no silent fallback.
        device: "cpu", "cuda", "cuda:1", "mps"; by default the backend's preferred one.
        precision: "fp32", "bf16", "fp16" or "int8"; by default the backend's choice for the device, see `info`. int8 is
            never a default: its vectors are in a space of their own, as close to fp32's as the entry states.
        dims: shorter vectors, if the model was trained for that length.
        normalize: scale vectors to unit length; by default as the model was trained.
        max_seq_length: read fewer tokens of each text than the model can.
        on_overflow: how to handle longer texts: "truncate" them, "warn" and truncate, or raise an "error".
        threads: number of threads to compute with; by default the number of processors available to this process.
        folder: a folder with the files of the entry, instead of every cache. They are verified as well.
        cache_dir: the cache folder; by default `EMBEDRY_CACHE` or the platform's.
        vector_cache: keep vectors on disk, so that the same text is computed once for this and other processes: True for a
            folder in the cache folder, or a path. It grows until `embedry cache clear --kind vectors`.

    Raises:
        UnknownModelError, AmbiguousModelError: no model has the name, or two plugins register it.
        UnknownBackendError, BackendImportError: the backend is missing or broken.
        UnsupportedModelError: the backend cannot reproduce this model, or it is of another kind; names the function to use.
        OptionError, UnknownOptionError: an option is invalid for this model, or does not exist.
        WeightsNotFoundError: an unregistered repository or folder lacks the files that describe a model.
        LockError: a lock file is in use and does not contain the model, or contains a different entry.
    """
    model = resolve_kind(
        "dense",
        name,
        backend=backend,
        device=device,
        precision=precision,
        dims=dims,
        normalize=normalize,
        max_seq_length=max_seq_length,
        on_overflow=on_overflow,
        threads=threads,
        folder=folder,
        cache_dir=cache_dir,
        vector_cache=vector_cache,
    )
    return cast("LazyEmbedder", model)


def resolve_reranker(name: str | Path | ModelSpec, **options: Unpack[RerankerOptions]) -> LazyReranker:
    """The reranker of this model with these options; one instance is shared by the whole process. Loads nothing.

    Args:
        name: see `resolve`.
        **options: the options of `resolve` except `dims` and `normalize`. `on_overflow` applies to the documents of pairs, and
            `on_query_overflow` ("truncate", "warn" or "error") to their queries.

    Raises:
        Those of `resolve`.
    """
    return cast("LazyReranker", resolve_kind("reranker", name, **options))


def resolve_sparse(name: str | Path | ModelSpec, **options: Unpack[Options]) -> LazySparseEmbedder:
    """The sparse model with these options; one instance is shared by the whole process. Loads nothing.

    Args:
        name: see `resolve`.
        **options: the options of `resolve` except `dims` and `normalize`.

    Raises:
        Those of `resolve`.
    """
    return cast("LazySparseEmbedder", resolve_kind("sparse", name, **options))


def resolve_multi_vector(name: str | Path | ModelSpec, **options: Unpack[Options]) -> LazyMultiVectorEmbedder:
    """The multi-vector model with these options; one instance is shared by the whole process. Loads nothing.

    Args:
        name: see `resolve`.
        **options: the options of `resolve`.

    Raises:
        Those of `resolve`.
    """
    return cast("LazyMultiVectorEmbedder", resolve_kind("multi_vector", name, **options))


def resolve_kind(kind: Kind, name: str | Path | ModelSpec, **given: Unpack[RerankerOptions]) -> LazyModel[Any, Any]:
    """The shared model of this kind with these options. The functions above call it."""
    _check_known(kind, given)
    cache_dir, folder, precision = given.get("cache_dir"), given.get("folder"), given.get("precision")
    cache_folder = Path(cache_dir).expanduser().absolute() if cache_dir else cache.default_folder()
    spec = find(name, cache_folder).for_kind(kind)
    if folder is not None:
        from dataclasses import replace

        spec = replace(spec, folder=str(Path(folder).expanduser().absolute()))
    chosen = given.get("backend") or os.environ.get("EMBEDRY_BACKEND") or spec.preferred_backend
    found = _backends.find(chosen)
    device = _backends.check(found, chosen, spec, given.get("device"), precision)
    if precision is None and device == "cpu" and "fp32" in found.precisions:
        precision = "fp32"  # the default of every backend on a CPU: stated or not, it is the same engine
    on_overflow = options.checked_overflow(given.get("on_overflow", "truncate"))
    length = options.checked_dims(spec, given.get("dims"))
    return shared(
        Config(
            spec=spec,
            backend=chosen,
            device=device,
            precision=precision,
            chain=options.changed_chain(spec, dims=length, normalize=given.get("normalize")),
            dims=length,
            max_seq_length=options.checked_length(spec, given.get("max_seq_length")),
            on_overflow=on_overflow,
            on_query_overflow=options.checked_overflow(given.get("on_query_overflow", "truncate"), "on_query_overflow"),
            threads=options.checked_threads(given.get("threads")),
            cache_dir=cache_folder,
            vector_cache=options.checked_vector_cache(spec, given.get("vector_cache"), on_overflow, cache_folder),
            stamps=sources.stamps(spec),
        )
    )


def given_or_resolved(
    kind: Kind, model: str | Path | ModelSpec | LazyModel[Any, Any], **given: Unpack[RerankerOptions]
) -> LazyModel[Any, Any]:
    """Returns a resolved model of this kind unchanged, or calls `resolve_kind`; for adapters that accept both.

    Raises:
        OptionError: options are passed for a model that is already resolved.
        Those of `resolve`.
    """
    if not isinstance(model, LazyModel) or model.spec.kind != kind:
        return resolve_kind(kind, model, **given)  # type: ignore[arg-type]  # it rejects a model of another kind
    if given:
        raise OptionError(f"{model.name!r} already has its options; pass them to {DOORS[kind]}, got {given}")
    return model


def ranking(model: str | Path | ModelSpec | LazyModel[Any, Any], **given: Unpack[RerankerOptions]) -> LazyReranker:
    """`given_or_resolved` for a reranker that can rank.

    Raises:
        OptionError: the model returns several scores per pair.
        Those of `given_or_resolved`.
    """
    reranker = cast("LazyReranker", given_or_resolved("reranker", model, **given))
    reranker.check_ranks()
    return reranker


def find(name: str | Path | ModelSpec, cache_dir: Path) -> ModelSpec:
    """The entry of a model of any kind, whether or not its engine is installed; the locked one if a lock file is in use.

    Raises:
        Those of `resolve`, except for backends and options.
    """
    locked = lock.in_use()
    if isinstance(name, ModelSpec):
        return name if locked is None else locked.check(name)
    if not isinstance(name, str | Path):
        raise OptionError(f"resolve takes a name, a folder or a ModelSpec, got {type(name).__name__}: {name!r}")
    if isinstance(name, Path) or name.startswith((".", "/", "~")) or os.path.isabs(name):
        if locked is not None:
            raise LockError(
                f"the folder {str(name)!r} is not a model of the lock file {locked.path}, and a folder cannot be locked; give "
                "a locked model its files with resolve(NAME, folder=...), or resolve without the lock"
            )
        return _layouts.from_folder(Path(name).expanduser().absolute())
    if locked is not None:
        return locked.find(name)
    models = registry.installed()
    spec = models.find(name)
    if spec is not None:
        return spec
    if name.count("/") == 1 and all(name.split("/")):
        return _layouts.from_hub(name, cache_dir)
    error = models.unknown(name)
    if Path(name).is_dir():
        raise UnknownModelError(f"{error}; for the folder of that name write './{name}'")
    raise error
