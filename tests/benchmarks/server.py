"""embedry's server beside others, on the same files of all-MiniLM-L6-v2: `make bench-server`.

    python tests/benchmarks/server.py            everything, in about 17 minutes on two cores
    python tests/benchmarks/server.py --quick    a short form, to check that everything runs; its numbers are rough
    python tests/benchmarks/server.py --write    also writes the tables into docs/benchmarks.md

Nothing here fails for being slow. docs/benchmarks.md describes what is measured and how.
"""

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import loads
import machine
import model_files
import numpy as np
import report
import server_report
from apart import Apart
from contenders import MODEL, Contender, loaded
from contenders import OURS as EMBEDRY
from numpy.typing import NDArray
from server_report import ENCODE, Results
from server_turns import Window, Work, asked, batch_seconds, beside, encoded
from servers import OURS, SERVERS, Server, versions_beside
from turns import alternate

from embedry import resolve

SCALE = 8
"""Of the texts, with 1 for those of `make bench`: all that the standard library has of questions."""

CONNECTIONS = 64
"""Of one question each."""
GROUP = 64
"""Paragraphs a request, from this many callers:"""
CALLERS = 4

PACKAGES = ("embedry-server", "embedry-onnxruntime", "onnxruntime", "uvicorn", "sentence-transformers", "fastapi", "torch",
            "transformers")  # fmt: skip


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    window: Window
    """Of each turn."""
    beside: float
    """Seconds of lone questions."""
    large: int
    """Paragraphs of a large request."""


FULL = Effort(rounds=3, window=Window(5, 35), beside=30, large=2000)
QUICK = Effort(rounds=1, window=Window(2, 8), beside=8, large=400)


def main() -> None:
    """Measures, prints, and optionally writes."""
    parser = argparse.ArgumentParser(description="embedry's server beside others, on the same files of one model")
    parser.add_argument("--quick", action="store_true", help="a short form; its numbers are rough")
    parser.add_argument("--write", action="store_true", help="also write the tables into docs/benchmarks.md")
    arguments = parser.parse_args()

    model_files.prepare()
    text = server_report.markdown(measure(QUICK if arguments.quick else FULL))
    print(text)
    if arguments.write:
        report.write(text, report.PAGE, server_report.BEGIN, server_report.END)


def measure(effort: Effort) -> Results:
    """Everything, in this order: the two loads by turns, then a lone question beside large requests."""
    threads = int(resolve(MODEL).info["threads"])
    texts = loads.collect(SCALE)
    questions, paragraphs = texts["queries"].texts, texts["paragraphs"].texts
    groups = [paragraphs[start : start + GROUP] for start in range(0, len(paragraphs) - GROUP + 1, GROUP)]
    with ExitStack() as running:
        encode = running.enter_context(Apart(ENCODE, partial(loaded, EMBEDRY, threads)))
        encode.wait_until_loaded()
        one = work(encode, [[question] for question in questions], CONNECTIONS)
        many = work(encode, groups, CALLERS)
        large = work(encode, [paragraphs[: effort.large]], 1)

        servers: dict[str, Server] = {}
        for name in SERVERS:
            servers[name] = running.enter_context(Server.of(name, threads))
            servers[name].pause()
        turns = {name: partial(asked, server, one, effort.window) for name, server in servers.items()}
        singles = alternate("questions", turns, effort.rounds)
        turns = {name: partial(asked, server, many, effort.window) for name, server in servers.items()}
        besides = {ENCODE: lambda _: encode(encoded, many, effort.window)}
        batches = alternate("paragraphs", turns | besides, effort.rounds)
        lone = beside(servers[OURS], one, large, effort.beside, encode(batch_seconds, effort.beside / 4))
    packages = machine.versions(PACKAGES) | versions_beside()
    return Results(
        machine=machine.facts(threads, "server.py") | packages,
        questions=singles,
        paragraphs=batches,
        beside=lone,
        group=GROUP,
        described={"questions": texts["queries"].described, "paragraphs": texts["paragraphs"].described},
        large=effort.large,
    )


def work(encode: Apart, groups: list[list[str]], callers: int) -> Work:
    """A load with the vectors that `encode` gives for it."""
    vectors = encode(vectors_of, [text for group in groups for text in group])
    ends = np.cumsum([len(group) for group in groups])
    return Work(groups, callers, np.split(vectors, ends[:-1]))


def vectors_of(contender: Contender, texts: list[str]) -> NDArray[np.float32]:
    """The vectors of one call."""
    return contender.encode_documents(texts)


if __name__ == "__main__":
    main()
