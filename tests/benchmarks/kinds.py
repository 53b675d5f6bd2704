"""Rerankers, sparse vectors and token vectors beside sentence-transformers and fastembed: `make bench-kinds`.

    python tests/benchmarks/kinds.py            everything, in about 10 minutes on two cores
    python tests/benchmarks/kinds.py --quick    one round
    python tests/benchmarks/kinds.py --write    also writes the table into docs/benchmarks.md

The models have the sizes of real ones and random weights: speed does not depend on what weights are. All libraries read the same
weights, each in a process of its own, and alternate. docs/benchmarks.md describes what is measured.
"""

import argparse
import random
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import kind_files
import loads
import model_files
import numpy as np
import report
from apart import Apart
from contenders import OURS, REFERENCE, Contender
from results import Spread
from turns import alternate, seconds_of

from embedry import maxsim, resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEGIN, END = "<!-- kinds: written by the benchmark -->", "<!-- end of the kinds -->"

QUESTION = "How is a file opened, read line by line, and closed again when something goes wrong?"
DOCUMENTS = 100
MEAN_TOKENS = 120
"""Of a pair, or of a text, special tokens included."""
FASTEMBED = "fastembed"


class Embedry:
    """This library, on its default engine."""

    def __init__(self, kind: str, threads: int) -> None:
        from embedry import resolve_multi_vector, resolve_reranker, resolve_sparse

        folder = kind_files.folder(kind)
        doors = {"reranker": resolve_reranker, "sparse": resolve_sparse, "multi_vector": resolve_multi_vector}
        self._model = doors[kind](folder, threads=threads).load()  # type: ignore[operator]
        self._kind = kind

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        """The scores of documents; or their weights and token vectors, one after the other."""
        if self._kind == "reranker":
            return self._model.logits([(QUESTION, text) for text in texts])[:, 0]
        return self._model.encode_document(texts).values

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        return self.encode_documents([text])


class SentenceTransformers:
    """https://sbert.net: the reference."""

    def __init__(self, kind: str, threads: int) -> None:
        import torch
        from sentence_transformers import CrossEncoder, MultiVectorEncoder, SparseEncoder

        torch.set_num_threads(threads)
        kinds = {"reranker": CrossEncoder, "sparse": SparseEncoder, "multi_vector": MultiVectorEncoder}
        self._model = kinds[kind](str(kind_files.folder(kind)), device="cpu")
        self._kind = kind

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        if self._kind == "reranker":
            import torch

            pairs = [(QUESTION, text) for text in texts]
            return self._model.predict(pairs, activation_fn=torch.nn.Identity())
        if self._kind == "sparse":
            return self._model.encode_document(texts).coalesce().values().numpy()
        return np.concatenate([np.asarray(vectors) for vectors in self._model.encode_document(texts)])

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        return self.encode_documents([text])


class FastEmbed:
    """https://qdrant.github.io/fastembed: entries of models of the same form, reading the files from a folder."""

    def __init__(self, kind: str, threads: int) -> None:
        from fastembed import LateInteractionTextEmbedding, SparseTextEmbedding
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        kinds = {
            "reranker": (TextCrossEncoder, "Xenova/ms-marco-MiniLM-L-6-v2"),
            "sparse": (SparseTextEmbedding, "prithivida/Splade_PP_en_v1"),
            "multi_vector": (LateInteractionTextEmbedding, "colbert-ir/colbertv2.0"),
        }
        load, name = kinds[kind]
        self._model = load(name, specific_model_path=str(kind_files.onnx_folder(kind)), threads=threads)
        self._kind = kind

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        if self._kind == "reranker":
            return np.array(list(self._model.rerank(QUESTION, texts)), dtype=np.float32)
        if self._kind == "sparse":
            # By default 256 texts go together, whose logits take more than 10 GB.
            return np.concatenate([each.values for each in self._model.embed(texts, batch_size=16)])
        return np.concatenate(list(self._model.embed(texts)))

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        return self.encode_documents([text])


LIBRARIES: dict[str, Callable[[str, int], Contender]] = {
    OURS: Embedry,
    REFERENCE: SentenceTransformers,
    FASTEMBED: FastEmbed,
}

KINDS = {
    "reranker": "reranker, the size of ms-marco-MiniLM-L6-v2",
    "sparse": "sparse, the size of DistilBERT",
    "multi_vector": "token vectors, the size of colbertv2.0",
}

COLUMNS = ("", "", "documents/s", f"{REFERENCE} = 1")


