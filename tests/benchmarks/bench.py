"""embedry beside others, all on the same files of all-MiniLM-L6-v2: `make bench`.

    python tests/benchmarks/bench.py            everything, in 15 to 20 minutes on two cores
    python tests/benchmarks/bench.py --quick    a short form, to see that all runs; its numbers are rough
    python tests/benchmarks/bench.py --write    also writes docs/benchmarks.md and docs/benchmarks.svg

Nothing here can fail for being slow. What was measured and how is told in docs/benchmarks.md.
"""

import argparse
from dataclasses import dataclass

import chart
import loads
import machine
import model_files
import numpy as np
import processes
import report
from contenders import CONTENDERS, MODEL, REFERENCE, Contender
from products import LIBRARIES, Products
from results import Agreement, Results
from turns import BLOCK, alternate, crowd_of, latencies_of, seconds_of

from embedry import OptionError, resolve


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    scale: float
    """Of the work loads, with 1 for all."""
    queries: int
    counts: tuple[int, ...]
    """Of the texts that are streamed."""


FULL = Effort(rounds=3, scale=1, queries=300, counts=(1_000, 30_000, 1_000_000))
QUICK = Effort(rounds=1, scale=0.25, queries=40, counts=(1_000, 10_000))


def main() -> None:
    """Measures, prints, and writes if asked to."""
    parser = argparse.ArgumentParser(description="embedry beside others, all on the same files of one model")
    parser.add_argument("--quick", action="store_true", help="a short form; its numbers are rough")
    parser.add_argument("--write", action="store_true", help="also write docs/benchmarks.md and docs/benchmarks.svg")
    arguments = parser.parse_args()

    model_files.prepare()
    results = measure(QUICK if arguments.quick else FULL)
    print(report.markdown(results))
    if arguments.write:
        report.write(results, report.PAGE)
        chart.CHART.write_text(chart.draw(results), encoding="utf-8")


def measure(effort: Effort) -> Results:
    """Everything, in this order: vectors, work loads, queries, fresh processes, streams."""
    threads = int(resolve(MODEL).info["threads"])
    texts = loads.collect(effort.scale)
    ready, left_out = load_all(threads)
    agreements = compare(ready, loads.sample(texts))
    alternate("warm-up", {name: seconds_of(ready[name], texts["paragraphs"].texts[:64]) for name in ready}, 1)

    queries = texts["queries"].texts[: effort.queries]
    seconds: dict[str, dict[str, list[float]]] = {}
    with Products(threads) as products:
        for name, load in texts.items():
            turns = {contender: seconds_of(ready[contender], load.texts) for contender in ready}
            if name == "paragraphs":
                turns |= {library: products.rate(library) for library in LIBRARIES}
            seconds[name] = alternate(name, turns, effort.rounds)
    latencies = alternate(
        "one query", {name: latencies_of(ready[name], queries) for name in ready}, effort.queries // BLOCK, rest=0.02
    )
    return Results(
        machine=machine.describe(threads),
        left_out=left_out,
        loads=texts,
        agreements=agreements,
        seconds=seconds,
        products={library: seconds["paragraphs"].pop(library) for library in LIBRARIES},
        latencies={name: [second for block in blocks for second in block] for name, blocks in latencies.items()},
        crowds=alternate("many threads", {name: crowd_of(ready[name], queries[:100]) for name in ready}, effort.rounds),
        first_uses=processes.first_uses(ready, threads, texts["paragraphs"].texts, effort.rounds),
        growths=processes.growths(effort.counts),
    )


def load_all(threads: int) -> tuple[dict[str, Contender], dict[str, str]]:
    """The contenders, loaded; and those with an option that this version of embedry does not know, with its reason."""
    ready: dict[str, Contender] = {}
    left_out: dict[str, str] = {}
    for name, entry in CONTENDERS.items():
        try:
            ready[name] = entry.load(threads)
        except OptionError as error:
            left_out[name] = str(error)
    return ready, left_out


def compare(ready: dict[str, Contender], sample: list[str]) -> dict[str, Agreement]:
    """How far everybody's documents and queries are from the reference's."""
    reference = ready[REFERENCE].encode_documents(sample)
    both = np.concatenate([reference, np.stack([ready[REFERENCE].encode_query(text) for text in sample])])
    return {
        name: Agreement.of(
            np.concatenate([
                contender.encode_documents(sample), np.stack([contender.encode_query(text) for text in sample])
            ]), both
        )
        for name, contender in ready.items()
    }  # fmt: skip


if __name__ == "__main__":
    main()
