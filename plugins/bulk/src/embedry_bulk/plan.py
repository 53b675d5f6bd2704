"""The immutable plan of a job: everything that determines its result."""

import base64
import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import accumulate, zip_longest
from typing import Any, Literal, NamedTuple, Self

import pyarrow as pa

from embedry import Space, __version__
from embedry_bulk.encodings import Encoding, Lists, Ranges
from embedry_bulk.errors import PlanError
from embedry_bulk.folder import Folder, open_folder
from embedry_bulk.inputs import InputFile

NAME = "plan.json"

_FORMAT = 1
"""Of plan.json and of the files beside it."""

Output = Literal["parquet", "npy", "lancedb"]
OnOverflow = Literal["truncate", "reject"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """The settings of a job. A folder holds the results of one job and rejects another."""

    inputs: tuple[InputFile, ...]
    space: Space
    role: str
    column: str = "text"
    """The column of the texts."""
    vector_column: str = "embedding"
    keep: tuple[str, ...] | None = None
    """The other columns that go along; None for all."""
    output: Output = "parquet"
    id_column: str | None = None
    """For .npy: the column of the ids; None for the numbers of the rows in the job."""
    encoding: Encoding = "float32"
    lists: Lists = "fixed"
    on_overflow: OnOverflow = "truncate"
    shard_tokens: int = 2_000_000
    shard_rows: int | None = None
    """Rows of a shard; None for as many as have about `shard_tokens` tokens."""


class Part(NamedTuple):
    """Rows of one file that belong to a shard."""

    file: int
    """The position of the file among the inputs."""
    first: int
    """The number of the first row in the file."""
    rows: int
    offset: int
    """Where the first row begins, for formats that are read from there."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job with its scanned inputs: the start of each shard, and the columns.

    Rows are numbered across all inputs, in order. A row is identified by this number, or by its file and its number there,
    not by its text or id.
    """

    job: Job
    rows: tuple[int, ...]
    """The number of rows of each input."""
    starts: tuple[int, ...]
    """The first row of each shard; there is at least one shard, which may be empty."""
    offsets: tuple[int, ...]
    """Where each shard begins in the file of its first row, in bytes after decompression; 0 for formats that have an index."""
    schema: pa.Schema
    """The columns that go along, the texts' among them."""
    ranges: Ranges | None = None
    """Those of the vectors, for int8."""
    version: str = __version__
    url: str = field(default="", compare=False)
    """The job's folder."""

    @classmethod
    def load(cls, url: str) -> Self:
        """The plan of a folder.

        Raises:
            PlanError: there is no plan, it is damaged, or another version of embedry made it.
        """
        folder = open_folder(url)
        content = folder.read(NAME)
        if content is None:
            raise PlanError(f"{url} has no {NAME}, so it is not a job; plan one: embedry bulk plan INPUT... --to {url}")
        return cls._parsed(content, folder.url)

    @cached_property
    def text(self) -> str:
        """The plan as JSON; plan.json contains it together with its digest."""
        values = asdict(self.job) | {"inputs": [file._asdict() for file in self.job.inputs]}
        values["space"] = self.job.space.as_dict()
        schema = base64.b64encode(self.schema.serialize()).decode()
        others = {"rows": self.rows, "starts": self.starts, "offsets": self.offsets, "ranges": self.ranges}
        plan = {"format": _FORMAT, "version": self.version, "job": values, "schema": schema, **others}
        return json.dumps(plan, sort_keys=True)

    @cached_property
    def digest(self) -> str:
        """24 hex digits that identify this plan; every record of the job contains it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:24]

    def as_json(self) -> bytes:
        """The content of plan.json."""
        return f'{{"digest": "{self.digest}", "plan": {self.text}}}\n'.encode()

    @cached_property
    def folder(self) -> Folder:
        """The job's folder."""
        return open_folder(self.url)

    @property
    def shards(self) -> int:
        """The number of shards."""
        return len(self.starts)

    @property
    def total(self) -> int:
        """The number of rows."""
        return sum(self.rows)

    def bounds(self, shard: int) -> tuple[int, int]:
        """The first row of a shard, and the one after its last."""
        following = self.starts[shard + 1] if shard + 1 < self.shards else self.total
        return self.starts[shard], following

    def parts(self, shard: int) -> Iterator[Part]:
        """The rows of a shard, file by file."""
        start, stop = self.bounds(shard)
        offset = self.offsets[shard]
        while start < stop:
            file = bisect_right(self._ends, start)
            end = min(stop, self._ends[file])
            first = start - (self._ends[file] - self.rows[file])
            yield Part(file, first, end - start, offset)
            start, offset = end, 0

    def place(self, number: int) -> tuple[str, int]:
        """The file of a row, and its number there, by its number in the job."""
        file = bisect_right(self._ends, number)
        return self.job.inputs[file].url, number - (self._ends[file] - self.rows[file])

    @cached_property
    def _ends(self) -> list[int]:
        """For each input the number of the row after its last."""
        return list(accumulate(self.rows))

    def name(self, shard: int) -> str:
        """A shard's number as it appears in file names."""
        return f"{shard:05}"

    def check_job(self, job: Job) -> None:
        """Raises PlanError if the job differs from the one in this folder."""
        differ = [
            f"{each.name} is {_short(here)}, but {_short(asked)} was requested"
            for each in fields(Job)
            if each.name != "inputs" and (asked := getattr(job, each.name)) != (here := getattr(self.job, each.name))
        ]
        differ += _differ(self.job.inputs, job.inputs)
        if differ:
            raise PlanError(
                f"{self.url} contains another job: {'; '.join(differ)}. To continue that job: "
                f"embedry bulk run {self.url}; or name another folder with --to"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return Plan._parsed, (self.as_json(), self.url)

    @classmethod
    def _parsed(cls, content: bytes, url: str) -> Self:
        try:
            held = json.loads(content)
            plan, digest = held["plan"], held["digest"]
            text = json.dumps(plan, sort_keys=True)
        except (ValueError, LookupError, TypeError) as error:
            raise _damaged(url, str(error)) from error
        if hashlib.sha256(text.encode()).hexdigest()[:24] != digest:
            raise _damaged(url, "it does not have its own digest")
        if plan["format"] != _FORMAT or plan["version"] != __version__:
            raise PlanError(
                f"the job in {url} was planned by embedry {plan['version']}, and this is {__version__}: its vectors could differ "
                f"in the last bits; go on with embedry=={plan['version']}, or plan a new job in another folder"
            )
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(plan["schema"])))
        ranges = plan["ranges"] and (tuple(plan["ranges"][0]), tuple(plan["ranges"][1]))
        numbers = {name: tuple(plan[name]) for name in ("rows", "starts", "offsets")}
        return cls(job=_job(plan["job"]), schema=schema, ranges=ranges, version=plan["version"], url=url, **numbers)


