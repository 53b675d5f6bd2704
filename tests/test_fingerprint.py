"""The space fingerprint changes with everything that moves vectors, and with nothing else."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedry import ModelSpec, WheelSource, resolve
from entries import entry

BASE = entry(
    files={"model.safetensors": "1" * 64, "tokenizer.json": "2" * 64, "config.json": "3" * 64},
    prompts={"query": "ask: "},
    matryoshka_dims=(16,),
    aliases=("small",),
)


def fingerprint(spec: ModelSpec = BASE, **options: Any) -> str:
    return resolve(spec, **options).fingerprint


def test_a_fingerprint_is_24_hex_digits_and_always_the_same() -> None:
    assert re.fullmatch("[0-9a-f]{24}", fingerprint())
    assert fingerprint() == fingerprint(entry(**{name: getattr(BASE, name) for name in BASE.__dataclass_fields__}))


def test_the_fingerprint_that_stores_hold_stays_the_same_from_version_to_version() -> None:
    names = ("all-MiniLM-L6-v2", "bge-small-en-v1.5")
    assert [resolve(name).fingerprint for name in names] == ["19e4cd1f9b0353acd61ca624", "9a8363cff96e03a08204a5f7"]


@pytest.mark.parametrize(
    "changes",
    [
        {"files": BASE.files | {"model.safetensors": "a" * 64}},
        {"files": BASE.files | {"tokenizer.json": "a" * 64}},
        {"files": BASE.files | {"config.json": "a" * 64}},
        {"pooling": "cls"},
        {"prompts": {"query": "search: "}},
        {"prompts": {"query": "ask: ", "document": "text: "}},
        {"prompts": {"document": "ask: "}},
        {"prompts": {}},
        {"max_seq_length": 64},
        {"normalize": False},
    ],
)
def test_an_entry_that_gives_other_vectors_has_another_fingerprint(changes: dict[str, Any]) -> None:
    assert fingerprint(replace(BASE, **changes)) != fingerprint()


@pytest.mark.parametrize("options", [{"dims": 16}, {"max_seq_length": 64}, {"normalize": False}])
def test_an_option_that_gives_other_vectors_gives_another_fingerprint(options: dict[str, Any]) -> None:
    assert fingerprint(**options) != fingerprint()


def test_a_shorter_length_is_one_space_whoever_asks_for_it() -> None:
    assert fingerprint(max_seq_length=64) == fingerprint(replace(BASE, max_seq_length=64))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "renamed"},
        {"aliases": ()},
        {"repo": "acme/tiny", "revision": "a" * 40},
        {"wheel": WheelSource(package="tiny-wheel", version="1.0", folder="tiny")},
        {"folder": "/models/tiny"},
        {"license": "MIT"},
        {"languages": ("en",)},
        {"size_mb": 7},
        {"description": "a description"},
        {"similarity": "dot"},
        {"matryoshka_dims": ()},
        {"prompts": {"query": "ask: ", "document": "", "clustering": ""}},
        {"files": dict(reversed(BASE.files.items()))},
    ],
)
def test_an_entry_that_gives_the_same_vectors_has_the_same_fingerprint(changes: dict[str, Any]) -> None:
    assert fingerprint(replace(BASE, **changes)) == fingerprint()


@pytest.mark.parametrize(
    "options",
    [{"threads": 1}, {"on_overflow": "error"}, {"device": "cpu"}, {"backend": "onnxruntime"}, {"dims": 48}, {"cache_dir": "/x"}],
)  # fmt: skip
def test_an_option_that_gives_the_same_vectors_gives_the_same_fingerprint(options: dict[str, Any]) -> None:
    assert fingerprint(**options) == fingerprint()


def test_the_same_files_have_one_fingerprint_by_folder_and_by_name(
    checkpoint: Callable[..., Path], minilm_folder: Path, tmp_path: Path
) -> None:
    folder = checkpoint("bert")
    for file in folder.rglob("*.json"):
        copy = tmp_path / "model" / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text().replace('"embedding_dimension": 48', '"embedding_dimension": 384'))
    (tmp_path / "model" / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    for file in minilm_folder.iterdir():
        (tmp_path / "model" / file.name).unlink(missing_ok=True)
        (tmp_path / "model" / file.name).symlink_to(file)
    by_folder = resolve(tmp_path / "model", cache_dir=tmp_path / "cache")
    assert by_folder.spec.files["model.safetensors"] is None
    assert by_folder.fingerprint == resolve("minilm").fingerprint
    assert by_folder.fingerprint == resolve("minilm", folder=minilm_folder).fingerprint
    assert not by_folder.loaded
