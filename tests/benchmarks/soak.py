"""Runs every backend with random lengths for a long time, and checks its memory: `make soak`.

    python tests/benchmarks/soak.py                  30 minutes, shared by the installed backends
    python tests/benchmarks/soak.py --minutes 2      a short form, to check that everything runs
    python tests/benchmarks/soak.py transformers     this backend alone

Each backend has a process of its own, which warms up for a third of its time. Its memory after that must be
flat: if the median of the last quarter is clearly above that of the second quarter, the exit code is 1.
"""

import argparse
import itertools
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contenders import MODEL
from model_files import fetch_weights

from embedry import Embedder, _backends, resolve

MOST_TEXTS = 300
MOST_WORDS = 400
CALLERS = 4
"""Concurrent threads."""
WARM_UP = 1 / 3
SHOWN = 10
"""Lines a backend."""
GROWTH = 0.05
GROWTH_MB = 30.0
"""The larger of the two is the tolerance: memory varies that much because of the allocator."""

WORDS = Path(__file__).read_text(encoding="utf-8").split()


def main() -> None:
    """Tests the backends one after the other, each in its own process; a single one in this process."""
    parser = argparse.ArgumentParser(
        description="check that the memory of every backend stays flat with random lengths"
    )
    parser.add_argument("backends", nargs="*", default=_backends.names(), help="by default all that are installed")
    parser.add_argument("--minutes", type=float, default=30.0, help="of all of them together")
    arguments = parser.parse_args()
    if len(arguments.backends) == 1:
        sys.exit(0 if is_flat(arguments.backends[0], arguments.minutes * 60) else 1)
    each = str(arguments.minutes / len(arguments.backends))
    codes = [
        subprocess.run([sys.executable, __file__, name, "--minutes", each], check=False).returncode
        for name in arguments.backends
    ]
    sys.exit(1 if any(codes) else 0)


def is_flat(backend: str, seconds: float) -> bool:
    """Works for so many seconds, prints the memory, and returns whether it stayed flat."""
    fetch_weights()
    start = time.monotonic()
    held: list[float] = []
    shown = 0
    for texts in work(resolve(MODEL, backend=backend), random.Random(0)):
        passed = (time.monotonic() - start) / seconds
        if passed >= WARM_UP:
            held.append(memory_mb())
            if (passed - WARM_UP) / (1 - WARM_UP) * SHOWN >= shown:
                shown += 1
                print(
                    f"{backend}: {held[-1]:7.1f} MB after {passed * seconds / 60:5.1f} minutes, {texts:,} texts",
                    flush=True,
                )
        if passed >= 1 and len(held) >= 4:
            break
    quarter = len(held) // 4
    before, after = statistics.median(held[quarter : 2 * quarter]), statistics.median(held[-quarter:])
    flat = after - before <= max(GROWTH * before, GROWTH_MB)
    print(
        f"{backend}: {before:.1f} MB in the second quarter, {after:.1f} MB in the last: {'flat' if flat else 'IT GROWS'}"
    )
    return flat


def work(embedder: Embedder, chance: random.Random) -> Iterator[int]:
    """Makes calls of every kind without end; yields how many texts were embedded so far."""
    done = 0
    with ThreadPoolExecutor(CALLERS) as callers:
        while True:
            batch = some_texts(chance)
            assert embedder.encode_document(batch).shape == (len(batch), embedder.dims)
            queries = some_texts(chance)[: 8 * CALLERS]
            assert len(list(callers.map(embedder.embed_query, queries))) == len(queries)
            stream = embedder.encode_stream(itertools.chain(some_texts(chance), some_texts(chance)), role="document")
            streamed = len(next(stream))  # the rest is dropped, like by a reader that stops early
            del stream
            done += len(batch) + len(queries) + streamed
            yield done


def some_texts(chance: random.Random) -> list[str]:
    """Mostly few and short ones, now and then many or long ones: the logarithms of both are spread evenly."""
    count = round(MOST_TEXTS ** chance.random())
    return [" ".join(chance.choices(WORDS, k=round(MOST_WORDS ** chance.random()))) for _ in range(count)]


def memory_mb() -> float:
    """The resident memory of this process, in millions of bytes; the peak where the system only reports that."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (peak if sys.platform == "darwin" else peak * 1024) / 1e6


if __name__ == "__main__":
    main()
