"""Checks on a model's files: they are followed, and contradictions are rejected."""

import importlib.util
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedry.backend import TextEncoder
from embedry.chains import Kind
from embedry.errors import IntegrityError, UnsupportedModelError
from embedry.testing.results import Arrays, arrays, asked, difference, given, results
from embedry.testing.running import check, description
from embedry.testing.subject import NotApplicable, Subject, Violation, require, require_close
from embedry.testing.texts import MIXED, of_length
from embedry.transformer import Transformer


@check
def reading(subject: Subject) -> None:
    """Texts are tokenized as the entry says, even if tokenizer.json differs."""
    transformer = _read_by_the_core(subject)
    lowered = subject.with_entry(prompts={}, transformer=replace(transformer, lower_case=True))
    upper, lower = results(lowered, [text.upper() for text in _WORDS]), results(lowered, _WORDS)
    require_close(upper, lower, subject.tolerance, f"{description(reading)} (lower_case)")
    if transformer.pair is not None:
        return  # of a query and a document that are one text, the start is the query's
    right = subject.with_entry(prompts={}, transformer=replace(transformer, truncate_left=False))
    left = subject.with_entry(prompts={}, transformer=replace(transformer, truncate_left=True))
    over = of_length(right, right.config.length("document") + 1)
    end, also_end = results(left, [over, f"{over} {over}"])
    require_close([also_end], [end], subject.tolerance, f"{description(reading)} (truncate_left)")
    require(difference([end], results(right, [over])) > 1e-6, description(reading), "the start was read, not the end")


@check
def contradictions(subject: Subject) -> None:
    """Files that contradict each other are rejected when the model is loaded."""
    transformer = _read_by_the_core(subject)
    config = json.loads((subject.folder / transformer.file("config.json")).read_text(encoding="utf-8"))
    changes: dict[str, Any] = {
        "model_type": "another",
        "vocab_size": 7,  # below ids that the tokenizer gives
        "max_position_embeddings": subject.spec.max_seq_length - 1,
        "hidden_size": config.get("hidden_size", 0) + 1,
    }
    known = {key: value for key, value in changes.items() if key in config}
    for key, value in known.items():
        with tempfile.TemporaryDirectory(prefix="embedry-contradiction-") as name:
            folder = Path(name, "model")
            for file in subject.spec.files:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(subject.folder / file, folder / file)
            written = json.dumps(config | {key: value})
            (folder / transformer.file("config.json")).write_text(written, encoding="utf-8")
            try:
                subject.with_entry(folder=str(folder), files=dict.fromkeys(subject.spec.files)).load()
            except (IntegrityError, UnsupportedModelError):
                continue
        raise Violation(f"{description(contradictions)}: {key}={value!r} in config.json was accepted")


@check
def library(subject: Subject) -> None:
    """Results equal those of sentence-transformers for the same folder, if both are installed."""
    folder = Path(subject.spec.folder) if subject.spec.folder else None
    if folder is None or not (folder / "modules.json").is_file():
        raise NotApplicable("the model is not a folder with a modules.json")
    if importlib.util.find_spec("sentence_transformers") is None:
        raise NotApplicable("sentence-transformers is not installed")
    if subject.embedder.info.get("precision") == "int8":
        raise NotApplicable("int8 is compared with golden vectors")
    import sentence_transformers

    kind = getattr(sentence_transformers, _CLASSES[subject.kind], None)
    if kind is None:
        raise NotApplicable(f"this sentence-transformers has no {_CLASSES[subject.kind]}")
    reference = kind(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
    plain = subject.with_entry()
    for role in ("query", "document"):
        items, role_of_call = asked(plain, MIXED, role)
        found = arrays(given(plain, items, role_of_call))
        wanted = _by_the_library(subject.kind, reference, items, role_of_call)
        require_close(found, wanted, subject.tolerance, f"{description(library)} ({role})")


_CLASSES: dict[Kind, str] = {
    "dense": "SentenceTransformer",
    "reranker": "CrossEncoder",
    "sparse": "SparseEncoder",
    "multi_vector": "MultiVectorEncoder",
}
"""Those of the library that load models of each kind."""


def _by_the_library(kind: Kind, reference: Any, items: list[Any], role: str) -> Arrays:
    if kind == "reranker":
        from torch.nn import Identity

        logits = reference.predict(items, activation_fn=Identity(), batch_size=1, show_progress_bar=False)
        return list(np.asarray(logits, dtype=np.float32).reshape(len(items), -1))
    options = {"convert_to_sparse_tensor": False} if kind == "sparse" else {}
    found = getattr(reference, f"encode_{role}")(items, show_progress_bar=False, **options)
    return [np.asarray(each, dtype=np.float32) for each in found]


_WORDS = ["refunds are paid within two weeks", "naive cafe", "the shop opens at nine"]


def _read_by_the_core(subject: Subject) -> Transformer:
    """How the transformer reads, where the core does the reading."""
    if subject.spec.transformer is None:
        raise NotApplicable("the model has no transformer")
    if isinstance(subject.embedder.engine.load().encoder, TextEncoder):
        raise NotApplicable("the engine tokenizes texts itself")
    return subject.spec.transformer
