"""Makes a plan from inputs: counts rows, finds columns, and cuts shards of about equal work."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from embedry import BackendError, Space, UnsupportedModelError
from embedry._files import cache
from embedry.chains import Kind
from embedry.options import Options
from embedry.resolver import find, resolve_kind
from embedry_bulk import columns, encodings, inputs
from embedry_bulk.encodings import Ranges
from embedry_bulk.errors import PlanError
from embedry_bulk.folder import open_folder
from embedry_bulk.plan import NAME, Job, OnOverflow, Output, Plan
from embedry_bulk.readers import reader
from embedry_bulk.rows import Reader, Scan, spread

if TYPE_CHECKING:
    from embedry.views import LazyTextModel

_BYTES_A_TOKEN = 4.0
"""Of running English text; for engines that do not say how many tokens a text has."""

_SAMPLE_OF_BLOCK = 8
"""Texts of a block of rows that tell how many tokens its texts have."""

_SAMPLE = 2048
"""Texts whose vectors give the ranges of int8."""

Advance = Callable[[int], None]
"""Told how many rows more are done."""


def make_plan(
    names: Sequence[str],
    to: str,
    *,
    model: str,
    kind: Kind | None = None,
    role: str = "document",
    input_format: inputs.Kind | None = None,
    advance: Advance = lambda _: None,
    options: Options | None = None,
    **settings: Any,
) -> Plan:
    """Plans a job and writes its plan, or returns the existing plan if it is the same.

    Args:
        names: files, folders and patterns, as paths or URLs that fsspec supports.
        to: the job's folder, as a path or a URL.
        model: a name that `resolve` accepts.
        kind: "dense", "sparse" or "multi_vector", if the model supports several; None for its first.
        role: "document", "query", or a task of the model.
        input_format: the format of the inputs; None to use each file's extension.
        advance: called with the number of rows just read.
        options: options of `resolve`: dims, precision, backend, device and so on.
        **settings: the other fields of `Job`.

    Raises:
        PlanError: the folder contains another job, or a setting is not valid.
        InputError: an input is missing, cannot be read, or lacks the column.
    """
    embedder = _resolved(model, kind, options or Options())
    embedder.spec.prompt(role)  # an unknown role is an error before anything is read
    job = Job(inputs=(), space=Space.of(embedder), role=role, **settings)
    _check(job)
    folder = open_folder(to)
    for name in names:
        if inputs.may_match(name, folder.url):
            raise PlanError(
                f"the job's folder {folder.url} lies in the inputs {name}, which would then have its results among them; "
                "choose a folder outside"
            )
    plan = Plan.load(to) if folder.read(NAME) is not None else None
    job = replace(job, inputs=tuple(inputs.found(names, input_format, plan.job.inputs if plan else ())))
    if plan is not None:
        plan.check_job(job)
        return plan
    with folder.spool() as spool:  # first: a folder that cannot be written to is an error before anything is read
        plan = _Planner(job, embedder, advance).plan(folder.url)
        local = spool / NAME
        local.write_bytes(plan.as_json())
        folder.publish(local, NAME)
    return plan


def _resolved(model: str, kind: Kind | None, options: Options) -> "LazyTextModel[Any]":
    cache_dir = options.get("cache_dir")
    spec = find(model, Path(cache_dir) if cache_dir else cache.default_folder())
    chosen = kind or spec.kind
    if chosen == "reranker":
        raise PlanError(f"{spec.name!r} is a reranker, which does not make vectors to store; choose an embedder")
    if chosen not in spec.kinds:
        raise PlanError(f"{spec.name!r} gives no {chosen} vectors; choose another model, or --kind {spec.kind}")
    return cast("LazyTextModel[Any]", resolve_kind(chosen, spec, **options))


def _check(job: Job) -> None:
    """Raises PlanError for settings that are not valid or would have no effect."""
    encodings.check(job.encoding, job.lists)
    for option, value, known in (
        ("output-format", job.output, get_args(Output)),
        ("on-overflow", job.on_overflow, get_args(OnOverflow)),
    ):
        if value not in known:
            raise PlanError(f"--{option} must be one of {', '.join(known)}, got {value!r}")
    for name in ("shard_tokens", "shard_rows"):
        value = getattr(job, name)
        if value is not None and value < 1:
            raise PlanError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if job.space.kind != "dense":
        _check_kind(job)
    if job.id_column is not None and job.output != "npy":
        raise PlanError("--id is for npy; Parquet and LanceDB keep all columns")
    if job.keep is not None and job.output == "npy":
        raise PlanError("--keep is for Parquet and LanceDB; npy has no other columns than that of --id")
    if job.lists != "fixed" and job.output != "parquet":
        raise PlanError(f"--list is for Parquet, and {job.output} always has vectors of one size")
    if job.output == "lancedb":
        from embedry_bulk import lance  # noqa: F401  says so if it is not installed


def _check_kind(job: Job) -> None:
    """Raises PlanError for settings that only apply to dense vectors."""
    kind = job.space.kind
    if job.encoding != "float32":
        raise PlanError(
            f"--encoding {job.encoding} is for dense vectors; those of a {kind} model are stored as float32"
        )
    if job.output == "npy":
        raise PlanError(
            f"npy holds vectors of one length, and not those of a {kind} model; choose --output-format parquet"
        )
    if job.lists != "fixed" and kind == "sparse":
        raise PlanError("--list is for vectors of one length; the lists of a sparse model always have their own")


class _Planner:
    def __init__(self, job: Job, embedder: "LazyTextModel[Any]", advance: Advance) -> None:
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
        found: list[columns.Columns] = []
        for file in self._job.inputs:
            each = reader(file)
            rows.append(self._cut(each, sum(rows)))
            found.append(columns.of(file, each, self._job))
            each.close()
            file.check()  # it may have changed while it was read
        plan = Plan(
            job=self._job,
            rows=tuple(rows),
            starts=tuple(self._starts),
            offsets=tuple(self._offsets),
            schema=columns.common(found, self._job),
            ranges=self._ranges(),
            url=url,
        )
        if self._job.output == "lancedb":
            from embedry_bulk import lance

            lance.check(plan)
        return plan

    def _cut(self, each: Reader, before: int) -> int:
        """Cuts the rows of a file into shards; returns how many there are."""
        scans = each.scan(self._job.column, columns.Wanted(self._job), self._sample.size or _SAMPLE_OF_BLOCK)
        count = each.count() if self._job.shard_rows and not self._sample.size else None
        if count is not None:
            next(scans, None)  # raises if there is no such column
            self._cut_work(np.ones(count), before, None)
            self._advance(count)
            return count
        first = 0
        for scan in scans:
            self._sample.add(scan.texts)
            self._cut_work(self._work(scan), before + first, scan.offsets)
            first += len(scan.lengths)
            self._advance(len(scan.lengths))
        return first

    def _cut_work(self, work: NDArray[np.float64], first: int, offsets: Sequence[int] | None) -> None:
        """Starts a new shard at each row that does not fit into the current one, unless that is empty."""
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
        """The work per row: 1, or the approximate number of tokens, estimated from its length and a few tokenized texts."""
        if self._job.shard_rows:
            return np.ones(len(scan.lengths))
        fixed, each_byte = self._tokens([scan.texts[place] for place in spread(len(scan.texts), _SAMPLE_OF_BLOCK)])
        tokens: NDArray[np.float64] = np.minimum(fixed + each_byte * scan.lengths, self._embedder.max_seq_length)
        return tokens

    def _tokens(self, texts: Sequence[str]) -> tuple[float, float]:
        """Tokens of an empty text, with prompt and special tokens, and tokens per additional byte."""
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
        if self._job.encoding != "int8":
            return None
        vectors = self._vectors(self._sample.texts)
        if not len(vectors):
            raise PlanError(
                "int8 needs texts to find the ranges of the vectors, and the inputs have none; choose --encoding float16"
            )
        return encodings.ranges_of(vectors)

    def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors, without texts for which the engine fails; those are rejected later."""
        try:
            vectors: NDArray[np.float32] = self._embedder.encode(texts, role=self._job.role)
            return vectors
        except BackendError:
            if len(texts) == 1:
                return np.zeros((0, self._job.space.dims), dtype=np.float32)
            middle = len(texts) // 2
            return np.concatenate([self._vectors(texts[:middle]), self._vectors(texts[middle:])])


class _Sample:
    """A deterministic uniform sample of texts, of limited size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.texts: list[str] = []
        self._seen = 0
        self._random = random.Random(0)  # noqa: S311  a sample, not a secret

    def add(self, texts: Sequence[str]) -> None:
        for text in texts if self.size else ():
            self._seen += 1
            place = len(self.texts) if self._seen <= self.size else self._random.randrange(self._seen)
            if place < self.size:
                self.texts[place : place + 1] = [text]
