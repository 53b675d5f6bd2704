"""Kills bulk jobs on Ray, again and again, and compares their end with that of an undisturbed run; and measures their speed.

    python tests/benchmarks/kills_ray.py                5 kills of the driver and 20 of actors, in about 4 minutes
    python tests/benchmarks/kills_ray.py --actors 4     a form with other counts
    python tests/benchmarks/kills_ray.py --throughput   two actors of one thread beside one process of two threads, by turns

A job has 40 shards. Which actor is killed, and when, is random, as is when the driver is; the driver takes its cluster along, and
the next one goes on at once. A job that is complete before all kills are done is compared, and another one begins. The exit code
is 1 if a byte differs, or a row is lost, doubled or out of order. Linux only.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet as pq
from turns import alternate

SHARDS, SHARD_ROWS = 40, 60
MOST_WORDS = 80

ACTOR_LIVES = 0.2, 4.0
"""Seconds between two kills of actors, at least and at most."""
DRIVER_LIVES = 2.0, 20.0
"""Seconds of a driver; a cluster takes five or more to start, so some of them are killed before there is an actor."""

WARM_UP, COOL_DOWN = 6, 4
"""Shards that are not measured at the beginning and at the end, where the cluster starts, models load and an actor is idle."""
ROUNDS = 3
WANTED = 0.9
"""What two actors must reach of the rows a second of one process with two threads."""


def main() -> None:
    """Kills or measures, and prints what came of it."""
    parser = argparse.ArgumentParser(description="kill bulk jobs on Ray at random moments, or measure their speed")
    parser.add_argument("--actors", type=int, default=20, help="kills of actors")
    parser.add_argument("--drivers", type=int, default=5, help="kills of the driver")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--throughput", action="store_true", help="measure instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder / "in.parquet", random.Random(arguments.seed))
        if arguments.throughput:
            sys.exit(0 if is_fast(folder) else 1)
        torment = Torment(folder, arguments.drivers, arguments.actors, random.Random(arguments.seed))
        faults = torment.run()
    for what, count in torment.counts.items():
        print(f"{count:6,}  {what}")
    print(f"{len(faults):6,}  faults")
    print(*faults, sep="\n", end="")
    sys.exit(1 if faults else 0)


def write_inputs(path: Path, chance: random.Random) -> None:
    """Rows with an id and a text of random length."""
    words = Path(__file__).read_text(encoding="utf-8").split()
    texts = [" ".join(chance.choices(words, k=chance.randint(1, MOST_WORDS))) for _ in range(SHARDS * SHARD_ROWS)]
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=1000)


def started(folder: Path, job: Path, *options: str) -> subprocess.Popen[str]:
    """A process that plans or continues a job; it prints a line of JSON for each shard that is done."""
    command = ["-m", "embedry_cli", "bulk", "run", str(folder / "in.parquet"), "--to", str(job), "--json"]
    return subprocess.Popen(
        [sys.executable, *command, "--shard-rows", str(SHARD_ROWS), *options],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


class Torment:
    """Runs jobs and kills what computes them until the kills are used up.

    Args:
        folder: a folder with the inputs.
        drivers: kills of the driver.
        actors: kills of actors.
        chance: decides what is killed, and when.
    """

    def __init__(self, folder: Path, drivers: int, actors: int, chance: random.Random) -> None:
        self._folder = folder
        self._left = {"drivers": drivers, "actors": actors}
        self._chance = chance
        self.counts: Counter[str] = Counter()

    def run(self) -> list[str]:
        """What was wrong at the end of each job."""
        undisturbed = self._folder / "undisturbed"
        assert started(self._folder, undisturbed, "--threads", "1").wait() == 0
        faults: list[str] = []
        while any(self._left.values()):
            self.counts["jobs"] += 1
            job = self._folder / f"job-{self.counts['jobs']}"
            while self._driven(job) != 0:
                pass
            faults += [f"job {self.counts['jobs']}: {fault}" for fault in compared(job, undisturbed)]
            self.counts["shards compared"] += SHARDS
            self.counts["rows compared"] += SHARDS * SHARD_ROWS
        return faults

    def _driven(self, job: Path) -> int:
        """Runs a job until it ends or its driver is killed; returns the exit code."""
        driver = started(self._folder, job, "--on", "ray")
        begun = time.monotonic()
        end = begun + self._chance.uniform(*DRIVER_LIVES) if self._left["drivers"] else float("inf")
        following = begun + self._chance.uniform(*ACTOR_LIVES)
        while driver.poll() is None:
            time.sleep(0.05)
            if time.monotonic() > end:
                driver.kill()
                self._count("drivers", "kills of the driver")
                break
            if time.monotonic() > following and self._left["actors"] and (actors := actors_of(driver.pid)):
                os.kill(self._chance.choice(actors), signal.SIGKILL)
                self._count("actors", "kills of actors")
                following = time.monotonic() + self._chance.uniform(*ACTOR_LIVES)
        output, _ = driver.communicate()
        self.counts["shards that drivers reported as done"] += output.count('"event": "done"')
        self.counts["shards given up, for the next run"] += output.count('"event": "failed"')
        return driver.wait()

    def _count(self, kind: str, what: str) -> None:
        self._left[kind] -= 1
        self.counts[what] += 1


def actors_of(driver: int) -> list[int]:
    """The processes of actors in the cluster that a driver has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cmdline").read_bytes().startswith(b"ray::ShardActor") and driver in ancestors(process):
                found.append(int(process.name))
        except OSError:  # it has just ended
            continue
    return found


