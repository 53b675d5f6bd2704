"""Whether the vectors are right: near those of float32 on the CPU, and those of sentence-transformers on the same card."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gpu_files
import numpy as np
import report
from contenders import MODEL, OURS, REFERENCE
from gpu_contenders import Ask, Library, Processes, info_of, of_padded, vectors_of
from gpu_report import Found
from gpu_speed import Setting, shown, started
from numpy.typing import NDArray
from results import Agreement
from turns import alternate, seconds_of

Vectors = NDArray[np.float32]

EMBEDRYS = ("transformers", "sentence-transformers")
"""The backends that run on a device."""

FAMILIES = (
    "bert", "distilbert", "roberta", "xlm-roberta", "mpnet", "modernbert", "nomic_bert", "gte", "qwen3", "gemma3_text",
    "embeddinggemma", "t5", "t5-gated",
)  # fmt: skip
QUICK_FAMILIES = ("qwen3",)

EXACT = "fp32 on the CPU"


class Worker:
    """The process that compares has no model of its own."""


class Compared(NamedTuple):
    """How far some vectors are from others."""

    model: str
    precision: str
    found: str
    """Whose vectors, and how they were computed."""
    wanted: str
    agreement: Agreement | None
    """None where the vectors are not numbers of the same shape."""
    limit: float | None
    """Of the largest difference; None where it is only shown."""

    @property
    def is_right(self) -> bool:
        """Whether the largest difference is within its limit."""
        if self.agreement is None:
            return False
        return self.limit is None or self.agreement.largest <= self.limit

    def failure(self) -> list[str]:
        """What to report, if anything is wrong."""
        if self.is_right:
            return []
        distance = f"{self.agreement.largest:.1e} apart" if self.agreement else "not finite, or of another shape"
        return [f"{self.model}, {self.precision}: {self.found} against {self.wanted}: {distance}"]


def compared(setting: Setting, precisions: tuple[str, ...], which: str, running: Processes) -> Found:
    """The vectors of one model, the one with random weights or all-MiniLM-L6-v2, in each precision, by each backend."""
    ask = running.get("vectors", Worker)
    is_random = which == setting.files.size.name
    folder = setting.files.model if is_random else setting.files.minilm
    model = str(folder) if is_random else MODEL
    texts = gpu_files.compared_texts(setting.quick)
    return _found(
        f"{len(texts)} texts.", ask(compare, which, model, folder, texts, setting.device, precisions, EMBEDRYS)
    )


def compare(
    _: Any,
    name: str,
    model: str,
    folder: Path,
    texts: list[str],
    device: str,
    precisions: Sequence[str],
    backends: Sequence[str],
) -> list[Compared]:
    """Each backend on the device with float32 on the CPU, which the library computes, and with the library on the device.

    A precision may be as far from float32 as the conformance kit allows, or twice as far as the library itself: how far that is
    depends on the weights. Two results of one precision may be on two sides of float32.
    """
    expected = Library(folder, "cpu", "fp32").encode_documents(texts)
    rows: list[Compared] = []
    for precision in precisions:
        beside = Library(folder, device, precision).encode_documents(texts)
        theirs = _compared(name, precision, f"{REFERENCE} on {device}", beside, EXACT, expected, None)
        limit = max(tolerance(precision), 2 * theirs.agreement.largest if theirs.agreement else 0)
        rows.append(theirs)
        for backend in backends:
            found, how = embedded(model, texts, device, precision, backend)
            rows.append(_compared(name, precision, how, found, EXACT, expected, limit))
            rows.append(_compared(name, precision, how, found, theirs.found, beside, 2 * limit))
    return rows


def embedded(model: str, texts: list[str], device: str, precision: str, backend: str) -> tuple[Vectors, str]:
    """embedry's vectors of unit length, and how it computed them."""
    from embedry import resolve

    embedder = resolve(model, backend=backend, device=device, precision=precision)
    vectors = embedder.encode_document(texts)
    attention = embedder.info.get("attention")
    embedder.unload()
    return vectors, f"{OURS}, {backend}" + (f" ({attention})" if attention else "")


