"""What a model's files say: followed where they are clear, refused where they contradict each other."""

import importlib.util
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedry._files.sources import ensure_local
from embedry.backend import TextEncoder
from embedry.errors import IntegrityError, UnsupportedModelError
from embedry.testing.running import check, description
from embedry.testing.subject import NotApplicable, Subject, Violation, require, require_close
from embedry.testing.texts import MIXED, of_length
from embedry.transformer import Transformer


@check
def reading(subject: Subject) -> None:
    """Texts are read as the entry says, also where tokenizer.json says otherwise."""
    transformer = _read_by_the_core(subject)
    lowered = subject.with_entry(prompts={}, transformer=replace(transformer, lower_case=True))
    upper, lower = lowered.encode_document([text.upper() for text in _WORDS]), lowered.encode_document(_WORDS)
    require_close(upper, lower, subject.tolerance, f"{description(reading)} (lower_case)")
    right = subject.with_entry(prompts={}, transformer=replace(transformer, truncate_left=False))
    left = subject.with_entry(prompts={}, transformer=replace(transformer, truncate_left=True))
    over = of_length(right, right.max_seq_length + 1, last="music")
    end = over.partition(" ")[2]
    found, wanted = left.encode_document([over]), right.encode_document([end])
    require_close(found, wanted, subject.tolerance, f"{description(reading)} (truncate_left)")
    start = right.encode_document([over])
    require(not np.allclose(found, start, atol=1e-6, rtol=0), description(reading), "the start was read, not the end")


@check
def contradictions(subject: Subject) -> None:
    """Files that contradict each other are refused when the model is loaded, before a text can show it."""
    transformer = _read_by_the_core(subject)
    config = json.loads((_folder(subject) / transformer.file("config.json")).read_text(encoding="utf-8"))
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
                shutil.copyfile(_folder(subject) / file, folder / file)
            written = json.dumps(config | {key: value})
            (folder / transformer.file("config.json")).write_text(written, encoding="utf-8")
            try:
                subject.with_entry(folder=str(folder), files=dict.fromkeys(subject.spec.files)).load()
            except (IntegrityError, UnsupportedModelError):
                continue
        raise Violation(f"{description(contradictions)}: {key}={value!r} in config.json was accepted")


@check
def library(subject: Subject) -> None:
    """Vectors are those of sentence-transformers on the same folder, chain and all, where both are there."""
    folder = Path(subject.spec.folder) if subject.spec.folder else None
    if folder is None or not (folder / "modules.json").is_file():
        raise NotApplicable("the model is not a folder with a modules.json")
    if importlib.util.find_spec("sentence_transformers") is None:
        raise NotApplicable("sentence-transformers is not installed")
    if subject.embedder.info.get("precision") == "int8":
        raise NotApplicable("int8 is compared with golden vectors")
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
    for role in ("query", "document"):
        wanted = np.asarray(getattr(reference, f"encode_{role}")(list(MIXED)), dtype=np.float32)
        found = subject.with_entry().encode(MIXED, role=role)
        require_close(found, wanted, subject.tolerance, f"{description(library)} ({role})")


_WORDS = ["refunds are paid within two weeks", "naive cafe", "the shop opens at nine"]


def _read_by_the_core(subject: Subject) -> Transformer:
    """How the transformer reads, where the core does the reading."""
    if subject.spec.transformer is None:
        raise NotApplicable("the model has no transformer")
    if isinstance(subject.embedder.engine.load().encoder, TextEncoder):
        raise NotApplicable("the engine reads texts in its own way")
    return subject.spec.transformer


def _folder(subject: Subject) -> Path:
    return ensure_local(subject.spec, subject.embedder.config.cache_dir)
