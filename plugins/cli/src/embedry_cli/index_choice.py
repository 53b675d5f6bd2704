"""Chooses the model and the indexes for a search."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Unpack, cast

from embedry import LazyEmbedder, Space, SpaceError, resolve
from embedry_cli import index_places
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.folder_encode import ROLE
from embedry_cli.index_store import Index

if TYPE_CHECKING:
    from embedry_cli.options import Engine


@dataclass(frozen=True)
class Part:
    """The part of an index to search."""

    index: Index
    inside: str
    """The path of a file or folder, relative to the indexed folder."""
    path: str
    """The same path as the user passed it."""


class Choice(NamedTuple):
    """The model of a search and where it searches."""

    embedder: LazyEmbedder
    parts: list[Part]
    others: list[str]
    """Paths that are in no index of this embedder."""


@contextmanager
def chosen(
    paths: Sequence[str] | None, model: str | None, index: Path | None, **engine: "Unpack[Engine]"
) -> Iterator[Choice]:
    """Chooses the embedder and opens its indexes inside the block.

    The embedder is that of `model`, or else that of the first index found, or else the default one.

    Args:
        paths: what to search; by default all of `index`, or the current folder, which must then have an index.
        model: as on the command line.
        index: the index that contains the paths; by default each path's own index in the cache.
        **engine: the engine options.

    Raises:
        InputError: a path does not exist or is not in the index, or another model made the index.
        As `resolve`.
    """
    embedder = named(model, **engine) if model is not None else None
    with ExitStack() as stack:
        if index is not None:
            opened = stack.enter_context(Index(index))
            embedder = embedder or embedder_of(opened, **engine)
            check(opened, embedder)
            given = [shortest(opened.facts.folder)] if paths is None else paths
            yield Choice(embedder, [_part_of(opened, path) for path in given], [])
            return
        parts: list[Part] = []
        others: list[str] = []
        for path in ["."] if paths is None else paths:
            part = _find(path, None if embedder is None else embedder.fingerprint)
            if part is None:
                others.append(path)
            else:
                parts.append(part)
                stack.enter_context(part.index)
                embedder = embedder or embedder_of(part.index, **engine)
        if paths is None and others:
            raise InputError(_no_index(model))
        if embedder is None:
            from embedry_cli.options import DEFAULT_MODEL

            embedder = named(DEFAULT_MODEL, **engine)
        yield Choice(embedder, parts, others)


def named(model: str, **engine: "Unpack[Engine]") -> LazyEmbedder:
    """The embedder of a model for searches.

    Raises:
        As `entries.entry` and `resolve`.
    """
    spec = entry(model, "dense")
    # On unit vectors, the other similarities give the same ranking as the dot product.
    return resolve(spec, normalize=None if spec.similarity == "dot" else True, **engine)


def embedder_of(index: Index, **engine: "Unpack[Engine]") -> LazyEmbedder:
    """The embedder that made an index.

    Raises:
        InputError: the model's vectors are in another space, because of these options or of a newer version of embedry.
    """
    facts = index.facts
    given = {name: value for name, value in engine.items() if value is not None}
    try:
        return Space.from_dict(facts.space).resolve(**cast("Engine", given))
    except SpaceError as error:
        options = "".join(f" --{name} {value}" for name, value in given.items())
        raise InputError(
            f"the index {index.path} was made by {facts.model!r} in space {facts.fingerprint}, and with these options, or in "
            f"this version of embedry, its vectors are others; make another index: embedry index {facts.folder} "
            f"--model {facts.model}{options}"
        ) from error


def check(index: Index, embedder: LazyEmbedder) -> None:
    """Checks that the space and the role of an index match an embedder.

    Raises:
        InputError: they differ; the message names the option to use.
    """
    facts = index.facts
    if (facts.fingerprint, facts.role) != (embedder.fingerprint, ROLE):
        raise InputError(
            f"the index {index.path} has vectors of {facts.model!r} in space {facts.fingerprint} and role {facts.role!r}, "
            f"which cannot be compared with those of {embedder.name!r} in space {embedder.fingerprint}; use "
            f"--model {facts.model}"
        )


def _find(path: str, fingerprint: str | None) -> Part | None:
    """The latest index of the path or of its nearest parent folder."""
    if not Path(path).exists():
        raise InputError(f"there is no file or folder {path}")
    for place, inside in index_places.covering(os.path.realpath(path)):
        if fingerprint in (None, index_places.fingerprint_of(place)):
            index = Index(place)
            if not inside or index.rows(inside):  # an index does not contain hidden and ignored files
                return Part(index, inside, path)
            index.close()
    return None


def _part_of(index: Index, path: str) -> Part:
    inside = os.path.relpath(os.path.realpath(path), index.facts.folder)
    if Path(inside).parts[:1] == (os.pardir,):
        raise InputError(f"{path} is not in {index.facts.folder}, the folder of the index {index.path}")
    return Part(index, "" if inside == os.curdir else inside, path)


def shortest(folder: str) -> str:
    """The path of a folder, relative to the current folder if it is inside that folder."""
    relative = os.path.relpath(folder)
    return folder if Path(relative).parts[:1] == (os.pardir,) else relative


def _no_index(model: str | None) -> str:
    folders = []
    for place in index_places.indexes():
        with Index(place) as index:
            folders.append(index.facts.folder)
    listed = f"; there are indexes of {', '.join(dict.fromkeys(folders))}" if folders else ""
    by = f" of {model!r}" if model is not None else ""
    return f"this folder has no index{by}; name what to search, or make one: embedry index .{listed}"
