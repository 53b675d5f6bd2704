"""embedry compared with other libraries, on the same files of all-MiniLM-L6-v2: `make bench`.

    python tests/benchmarks/bench.py            everything, in about 30 minutes on two cores
    python tests/benchmarks/bench.py --quick    a short form, to check that everything runs; its numbers are rough
    python tests/benchmarks/bench.py --write    also writes docs/benchmarks.md and docs/benchmarks.svg

Nothing here fails for being slow. docs/benchmarks.md describes what is measured and how.
"""

import argparse
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import chart
import loads
import machine
import model_files
import numpy as np
import processes
import report
from apart import Apart
from contenders import CONTENDERS, MODEL, OURS, REFERENCE, Contender, loaded
from numpy.typing import NDArray
from products import Products
from results import Agreement, Results
from turns import BLOCK, Measure, alternate, beside_of, crowd_of, latencies_of, seconds_of

from embedry import BackendImportError, OptionError, UnknownBackendError, resolve
from embedry_openvino import has_bf16


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    scale: float
    """Of the work loads, with 1 for all."""
    queries: int
    counts: tuple[int, ...]
    """Of the texts that are streamed."""
    large: int
    """Texts of the call that small ones are made beside."""


FULL = Effort(rounds=3, scale=1, queries=300, counts=(1_000, 30_000, 1_000_000), large=8192)
QUICK = Effort(rounds=1, scale=0.25, queries=40, counts=(1_000, 10_000), large=2048)


def main() -> None:
    """Measures, prints, and optionally writes."""
    parser = argparse.ArgumentParser(
        description="embedry compared with other libraries, on the same files of one model"
    )
    parser.add_argument("--quick", action="store_true", help="a short form; its numbers are rough")
    parser.add_argument("--write", action="store_true", help="also write docs/benchmarks.md and docs/benchmarks.svg")
    arguments = parser.parse_args()

    model_files.prepare()
    results = measure(QUICK if arguments.quick else FULL)
    print(report.markdown(results))
    if arguments.write:
        report.write(report.markdown(results), report.PAGE)
        chart.CHART.write_text(chart.draw(results), encoding="utf-8")


def measure(effort: Effort) -> Results:
    """Everything, in this order: vectors, work loads, queries, small calls beside large ones, fresh processes, streams."""
    threads = int(resolve(MODEL).info["threads"])
    texts = loads.collect(effort.scale)
    queries = texts["queries"].texts[: effort.queries]
    seconds: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as running:
        ready, left_out = load_all(threads, running)
        products = running.enter_context(Products(threads))
        agreements = compare(ready, loads.sample(texts))
        alternate("warm-up", all_of(ready, lambda apart, _: apart(seconds_of, texts["paragraphs"].texts[:64])), 1)
        for name, load in texts.items():
            turns = all_of(ready, lambda apart, _, load=load: apart(seconds_of, load.texts))
            if name == "paragraphs":
                turns |= {product: products.rate(product) for product in products.names}
            seconds[name] = alternate(name, turns, effort.rounds)
        latencies = alternate(
            "one query",
            all_of(ready, lambda apart, number: apart(latencies_of, queries[number * BLOCK : (number + 1) * BLOCK])),
            effort.queries // BLOCK,
        )
        concurrent = alternate(
            "many threads", all_of(ready, lambda apart, _: apart(crowd_of, queries[:100])), effort.rounds
        )
        calls = loads.beside(texts, effort.large)
        large = calls.pop("large")
        turns = {
            small: partial(lambda call, _: ready[OURS](beside_of, call, large), call) for small, call in calls.items()
        }
        besides = alternate("beside a large call", turns, effort.rounds)
    return Results(
        machine=described(threads, ready),
        left_out=left_out,
        loads=texts,
        agreements=agreements,
        seconds=seconds,
        products={product: seconds["paragraphs"].pop(product) for product in products.names},
        latencies=latencies,
        crowds=concurrent,
        besides=besides,
        first_uses=processes.first_uses(ready, threads, texts["paragraphs"].texts, effort.rounds),
        growths=processes.growths(effort.counts),
    )


def all_of(ready: Mapping[str, Apart], turn: Callable[[Apart, int], Measure]) -> dict[str, Callable[[int], Measure]]:
    """The same turn for every contender; it is given the round's number."""
    return {name: partial(turn, apart) for name, apart in ready.items()}


def load_all(threads: int, running: ExitStack) -> tuple[dict[str, Apart], dict[str, str]]:
    """The loaded contenders; and those that this processor or this version of embedry cannot run, with the reason."""
    left_out = {
        name: "This processor has no instructions for bfloat16."
        for name, entry in CONTENDERS.items()
        if entry.precision == "bf16" and not has_bf16()
    }
    started = {
        name: running.enter_context(Apart(name, partial(loaded, name, threads)))
        for name in CONTENDERS
        if name not in left_out
    }
    ready: dict[str, Apart] = {}
    for name, apart in started.items():
        try:
            apart.wait_until_loaded()
        except (OptionError, UnknownBackendError, BackendImportError) as error:
            left_out[name] = str(error)
        else:
            ready[name] = apart
    return ready, left_out


def described(threads: int, ready: Mapping[str, Apart]) -> dict[str, str]:
    """The machine, and the versions of the libraries that ran."""
    packages = (*machine.LIBRARIES, *(CONTENDERS[name].package for name in ready))
    return machine.facts(threads, "bench.py") | machine.versions(packages)


def compare(ready: Mapping[str, Apart], sample: list[str]) -> dict[str, Agreement]:
    """How far each contender's vectors of documents and queries are from the reference's."""
    reference = ready[REFERENCE](vectors_of, sample)
    return {name: Agreement.of(apart(vectors_of, sample), reference) for name, apart in ready.items()}


def vectors_of(contender: Contender, sample: list[str]) -> NDArray[np.float32]:
    """The vectors of the texts as documents, then as queries."""
    queries = [contender.encode_query(text) for text in sample]
    return np.concatenate([contender.encode_documents(sample), np.stack(queries)])


if __name__ == "__main__":
    main()
