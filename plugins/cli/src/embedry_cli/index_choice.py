"""Which model a search uses, and which indexes have what it searches."""

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
    """What is searched of an index."""

    index: Index
    inside: str
    """A file or folder in the indexed one, as a relative path."""
    path: str
    """The same as the user calls it."""


class Choice(NamedTuple):
    """What a search needs."""

    embedder: LazyEmbedder
    parts: list[Part]
    others: list[str]
    """Paths that no index of this embedder has."""


@contextmanager
def chosen(
    paths: Sequence[str] | None, model: str | None, index: Path | None, **engine: "Unpack[Engine]"
) -> Iterator[Choice]:
    """The embedder of a model, or else the one that made the first index found, or else the usual one; and its indexes.

    The indexes are open inside the block.

    Args:
        paths: to search; by default all of the given index, or this folder, which must have one then.
        model: as on the command line.
        index: of which the paths are parts; by default each path's own in the cache.
        **engine: what decides how the model is computed.

    Raises:
        InputError: a path does not exist or is not in the index; the index was made by another model.
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
    # On unit vectors the other similarities rank as the dot product does.
    return resolve(spec, normalize=None if spec.similarity == "dot" else True, **engine)


def embedder_of(index: Index, **engine: "Unpack[Engine]") -> LazyEmbedder:
    """The embedder that an index was made with.

    Raises:
        InputError: with these options, or today, the model's vectors are in another space.
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
    """Compares the space and the role of an index with an embedder's.

    Raises:
        InputError: they differ; the message has the option that fits.
    """
    facts = index.facts
    if (facts.fingerprint, facts.role) != (embedder.fingerprint, ROLE):
        raise InputError(
            f"the index {index.path} has vectors of {facts.model!r} in space {facts.fingerprint} and role {facts.role!r}, "
            f"which cannot be compared with those of {embedder.name!r} in space {embedder.fingerprint}; use "
            f"--model {facts.model}"
        )


def _find(path: str, fingerprint: str | None) -> Part | None:
    """The index of a path or of a folder around it, the nearest first, and of these the latest."""
    if not Path(path).exists():
        raise InputError(f"there is no file or folder {path}")
    for place, inside in index_places.covering(os.path.realpath(path)):
        if fingerprint in (None, index_places.fingerprint_of(place)):
            index = Index(place)
            if not inside or index.rows(inside):  # the index of a folder lacks what is hidden or ignored there
                return Part(index, inside, path)
            index.close()
    return None


def _part_of(index: Index, path: str) -> Part:
    inside = os.path.relpath(os.path.realpath(path), index.facts.folder)
    if Path(inside).parts[:1] == (os.pardir,):
        raise InputError(f"{path} is not in {index.facts.folder}, the folder of the index {index.path}")
    return Part(index, "" if inside == os.curdir else inside, path)


def shortest(folder: str) -> str:
    """The path of a folder, relative to the current one if it is in that."""
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