def main() -> None:
    """Measures, prints, and optionally writes."""
    parser = argparse.ArgumentParser(description="other kinds of models, beside sentence-transformers and fastembed")
    parser.add_argument("--quick", action="store_true", help="one round; its numbers are rough")
    parser.add_argument("--write", action="store_true", help="also write the table into docs/benchmarks.md")
    parser.add_argument("--only", choices=list(KINDS), help="measure one of the kinds")
    arguments = parser.parse_args()

    model_files.prepare()
    threads = int(resolve("all-MiniLM-L6-v2").info["threads"])
    rows = []
    for kind in [arguments.only] if arguments.only else KINDS:
        rows += measure(kind, threads, rounds=1 if arguments.quick else 3)
        print(report.table(COLUMNS, rows[-len(LIBRARIES) :]), flush=True)
    table = f"{report.table(COLUMNS, rows)}\n\n{maxsim_line()}"
    print(table)
    if arguments.write:
        report.write(table, report.PAGE, BEGIN, END)


def measure(kind: str, threads: int, rounds: int) -> list[tuple[str, ...]]:
    """The rows of one kind: what each library reaches, alternating."""
    texts = documents()
    with Apart(OURS, partial(Embedry, kind, threads)) as first:
        first.wait_until_loaded()  # which compiles the graph, once for all processes that come
    with ExitStack() as running:
        ready = {
            library: running.enter_context(Apart(library, partial(load, kind, threads)))
            for library, load in LIBRARIES.items()
        }
        for apart in ready.values():
            apart.wait_until_loaded()
        found = {library: apart(results_of, texts[:16]) for library, apart in ready.items()}
        wrong = {library: differs(found[library], found[REFERENCE]) for library in LIBRARIES}
        if wrong[OURS]:
            raise SystemExit(f"{kind}: the results differ from those of {REFERENCE}")
        rates = alternate(kind, {key: partial(turn, apart, texts) for key, apart in ready.items()}, rounds)
    rows = []
    for library in LIBRARIES:
        ratio = Spread.of([theirs / own for own, theirs in zip(rates[library], rates[REFERENCE], strict=True)])
        name = f"{library} (other results)" if wrong[library] else library
        speed = f"{len(texts) / statistics.median(rates[library]):,.1f}"
        rows.append((KINDS[kind], name, speed, f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})"))
    return rows


def documents() -> list[str]:
    """Texts of very different lengths, `MEAN_TOKENS` tokens on average together with the question."""
    chance = random.Random(0)
    words = " ".join(loads.collect(1)["documents"].texts).split()
    # A token is about 0.7 of these words; the question has 20 tokens with the special ones.
    texts = []
    for _ in range(DOCUMENTS):
        count = round(chance.uniform(0.1, 1.9) * (MEAN_TOKENS - 22) * WORDS_PER_TOKEN)
        start = chance.randrange(len(words) - count)
        texts.append(" ".join(words[start : start + count]))
    return texts


WORDS_PER_TOKEN = 0.56
"""Of the documents, measured."""


def turn(apart: Apart, texts: list[str], _: int) -> float:
    """Seconds of all texts in one call."""
    return apart(seconds_of, texts)


def results_of(contender: Contender, texts: list[str]) -> "NDArray[np.float32]":
    """What a library gives for some texts."""
    return contender.encode_documents(texts)


def differs(found: "NDArray[np.float32]", expected: "NDArray[np.float32]") -> bool:
    """Whether a component differs by more than 0.0001, or the number of components by any."""
    return found.shape != expected.shape or float(np.abs(found - expected).max()) > 1e-4


def maxsim_line() -> str:
    """How long MaxSim takes, as a sentence."""
    import time

    from embedry import TokenVectors

    random_vectors = np.random.default_rng(0).standard_normal((1000 * MEAN_TOKENS, kind_files.COLBERT_DIMS))
    values = random_vectors.astype(np.float32)
    queries = TokenVectors(values[:32], np.array([0, 32]))
    passages = TokenVectors(values, np.arange(0, len(values) + 1, MEAN_TOKENS))
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        maxsim(queries, passages)
        seconds.append(time.perf_counter() - start)
    return (
        f"`maxsim` of one query of 32 tokens with 1,000 documents of {MEAN_TOKENS} tokens, {kind_files.COLBERT_DIMS} dims: "
        f"{statistics.median(seconds) * 1000:.1f} ms."
    )


if __name__ == "__main__":
    main()