def tolerance(precision: str) -> float:
    """The largest difference that the precision may cause, as the conformance kit allows it."""
    from embedry.testing.subject import TOLERANCE

    return TOLERANCE[precision]


def _compared(
    model: str, precision: str, how: str, found: Vectors, of: str, wanted: Vectors, limit: float | None
) -> Compared:
    units = [vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12) for vectors in (found, wanted)]
    same = found.shape == wanted.shape and bool(np.isfinite(found).all())
    return Compared(model, precision, how, of, Agreement.of(units[0], units[1]) if same else None, limit)


def _found(note: str, rows: list[Compared]) -> Found:
    table = report.table(
        ("", "", "", "compared with", "largest difference", "allowed", "mean cosine", ""),
        [
            (
                row.model,
                row.precision,
                row.found,
                row.wanted,
                f"{row.agreement.largest:.1e}" if row.agreement else "",
                f"{row.limit:.0e}" if row.limit else "",
                f"{row.agreement.cosine:.6f}" if row.agreement else "",
                "" if row.is_right else "**failed**",
            )
            for row in rows
        ],
    )
    return Found(
        f"{note}\n\n{table}", [row._asdict() for row in rows], [each for row in rows for each in row.failure()]
    )


def families(setting: Setting, precisions: tuple[str, ...], running: Processes) -> Found:
    """Small models of every family on the transformers backend."""
    ask = running.get("vectors", Worker)
    texts = gpu_files.compared_texts(quick=True)
    rows: list[Compared] = []
    failures: list[str] = []
    for family in QUICK_FAMILIES if setting.quick else FAMILIES:
        try:
            rows += ask(compare_family, family, texts, setting.files.tokenizer, setting.device, precisions)
        except Exception as error:  # one family's failure is not the others'
            failures.append(f"{family}: {type(error).__name__}: {error}")
    found = _found(f"Random weights, three layers, heads of 16 channels; {len(texts)} texts.", rows)
    found.failures += failures
    return found


def compare_family(
    _: Any, family: str, texts: list[str], tokenizer: Path, device: str, precisions: Sequence[str]
) -> list[Compared]:
    """One family, see `compare`."""
    with tempfile.TemporaryDirectory() as name:
        folder = gpu_files.small_model(family, tokenizer, Path(name))
        return compare(None, family, str(folder), folder, texts, device, precisions, EMBEDRYS[:1])


def packed(setting: Setting, precision: str, running: Processes) -> Found:
    """Batches as the backend makes them beside batches with padding: the vectors, and the speed."""
    ours = started(setting, precision, running)[OURS]
    ready: dict[str, Ask] = {
        "as it is": ours,
        "padded": partial(ours, of_padded),
    }
    attention = {name: ask(info_of)["attention"] for name, ask in ready.items()}
    texts = gpu_files.compared_texts(setting.quick)
    found = {name: ask(vectors_of, texts) for name, ask in ready.items()}
    row = _compared(
        setting.files.size.name, precision, attention["as it is"], found["as it is"], attention["padded"], found["padded"],
        2 * tolerance(precision),
    )  # fmt: skip
    load = setting.loads["paragraphs"]
    turns = {name: partial(_seconds, ask, load.texts) for name, ask in ready.items()}
    measured = alternate("padding", turns, setting.rounds)
    rows = [
        (
            name,
            attention[name],
            shown([len(load.texts) / each for each in seconds], 0),
            shown([theirs / own for own, theirs in zip(seconds, measured["padded"], strict=True)], 2),
        )
        for name, seconds in measured.items()
    ]
    active = "packed" in attention["as it is"]
    table = report.table(("", "attention", "paragraphs/s", "padded = 1"), rows)
    section = _found(f"Packing was {'active' if active else 'not active'} in {precision} on {setting.device}.", [row])
    section.text += f"\n\n{table}"
    section.data = {"vectors": section.data, "seconds": measured, "attention": attention}
    return section


def _seconds(ask: Ask, texts: list[str], _: int) -> float:
    return float(ask(seconds_of, texts))
