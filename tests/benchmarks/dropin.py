"""BERTopic, KeyBERT and SemHash with sentence-transformers' object and with the drop-in: `make bench-dropin`.

    python tests/benchmarks/dropin.py            everything, in about 5 minutes on two cores
    python tests/benchmarks/dropin.py --quick    one round
    python tests/benchmarks/dropin.py --write    also writes the table into docs/frameworks/drop-in.md

Each object is in a process of its own, and the two alternate. A library does all of its work with its defaults: to the
embedding comes what it does with the vectors, which takes the same time with either. The texts are paragraphs of Python's own
documentation.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import loads
import model_files
import numpy as np
import report
from apart import Apart
from contenders import COMPLETE, MODEL, OURS, REFERENCE
from results import TOLERANCE, Spread
from turns import alternate

PAGE = Path(__file__).parents[2] / "docs" / "frameworks" / "drop-in.md"
BEGIN, END = "<!-- table: written by tests/benchmarks/dropin.py -->", "<!-- end of the table -->"

ROUNDS = 5
COLUMNS = ("", "texts", f"with {REFERENCE}", f"with {OURS}", "ratio of the times")


def reference() -> Any:
    """The object that people have."""
    _leave_out_clients()
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(COMPLETE), device="cpu")


def drop_in() -> Any:
    """The same after its import was changed."""
    _leave_out_clients()
    from embedry_dropin import SentenceTransformer

    return SentenceTransformer(MODEL)


def _leave_out_clients() -> None:
    """Clients of language models, which BERTopic and KeyBERT import where they are installed, and which may ask a network."""
    sys.modules |= dict.fromkeys(("cohere", "langchain", "langchain_core", "litellm", "openai"))


def topics(model: Any, texts: list[str]) -> object:
    """The topic of each text."""
    from bertopic import BERTopic

    return BERTopic(embedding_model=model).fit_transform(texts)


def keywords(model: Any, texts: list[str]) -> object:
    """The keywords of each text."""
    from keybert import KeyBERT

    return KeyBERT(model).extract_keywords(texts)


def duplicates(model: Any, texts: list[str]) -> object:
    """The texts without near-duplicates."""
    from semhash import SemHash

    return SemHash.from_records(texts, model=model).self_deduplicate()


WORK: dict[str, tuple[Callable[[Any, list[str]], object], int]] = {
    "BERTopic": (topics, 500),
    "KeyBERT": (keywords, 50),
    "SemHash": (duplicates, 500),
}
"""What a library does, and with how many texts."""


def main() -> None:
    """Measures, prints, and optionally writes."""
    parser = argparse.ArgumentParser(description="libraries with sentence-transformers and with the drop-in")
    parser.add_argument("--quick", action="store_true", help="one round; its numbers are rough")
    parser.add_argument("--write", action="store_true", help="also write the table into docs/frameworks/drop-in.md")
    parser.add_argument("--only", choices=list(WORK), help="measure one of the libraries")
    arguments = parser.parse_args()
    model_files.fetch_weights()
    if not COMPLETE.exists():
        COMPLETE.parent.mkdir(parents=True, exist_ok=True)
        model_files._download(COMPLETE)
    paragraphs = loads.collect(4)["paragraphs"].texts
    with ExitStack() as running:
        ready = {
            name: running.enter_context(Apart(name, load))
            for name, load in {REFERENCE: reference, OURS: drop_in}.items()
        }
        for apart in ready.values():
            apart.wait_until_loaded()
        one, other = (apart(vectors, paragraphs[:100]) for apart in ready.values())
        if np.abs(one - other).max() > TOLERANCE:
            raise SystemExit(f"the vectors differ by {np.abs(one - other).max()}")
        rows = []
        for name in [arguments.only] if arguments.only else WORK:
            work, count = WORK[name]
            texts = paragraphs[:count]
            for apart in ready.values():
                apart(seconds, work, texts[: count // 5])  # which imports the library, and compiles what it compiles
            turns = {key: partial(turn, apart, work, texts) for key, apart in ready.items()}
            rows.append(row(name, count, alternate(name, turns, 1 if arguments.quick else ROUNDS)))
            print(report.table(COLUMNS, rows[-1:]), flush=True)
    table = report.table(COLUMNS, rows)
    print(table)
    if arguments.write:
        report.write(table, PAGE, BEGIN, END)


def vectors(model: Any, texts: list[str]) -> Any:
    """float32 (texts, 384)."""
    return model.encode(texts)


def turn(apart: Apart, work: Callable[[Any, list[str]], object], texts: list[str], _: int) -> float:
    """Seconds of the work in one round."""
    return apart(seconds, work, texts)


def seconds(model: Any, work: Callable[[Any, list[str]], object], texts: list[str]) -> float:
    """Seconds of the work."""
    start = time.perf_counter()
    work(model, texts)
    return time.perf_counter() - start


def row(name: str, count: int, found: dict[str, list[float]]) -> tuple[str, ...]:
    """A row of the table."""
    ratio = Spread.of([theirs / ours for theirs, ours in zip(found[REFERENCE], found[OURS], strict=True)])
    times = [f"{statistics.median(found[key]):.2f} s" for key in (REFERENCE, OURS)]
    return name, f"{count:,}", *times, f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})"


if __name__ == "__main__":
    main()
