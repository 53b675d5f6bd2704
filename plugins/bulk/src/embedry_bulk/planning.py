"""From inputs to a plan: their rows are counted, their columns found, and shards of about equal work cut."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet as pq

from embedry import LazyEmbedder, Space, UnsupportedModelError, resolve
from embedry.options import Options
from embedry_bulk import encodings, inputs
from embedry_bulk.encodings import Ranges
from embedry_bulk.errors import InputError, PlanError
from embedry_bulk.folder import Folder, open_folder
from embedry_bulk.inputs import InputFile, Kind
from embedry_bulk.plan import NAME, Job, Plan
from embedry_bulk.rows import Reader, Scan, reader

_BYTES_A_TOKEN = 4.0
"""Of running English text; for engines that do not say how many tokens a text has."""

_SAMPLE = 2048
"""Texts whose vectors give the ranges of int8."""

Advance = Callable[[int], None]
"""Told how many rows more are done."""


def make_plan(
    names: Sequence[str],
    to: str,
    *,
    model: str,
    role: str = "document",
    kind: Kind | None = None,
    advance: Advance = lambda _: None,
    options: Options | None = None,
    **settings: Any,
) -> Plan:
    """Plans a job and writes its plan, or returns the one that is there, if it is the same.

    Args:
        names: files, folders and patterns, as paths or URLs that fsspec knows.
        to: the job's folder, as a path or a URL.
        model: a name that `resolve` takes.
        role: "document", "query", or a task that the model's entry names.
        kind: the format of the inputs; None for that of each file's extension.
        advance: told how many rows more were read.
        options: those of `resolve`: dims, precision, backend, device and so on.
        **settings: the other fields of `Job`.

    Raises:
        PlanError: the folder has another job, or a setting is not possible.
        InputError: an input is missing, cannot be read, or has no such column.
    """
    embedder = resolve(model, **(options or Options()))
    embedder.spec.prompt(role)  # an unknown role is an error before anything is read
    job = Job(inputs=tuple(inputs.found(names, kind)), space=Space.of(embedder), role=role, **settings)
    _check(job)
    folder = open_folder(to)
    if folder.read(NAME) is not None:
        plan = Plan.load(to)
        plan.check_job(job)
        return plan
    plan = _Planner(job, embedder, advance).plan(folder.url)
    _write(plan, folder)
    return plan


def _check(job: Job) -> None:
    encodings.check(job.encoding, job.lists)
    for name in ("shard_tokens", "shard_rows"):
        value = getattr(job, name)
        if value is not None and value < 1:
            raise PlanError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if job.id_column is not None and job.output != "npy":
        raise PlanError("--id is for .npy, which has no other columns; they all go along into Parquet and LanceDB")


class _Planner:
    def __init__(self, job: Job, embedder: LazyEmbedder, advance: Advance) -> None:
        self._job = job
        self._embedder = embedder
        self._advance = advance
        self._sample = _Sample(_SAMPLE if job.encoding == "int8" else 0)
        self._starts = [0]
        self._offsets = [0]
        self._room = float(self._limit)
        """Work that still fits into the last shard."""

    @property
    def _limit(self) -> int:
        return self._job.shard_rows or self._job.shard_tokens

    def plan(self, url: str) -> Plan:
        rows: list[int] = []
        schemas: list[tuple[InputFile, pa.Schema]] = []
        for file in self._job.inputs:
            each = reader(file)
            rows.append(self._cut(each, sum(rows)))
            if rows[-1] or file.kind == "parquet":
                schemas.append((file, each.schema))
            file.check()  # it may have changed while it was read
        return Plan(
            job=self._job,
            rows=tuple(rows),
            starts=tuple(self._starts),
            offsets=tuple(self._offsets),
            schema=_kept(_common(schemas, self._job.column), self._job),
            ranges=self._ranges(),
            url=url,
        )

    def _cut(self, each: Reader, before: int) -> int:
        """Cuts the rows of a file into shards; returns how many there are."""
        count = each.count() if self._job.shard_rows and not self._sample.size else None
        if count is not None:
            self._check_column(each)
            self._cut_work(np.ones(count), before, None)
            self._advance(count)
            return count
        first = 0
        for scan in each.scan(self._job.column, _Wanted(self._job)):
            self._sample.add(scan.texts)
            self._cut_work(self._work(scan), before + first, scan.offsets)
            first += len(scan.lengths)
            self._advance(len(scan.lengths))
        return first

    def _check_column(self, each: Reader) -> None:
        next(iter(each.scan(self._job.column, ())), None)

    def _cut_work(self, work: NDArray[np.float64], first: int, offsets: Sequence[int] | None) -> None:
        """Begins a shard with each row that no longer fits into the one before, unless that one is empty."""
        sums = np.cumsum(work)
        done = 0.0
        while True:
            place = int(np.searchsorted(sums, done + self._room + 1e-6, side="right"))
            place += place < len(work) and self._starts[-1] == first + place  # at least one row a shard
            if place >= len(work):
                self._room -= float(sums[-1]) - done if len(sums) else 0.0
                return
            self._starts.append(first + place)
            self._offsets.append(offsets[place] if offsets is not None else 0)
            done, self._room = float(sums[place - 1]) if place else 0.0, float(self._limit)

    def _work(self, scan: Scan) -> NDArray[np.float64]:
        """One a row, or about how many tokens each has: by its length, and by the tokens of a few of them."""
        if self._job.shard_rows:
            return np.ones(len(scan.lengths))
        fixed, each_byte = self._tokens(scan.texts)
        tokens: NDArray[np.float64] = np.minimum(fixed + each_byte * scan.lengths, self._embedder.max_seq_length)
        return tokens

    def _tokens(self, texts: Sequence[str | None]) -> tuple[float, float]:
        """Tokens of an empty text, with prompt and special tokens, and of each byte more."""
        sample = [text for text in texts if text]
        size = sum(len(text.encode()) for text in sample)
        if not size:
            return 1.0, 1 / _BYTES_A_TOKEN
        try:
            fixed, *counts = self._embedder.count_tokens(["", *sample], role=self._job.role)
        except UnsupportedModelError:
            return 1.0, 1 / _BYTES_A_TOKEN
        return float(fixed), (sum(counts) - fixed * len(counts)) / size

    def _ranges(self) -> Ranges | None:
        if not self._sample.size:
            return None
        if not self._sample.texts:
            raise PlanError("int8 needs texts to find the ranges of the vectors, and the inputs have none")
        return encodings.ranges_of(self._embedder.encode(self._sample.texts, role=self._job.role))


class _Wanted:
    """The columns that a job keeps."""

    def __init__(self, job: Job) -> None:
        self._names = None if job.keep is None else {job.column, *job.keep, job.id_column}

    def __contains__(self, name: object) -> bool:
        return self._names is None or name in self._names


class _Sample:
    """At most so many of all texts that come, each with the same probability, the same ones each time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.texts: list[str] = []
        self._seen = 0
        self._random = random.Random(0)  # noqa: S311  a sample, not a secret

    def add(self, texts: Sequence[str | None]) -> None:
        for text in texts if self.size else ():
            if text is None:
                continue
            self._seen += 1
            place = len(self.texts) if self._seen <= self.size else self._random.randrange(self._seen)
            if place < self.size:
                self.texts[place : place + 1] = [text]


