"""Cold start, memory and growth: each measurement in a fresh process of its own."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from turns import alternate

FRESH = str(Path(__file__).with_name("fresh.py"))


@dataclass(frozen=True)
class FirstUse:
    """One life of a process: seconds of the import and to the first vector; peak MB after the paragraphs."""

    imported: float
    first_vector: float
    """From the start of the process, interpreter and all."""
    memory: float


@dataclass(frozen=True)
class Growth:
    """A stream of texts: how many, seconds of all of them, peak MB of the process."""

    count: int
    seconds: float
    memory: float


def first_uses(names: Iterable[str], threads: int, texts: list[str], rounds: int) -> dict[str, list[FirstUse]]:
    """Rounds of fresh processes. The files are already in the page cache, as on a machine where the model is in use."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps(texts), encoding="utf-8")

        def turn(name: str) -> Callable[[int], FirstUse]:
            return lambda number: _first_use(name, threads, path)

        return alternate("fresh processes", {name: turn(name) for name in names}, rounds)


def growths(counts: Iterable[int]) -> list[Growth]:
    """A fresh process for each count."""
    turns = {f"{count:,} texts": lambda number, count=count: _growth(count) for count in counts}
    return [growth for (growth,) in alternate("streams", turns, 1).values()]


def _first_use(name: str, threads: int, texts: Path) -> FirstUse:
    start = time.perf_counter()
    with _started("use", name, str(threads), str(texts)) as process:
        assert process.stdout is not None
        imported = process.stdout.readline()
        first_vector = time.perf_counter() - start
        memory = process.stdout.readline()
    _check(process)
    return FirstUse(float(imported), first_vector, float(memory))


def _growth(count: int) -> Growth:
    with _started("stream", str(count)) as process:
        assert process.stdout is not None
        seconds, memory = process.stdout.readline(), process.stdout.readline()
    _check(process)
    return Growth(count, float(seconds), float(memory))


def _started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, FRESH, *arguments], stdout=subprocess.PIPE, text=True)


def _check(process: subprocess.Popen[str]) -> None:
    if process.returncode != 0:
        sys.exit(f"{process.args!r} failed with exit code {process.returncode}")
