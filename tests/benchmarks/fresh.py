"""Measurements in a fresh process: run as a script by `processes.py`, never imported.

    python fresh.py use CONTENDER THREADS TEXTS.json    loads, embeds a query, then the texts
    python fresh.py stream COUNT                        embeds COUNT short texts that are never all in memory

Each line that is printed is one number.
"""

import importlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from contenders import COMPLETE, CONTENDERS, MODEL

QUERY = "what is the refund policy?"


def use(name: str, threads: int, texts: Path) -> None:
    """Prints the seconds of the import when the first vector is ready, then the peak memory in MB."""
    start = time.perf_counter()
    importlib.import_module(CONTENDERS[name].module)
    imported = time.perf_counter() - start
    contender = CONTENDERS[name].load(threads)
    contender.encode_query(QUERY)
    print(imported, flush=True)
    contender.encode_documents(json.loads(texts.read_text(encoding="utf-8")))
    print(peak_memory())


def stream(count: int) -> None:
    """Prints the seconds of the vectors and the peak memory in MB; the model is already loaded."""
    from embedry import resolve

    embedder = resolve(MODEL)
    embedder.embed_query(QUERY)
    start = time.perf_counter()
    blocks = embedder.encode_stream(short_texts(count), role="document")
    vectors = sum(len(block) for block in blocks)
    seconds = time.perf_counter() - start
    assert vectors == count
    print(seconds)
    print(peak_memory())


def short_texts(count: int) -> Iterator[str]:
    """Texts of 3 tokens: a word between the special ones. Words repeat only after thousands of others, so that no two
    texts of a block are equal and computed once.
    """
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(COMPLETE / "tokenizer.json")).get_vocab()
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha())
    return itertools.islice(itertools.cycle(words), count)


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MB of a million bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss starts at what the parent process had
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    if sys.argv[1] == "use":
        use(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        stream(int(sys.argv[2]))
