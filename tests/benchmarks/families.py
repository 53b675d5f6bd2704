"""embedry beside sentence-transformers on architectures at their real sizes, with random weights: `make bench-families`.

    python tests/benchmarks/families.py            everything, in about 15 minutes on two cores
    python tests/benchmarks/families.py --quick    one round
    python tests/benchmarks/families.py --write    also writes the table into docs/benchmarks.md

Speed and memory do not depend on what the weights are, only on their number and on the texts. Both libraries read the same
files, each in a process of its own, and alternate. docs/benchmarks.md describes what is measured.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import fresh
import loads
import model_files
import numpy as np
import report
import sizes
from apart import Apart
from contenders import OURS, REFERENCE, Contender, Embedry, SentenceTransformers
from results import Spread
from turns import alternate, latencies_of, seconds_of

from embedry import resolve

BEGIN, END = "<!-- families: written by the benchmark -->", "<!-- end of the families -->"

LONG = 8192
"""Tokens of the long text."""


LIBRARIES: dict[str, Callable[[int, Path], Contender]] = {OURS: Embedry, REFERENCE: SentenceTransformers}


def main() -> None:
    """Measures, prints, and optionally writes."""
    parser = argparse.ArgumentParser(description="embedry beside sentence-transformers, at the sizes of real models")
    parser.add_argument("--quick", action="store_true", help="one round; its numbers are rough")
    parser.add_argument("--write", action="store_true", help="also write the table into docs/benchmarks.md")
    parser.add_argument("--only", choices=list(sizes.MODELS), help="measure one of the models")
    arguments = parser.parse_args()

    model_files.prepare()
    threads = int(resolve("all-MiniLM-L6-v2").info["threads"])
    rows = []
    for name in [arguments.only] if arguments.only else sizes.MODELS:
        rows += measure(name, threads, rounds=1 if arguments.quick else 3)
        print(report.table(COLUMNS, rows[-2:]), flush=True)
    table = report.table(COLUMNS, rows)
    print(table)
    if arguments.write:
        report.write(table, report.PAGE, BEGIN, END)


COLUMNS = (
    "", "", "paragraphs/s", f"{REFERENCE} = 1", "one query", f"{REFERENCE} = 1", "memory", f"a text of {LONG:,} tokens",
    "memory for it",
)  # fmt: skip


def measure(name: str, threads: int, rounds: int) -> list[tuple[str, ...]]:
    """The rows of one model: what each library reaches, alternating."""
    folder = sizes.folder(name)
    texts = loads.collect(0.5)
    paragraphs, queries = texts["paragraphs"].texts, texts["queries"].texts[:40]
    with Apart(OURS, partial(Embedry, threads, folder)) as first:
        first.wait_until_loaded()  # which compiles the graph, once for all processes that come
    with ExitStack() as running:
        ready = {
            library: running.enter_context(Apart(library, partial(load, threads, folder)))
            for library, load in LIBRARIES.items()
        }
        for apart in ready.values():
            apart.wait_until_loaded()
        found = {library: apart(vectors_of, paragraphs[:16]) for library, apart in ready.items()}
        difference = float(np.abs(found[OURS] - found[REFERENCE]).max())
        if difference > 1e-4:
            raise SystemExit(f"{name}: the vectors differ by {difference}")
        rates = alternate(name, {key: partial(turn, apart, paragraphs) for key, apart in ready.items()}, rounds)
        asked = alternate(name, {key: partial(ask, apart, queries) for key, apart in ready.items()}, 2 * rounds)
        memory = {library: apart(memory_of) for library, apart in ready.items()}
        long = {library: apart(long_of) for library, apart in ready.items()} if sizes.MODELS[name].reads >= LONG else {}
    speed = Spread.of([theirs / own for own, theirs in zip(rates[OURS], rates[REFERENCE], strict=True)])
    delay = Spread.of([own / theirs for own, theirs in zip(asked[OURS], asked[REFERENCE], strict=True)])
    rows = []
    for library in LIBRARIES:
        ours = library == OURS
        seconds, extra = long.get(library, (None, None))
        rows.append(
            (
                name,
                library,
                f"{len(paragraphs) / statistics.median(rates[library]):,.1f}",
                _spread(speed) if ours else "1",
                f"{statistics.median(asked[library]) * 1000:.1f} ms",
                _spread(delay) if ours else "1",
                f"{memory[library]:,.0f} MB",
                f"{seconds:.1f} s" if seconds is not None else "",
                f"{extra:,.0f} MB" if extra is not None else "",
            )
        )
    return rows


def _spread(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.least:.2f} to {spread.most:.2f})"


def turn(apart: Apart, texts: list[str], _: int) -> float:
    """Seconds of all texts in one call."""
    return apart(seconds_of, texts)


def ask(apart: Apart, queries: list[str], _: int) -> float:
    """Median seconds of one query."""
    return statistics.median(apart(latencies_of, queries))


def vectors_of(contender: Contender, texts: list[str]) -> "np.ndarray":
    """Vectors of some texts."""
    return contender.encode_documents(texts)


def memory_of(contender: Contender) -> float:
    """What the process takes of the machine's memory, in MB: a page that it has mapped twice counts once (Pss of proc(5))."""
    (line,) = (each for each in Path("/proc/self/smaps_rollup").read_text().splitlines() if each.startswith("Pss:"))
    return int(line.split()[1]) * 1024 / 1e6


def long_of(contender: Contender) -> tuple[float, float]:
    """Seconds of one long text, and how far the memory rose above what was resident before, in MB."""
    text = "word " * LONG  # more than the model reads, with the special tokens
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = fresh.peak_memory()
    start = time.perf_counter()
    contender.encode_documents([text])
    return time.perf_counter() - start, fresh.peak_memory() - before


if __name__ == "__main__":
    main()