def ancestors(process: Path) -> list[int]:
    """The process that has started this one, and the one that has started that, and so on."""
    parent = int(process.joinpath("stat").read_text().rpartition(")")[2].split()[1])
    return [parent, *ancestors(process.with_name(str(parent)))] if parent > 1 else []


def compared(job: Path, undisturbed: Path) -> list[str]:
    """What differs between the results of two runs, and what is wrong with the rows."""
    here, there = ({path.name: path.read_bytes() for path in (each / "data").iterdir()} for each in (job, undisturbed))
    faults = [f"{name} differs" for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]
    ids = [number for path in sorted((job / "data").iterdir()) for number in pq.read_table(path)["id"].to_pylist()]
    lost, doubled = set(range(SHARDS * SHARD_ROWS)) - set(ids), len(ids) - len(set(ids))
    if lost or doubled or ids != sorted(ids):
        faults.append(
            f"{len(lost)} rows are lost, {doubled} doubled, and the others {'not ' * (ids != sorted(ids))}in order"
        )
    return faults


def is_fast(folder: Path) -> bool:
    """Measures both by turns, prints their rows a second, and returns whether actors are fast enough."""
    turns = {
        "two actors of one thread": lambda number: rate(folder, f"ray-{number}", "--on", "ray", "--threads", "1"),
        "one process of two threads": lambda number: rate(folder, f"local-{number}", "--threads", "2"),
    }
    measured = alternate("throughput", turns, ROUNDS)
    for name, rates in measured.items():
        print(f"{name:>28}: {', '.join(f'{each:,.1f}' for each in rates)} rows/s")
    ratio = statistics.median(one / other for one, other in zip(*measured.values(), strict=True))
    print(f"{'median of the ratios':>28}: {ratio:.2f}, wanted {WANTED}")
    print(
        f"measured from the end of shard {WARM_UP} to that of shard {SHARDS - COOL_DOWN} of {SHARDS}, so without the start of "
        "processes and of the cluster, without loading the model, and without the end, where an actor is idle"
    )
    return ratio >= WANTED


def rate(folder: Path, name: str, *options: str) -> float:
    """Rows a second of a job, in the part in which nothing starts and nothing ends."""
    moments, rows = [], []
    with started(folder, folder / name, *options) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "done":
                moments.append(time.monotonic())
                rows.append(event["rows"])
    assert process.returncode == 0
    return sum(rows[WARM_UP:-COOL_DOWN]) / (moments[-COOL_DOWN - 1] - moments[WARM_UP - 1])


if __name__ == "__main__":
    main()
