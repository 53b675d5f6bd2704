"""The records of a job: completed shards with their content, and failed shards."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from embedry_bulk.errors import OutputError
from embedry_bulk.plan import Plan

DONE = "done"
FAILED = "failed"

DATA, IDS, REJECTED = "data", "ids", "rejected"
"""The folders of a job that hold results."""


class Written(NamedTuple):
    """A written file of a shard."""

    name: str
    """Its place in the job's folder."""
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """A complete shard: all its files are in place."""

    plan: str
    """The digest of the plan."""
    shard: int
    rows: int
    """Rows that have a vector."""
    rejected: int
    """Rows that have none, and a reason."""
    truncated: int
    """Texts of which the model read only the beginning."""
    tokens: int
    """That the model read; 0 where the engine does not say."""
    files: tuple[Written, ...]
    seconds: float
    """That reading, computing and writing took."""
    worker: str
    """Who computed it: machine and process."""
    engine: Mapping[str, str]
    """What computed the vectors, as the engine says."""

    def as_json(self) -> bytes:
        """What its file holds."""
        return json.dumps(asdict(self) | {"files": [each._asdict() for each in self.files]}, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Done":
        """Parses the result of `as_json`.

        Raises:
            ValueError, TypeError, LookupError: the content is invalid.
        """
        values = json.loads(content)
        return cls(**(values | {"files": tuple(Written(**each) for each in values["files"])}))


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A shard that could not be computed. The next run retries it."""

    plan: str
    shard: int
    reason: str
    attempts: int

    def as_json(self) -> bytes:
        """What its file holds."""
        return json.dumps(asdict(self), indent=1).encode()


def done_shards(plan: Plan) -> dict[int, Done]:
    """The complete shards, by number: they have a record, and their files have the recorded sizes.

    Raises:
        OutputError: the records belong to another plan.
    """
    found = list(_records(plan))  # before the sizes: a shard may be completed meanwhile, and its record comes last
    sizes = {
        f"{folder}/{name}": size for folder in (DATA, IDS, REJECTED) for name, size in plan.folder.sizes(folder).items()
    }
    return {done.shard: done for done in found if all(sizes.get(each.name) == each.size for each in done.files)}


def forget_broken(plan: Plan) -> dict[int, Done]:
    """Like `done_shards`, after removing records that cannot be read, or whose files are missing or have another size."""
    names = list(plan.folder.sizes(DONE))
    done = done_shards(plan)
    sound = {record_name(plan, shard) for shard in done}
    for name in names:
        if f"{DONE}/{name}" not in sound:
            plan.folder.remove(f"{DONE}/{name}")
    return done


def is_done(plan: Plan, shard: int) -> bool:
    """Whether a shard has been completed by any worker."""
    return plan.folder.read(record_name(plan, shard)) is not None


def recorded(plan: Plan) -> set[int]:
    """The shards that have a record now. Needs one listing, so frequent calls are cheap."""
    names = (name.partition(".")[0] for name in plan.folder.sizes(DONE))
    return {int(name) for name in names if name.isdecimal()}


def failed_shards(plan: Plan) -> dict[int, Failed]:
    """The shards that failed and were not completed since, by number."""
    found = {}
    for content in plan.folder.read_all(FAILED).values():
        try:
            failed = Failed(**json.loads(content))
        except (ValueError, TypeError):
            continue  # damaged: it says no more than that its shard is not done
        if failed.plan == plan.digest:
            found[failed.shard] = failed
    return found


def write(record: Done | Failed, plan: Plan, folder: Path) -> None:
    """Writes a record through a local folder. A done record removes the failed one."""
    name = record_name(plan, record.shard, DONE if isinstance(record, Done) else FAILED)
    path = folder / name.replace("/", "-")
    path.write_bytes(record.as_json())
    plan.folder.publish(path, name)
    if isinstance(record, Done):
        plan.folder.remove(record_name(plan, record.shard, FAILED))


def record_name(plan: Plan, shard: int, folder: str = DONE) -> str:
    """The path of a shard's record."""
    return f"{folder}/{plan.name(shard)}.json"


def total(done: Iterable[Done]) -> Mapping[str, int]:
    """Totals of rows, rejected rows, truncated texts and tokens."""
    names = ("rows", "rejected", "truncated", "tokens")
    sums = dict.fromkeys(names, 0)
    for each in done:
        for name in names:
            sums[name] += getattr(each, name)
    return sums


def _records(plan: Plan) -> Iterator[Done]:
    for name, content in plan.folder.read_all(DONE).items():
        try:
            done = Done.from_json(content)
        except (ValueError, TypeError, LookupError):
            continue  # damaged: its shard counts as not done
        if done.plan != plan.digest:
            raise OutputError(
                f"{plan.url}/{DONE}/{name} belongs to another plan ({done.plan}, not {plan.digest}): "
                "plan.json was replaced; restore it, or start in an empty folder"
            )
        yield done