def _common(schemas: Sequence[tuple[InputFile, pa.Schema]], column: str) -> pa.Schema:
    """The columns of all inputs. Types are exact, so where one is Parquet all must agree."""
    if not schemas:
        return pa.schema([(column, pa.string())])
    first, expected = next((each for each in schemas if each[0].kind == "parquet"), schemas[0])
    for file, schema in schemas if first.kind == "parquet" else ():
        if not schema.equals(expected):
            raise InputError(
                f"{file.url} has other columns or types than {first.url}: {_difference(schema, expected)}; "
                "make them equal, or plan a job for each"
            )
    try:
        return pa.unify_schemas([schema for _, schema in schemas], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"the inputs have columns of different types: {error}; leave them out: --keep OTHER,COLUMNS"
        ) from error


def _kept(schema: pa.Schema, job: Job) -> pa.Schema:
    """The columns that go along."""
    if job.vector_column in schema.names:
        raise PlanError(f"there is a column {job.vector_column!r} already; name another with --vector-column")
    for name in filter(None, (*(job.keep or ()), job.id_column)):
        if name not in schema.names:
            raise PlanError(f"there is no column {name!r} to keep; there are {', '.join(schema.names)}")
    wanted = _Wanted(job)
    kept = pa.schema([field for field in schema if field.name in wanted])
    try:
        pq.write_table(kept.empty_table(), pa.BufferOutputStream())
    except (pa.ArrowException, OSError) as error:  # such as structs without fields
        raise PlanError(f"Parquet cannot hold these columns: {error}; leave some out: --keep OTHER,COLUMNS") from error
    return kept


def _difference(one: pa.Schema, other: pa.Schema) -> str:
    for name in dict.fromkeys((*one.names, *other.names)):
        types = [str(each.field(name).type) if name in each.names else "no such column" for each in (one, other)]
        if types[0] != types[1]:
            return f"{name!r} is {types[0]} instead of {types[1]}"
    return "their order, or whether they may be null"


def _write(plan: Plan, folder: Folder) -> None:
    with folder.spool() as spool:
        local = spool / NAME
        local.write_bytes(plan.as_json())
        folder.publish(local, NAME)