def _job(values: dict[str, Any]) -> Job:
    inputs = tuple(InputFile(**each) for each in values["inputs"])
    keep = values["keep"] and tuple(values["keep"])
    return Job(**(values | {"inputs": inputs, "space": Space.from_dict(values["space"]), "keep": keep}))


def _damaged(url: str, why: str) -> PlanError:
    return PlanError(
        f"{url}/{NAME} is damaged: {why}; restore it from a copy, or plan the job again in another folder, which computes it anew"
    )


def _differ(here: Sequence[InputFile], asked: Sequence[InputFile]) -> list[str]:
    """The difference between inputs, if any. Modification times do not matter if the content is the same."""
    for old, new in zip_longest(here, asked):
        names = [each.url if each else "no more" for each in (old, new)]
        if names[0] != names[1]:
            return [
                f"of its {len(here):,} inputs one is {names[0]}, and of the {len(asked):,} asked for it is {names[1]}"
            ]
    return [
        f"{old.url} had {old.size:,} bytes ({old.digest[:16]}) as {old.kind}, and has {new.size:,} ({new.digest[:16]}) as {new.kind}"
        for old, new in zip(here, asked, strict=True)
        if not old.is_like(new)
    ][:1]


def _short(value: object) -> str:
    if isinstance(value, Space):
        kind = "" if value.kind == "dense" else f"{value.kind}, "
        return f"{value.model} ({kind}{value.dims} dims, {value.fingerprint})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(str, value[:3]))}{', ...' if len(value) > 3 else ''}]"
    return repr(value)
