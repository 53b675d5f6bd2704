"""Kills a bulk job with SIGKILL, again and again, and compares its end with that of an undisturbed run.

    python tests/bulk_kills.py               100 kills at random moments, and 5 at each stage by name
    python tests/bulk_kills.py --kills 10    a short form

Prints at which stage the job was killed how often, and what became of its rows. The exit code is 1 if a byte differs, a row is
lost, doubled or out of order, or a stage was never hit.
"""

import argparse
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

STAGES = (
    "starting",
    "computing",
    "before the temporary write",
    "after the temporary write",
    "before the rename",
    "after the rename",
    "before the record",
    "after the record",
)
"""What a job is at. Random kills hit the first two most often; the others are hit by name."""

SHARDS, SHARD_ROWS = 40, 30


def main() -> None:
    """Kills, compares, prints."""
    parser = argparse.ArgumentParser(description="kill a bulk job at random moments, and at each stage by name")
    parser.add_argument("--kills", type=int, default=100, help="at random moments")
    parser.add_argument("--named", type=int, default=5, help="at each stage by name")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # the rest is for the process that is killed
    parser.add_argument("--board", default="", help=argparse.SUPPRESS)
    parser.add_argument("--stage", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        run_on_board(arguments.job, Path(arguments.board), arguments.stage, arguments.count)
        return
    with tempfile.TemporaryDirectory() as folder:
        counts, faults = torment(Path(folder), "all-MiniLM-L6-v2", arguments.kills, arguments.named)
    for stage in STAGES:
        print(f"{stage:>28}: {counts[stage]:4} kills")
    print(f"{'in all':>28}: {counts.total():4} kills; {len(faults)} faults")
    for fault in faults:
        print(fault)
    sys.exit(1 if faults or not all(counts[stage] for stage in STAGES) else 0)


def torment(folder: Path, model: str, kills: int, named: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """How often a job was killed at each stage, and what was wrong at the end of one that came to its end.

    A job that is complete before the kills are used up begins again.

    Args:
        folder: an empty folder.
        model: a name that `resolve` takes.
        kills: at random moments.
        named: at each stage but "computing" by name.
        seed: of the moments.
    """
    chance = random.Random(seed)
    inputs = folder / "in.parquet"
    write_inputs(inputs, chance)
    undisturbed = folder / "undisturbed"
    plan(inputs, undisturbed, model)
    began = time.monotonic()
    assert run(undisturbed) == 0
    patience = time.monotonic() - began

    counts: Counter[str] = Counter()
    faults: list[str] = []
    aims = [
        (stage, chance.randrange(10) if stage else 0)  # it starts once, and does all else once a shard
        for stage in range(len(STAGES))
        for _ in range(named)
        if STAGES[stage] != "computing"
    ]
    aims += [(-1, 0)] * kills
    chance.shuffle(aims)
    job = folder / "job"
    while aims:
        if not job.exists():
            plan(inputs, job, model)
        stage, count = aims.pop()
        hit = killed(job, folder / "board", stage, count, chance.uniform(0.3, 1) * min(patience, 2.0))
        if hit is not None:
            counts[hit] += 1
        else:  # complete before it could be killed
            aims.append((stage, count))
            faults += compared(job, undisturbed)
            shutil.rmtree(job)
    if job.exists():
        assert run(job) == 0
        faults += compared(job, undisturbed)
    return counts, faults


def write_inputs(path: Path, chance: random.Random) -> None:
    """Rows with an id, a text, and now and then a null."""
    words = Path(__file__).read_text(encoding="utf-8").split()
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 40))) for _ in range(SHARDS * SHARD_ROWS)]
    texts[7::301] = [None] * len(texts[7::301])  # type: ignore[list-item]
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=100)


def plan(inputs: Path, job: Path, model: str) -> None:
    """Plans a job of 40 shards."""
    from embedry_bulk import make_plan

    make_plan([str(inputs)], str(job), model=model, shard_rows=SHARD_ROWS)


def run(job: Path) -> int:
    """Runs it to its end; returns the exit code."""
    return subprocess.run(_command(job), check=False, stderr=subprocess.DEVNULL).returncode


def killed(job: Path, board: Path, stage: int, count: int, seconds: float) -> str | None:
    """Runs a job and kills it, when it is at a stage for the given time, or after some seconds; the stage that it was at.

    None if it was complete before.
    """
    board.write_bytes(bytes(1))
    process = subprocess.Popen(
        [*_command(job), "--board", str(board), "--stage", str(stage), "--count", str(count)], stderr=subprocess.DEVNULL
    )
    if stage < 0:
        time.sleep(seconds)
        process.kill()
    process.wait()
    return STAGES[board.read_bytes()[0]] if process.returncode == -signal.SIGKILL else None


def _command(job: Path) -> list[str]:
    return [sys.executable, __file__, "--job", str(job)]


def run_on_board(job: str, board: Path, stage: int, count: int) -> None:
    """Runs a job, and writes on a board, a byte that another process reads, at which stage it is. Kills itself at one of them."""
    shown = mmap.mmap(os.open(board, os.O_RDWR), 1) if board.name else None
    left = count

    def at(name: str) -> None:
        nonlocal left
        if shown is None:
            return
        shown[0] = STAGES.index(name)
        if STAGES.index(name) == stage:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    at("starting")
    from embedry_bulk import outputs, parts
    from embedry_bulk.folder import LocalFolder
    from embedry_cli.app import main as embedry

    def around(owner: Any, name: str, before: Callable[..., str | None], after: Callable[..., str | None]) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def staged(*given: Any, **named: Any) -> Any:
            if (stage_before := before(*given)) is not None:
                at(stage_before)
            result = original(*given, **named)
            if (stage_after := after(*given)) is not None:
                at(stage_after)
            return result

        setattr(owner, name, staged)

    def published(when: str) -> Callable[..., str | None]:
        return lambda _, local, name: f"{when} the {'record' if name.startswith('done/') else 'rename'}"

    around(outputs, "open_part", lambda *_: "before the temporary write", lambda *_: "computing")
    around(parts.ParquetPart, "close", lambda *_: None, lambda *_: "after the temporary write")
    around(LocalFolder, "publish", published("before"), published("after"))
    embedry(["bulk", "run", job, "--max-rejected", "1%"])


def compared(job: Path, undisturbed: Path) -> list[str]:
    """What differs between the results of two runs, and what is wrong with the rows."""
    faults = []
    for folder in ("data", "rejected"):
        there, here = ({path.name: path for path in (each / folder).iterdir()} for each in (undisturbed, job))
        if there.keys() != here.keys():
            faults.append(f"{folder} has {sorted(here.keys() ^ there.keys())}")
        faults += [
            f"{folder}/{name} differs"
            for name in there
            if name in here and here[name].read_bytes() != there[name].read_bytes()
        ]
    ids = pq.read_table(job / "data").column("id").to_pylist()
    rejected = pq.read_table(job / "rejected").column("row").to_pylist()
    if sorted(ids + rejected) != list(range(SHARDS * SHARD_ROWS)):
        faults.append(
            f"{len(ids)} rows and {len(rejected)} rejected ones instead of {SHARDS * SHARD_ROWS}, or some of them twice"
        )
    if ids != sorted(ids):
        faults.append("rows are out of order")
    faults += [f"{path} is left" for path in job.glob("tmp*")]
    return faults


if __name__ == "__main__":
    main()
