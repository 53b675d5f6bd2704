"""Finds repeated ids in any number of rows with bounded memory."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedry_bulk.plan import Plan
from embedry_bulk.records import IDS, Done

_AT_A_TIME = 20_000_000
"""Rows whose hashes are held, of 24 bytes each while they are sorted. More rows take several passes over the ids."""

_PRIME = np.uint64(1099511628211)
"""That of the 64-bit FNV-1a hash; http://www.isthe.com/chongo/tech/comp/fnv."""

_BASIS = np.uint64(14695981039346656037)

Hashes = NDArray[np.uint64]


class Repeated(NamedTuple):
    """Repeated ids of a job. Strings are compared by 64-bit hashes."""

    rows: int
    """Rows that have the id of an earlier one."""
    first: str
    """The first of them, and the row that had its id before, in words."""


def repeated_ids(plan: Plan, done: Mapping[int, Done], at_a_time: int = _AT_A_TIME) -> Repeated | None:
    """The repeated ids of a job that writes the inputs' ids; None if all are unique.

    Args:
        plan: the plan.
        done: its complete shards, with valid files.
        at_a_time: the number of rows to hold in memory.
    """
    if plan.job.id_column is None:
        return None
    passes = max(1, -(-sum(each.rows for each in done.values()) // at_a_time))
    rows, first = 0, None
    for turn in range(passes):
        hashes, places = _chosen(plan, done, turn, passes)
        order = np.argsort(hashes, kind="stable")
        again = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        rows += len(again)
        if len(again):
            earliest = again[np.argmin(places[order[again + 1]])]
            pair = int(places[order[earliest + 1]]), int(places[order[earliest]])
            first = pair if first is None else min(first, pair)
    return None if first is None else Repeated(rows, _described(plan, done, *first))


def _chosen(plan: Plan, done: Mapping[int, Done], turn: int, passes: int) -> tuple[Hashes, NDArray[np.int64]]:
    """The hashes that have their turn in this pass, each with the place of its row among all."""
    hashes, places, before = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], 0
    for _, ids in _ids(plan, done):
        found = _hashes(ids)
        chosen = np.flatnonzero(found % np.uint64(passes) == turn)
        hashes.append(found[chosen])
        places.append(before + chosen)
        before += len(ids)
    return np.concatenate(hashes), np.concatenate(places)


def _hashes(ids: NDArray[Any]) -> Hashes:
    """Integers unchanged; strings hashed by their code points, independent of the width of their array."""
    if ids.dtype.kind != "U":
        return ids.astype(np.int64, copy=False).view(np.uint64) if ids.dtype.kind == "i" else ids.astype(np.uint64)
    hashes = np.full(len(ids), _BASIS)
    codes = np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), ids.dtype.itemsize // 4)
    for column in codes.T:
        hashes = np.where(column, (hashes ^ column) * _PRIME, hashes)
    return hashes ^ (hashes >> np.uint64(32))  # the last code point reaches no lower bits by itself


def _ids(plan: Plan, done: Mapping[int, Done]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The ids of each shard, with the name of their file."""
    for shard in sorted(done):
        for file in done[shard].files:
            content = plan.folder.read(file.name) if file.name.startswith(f"{IDS}/") else None
            if content is not None:
                yield file.name, np.load(io.BytesIO(content), allow_pickle=False)


def _described(plan: Plan, done: Mapping[int, Done], later: int, earlier: int) -> str:
    """The locations of two rows with the same id, for people."""
    said, value, before = {}, "", 0
    for name, ids in _ids(plan, done):
        for place in (earlier, later):
            if before <= place < before + len(ids):
                said[place] = f"{name}[{place - before}]"
                value = repr(ids[place - before].item())
        before += len(ids)
    return f"{value} in {said[earlier]} and {said[later]}"
