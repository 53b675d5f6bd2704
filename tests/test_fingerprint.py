"""The space fingerprint changes with everything that moves vectors, and with nothing else."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedry import (
    BertNormalizer,
    Dense,
    LayerNorm,
    Matryoshka,
    ModelSpec,
    Normalize,
    Pooling,
    Transformer,
    WheelSource,
    resolve,
)
from entries import entry

BASE = entry(
    files={"model.safetensors": "1" * 64, "tokenizer.json": "2" * 64, "config.json": "3" * 64},
    prompts={"query": "ask: "},
    matryoshka=Matryoshka(dims=(16,)),
    aliases=("small",),
)


def fingerprint(spec: ModelSpec = BASE, **options: Any) -> str:
    return resolve(spec, **options).fingerprint


def test_a_fingerprint_is_24_hex_digits_and_always_the_same() -> None:
    assert re.fullmatch("[0-9a-f]{24}", fingerprint())
    assert fingerprint() == fingerprint(entry(**{name: getattr(BASE, name) for name in BASE.__dataclass_fields__}))


def test_the_fingerprint_that_stores_hold_stays_the_same_from_version_to_version() -> None:
    registered = {
        "all-MiniLM-L6-v2": "dd1d1c812cd330d5c5bc52d3",
        "all-mpnet-base-v2": "619de2e1fa467be28e76b498",
        "bge-small-en-v1.5": "1d365e27a6bb028a410fe619",
        "e5-small-v2": "66e22a2b397132b655769ac3",
    }
    assert {name: resolve(name).fingerprint for name in registered} == registered


def test_every_part_of_a_fingerprint_keeps_its_form() -> None:
    """One entry that uses all that a fingerprint is made of: a change of any part's form would change it."""
    files = dict.fromkeys(("model.safetensors", "tokenizer.json", "config.json", "2_Dense/model.safetensors"), "1" * 64)
    spec = entry(
        files=files,
        chain=(
            Pooling(mode="mean+cls"),
            Dense(path="2_Dense", inputs=96, outputs=48, activation="tanh", bias=False),
            LayerNorm(),
            Normalize(),
        ),
        matryoshka=Matryoshka(dims=(16,), before=(LayerNorm(),)),
        transformer=Transformer(lower_case=True, truncate_left=True, normalizer=BertNormalizer(strip_accents=False)),
        prompts={"query": "q: ", "passage": "p: ", "task": "t: "},
    )
    assert resolve(spec, dims=16, max_seq_length=64).fingerprint == "409834c5f2cc786e4c19857c"


@pytest.mark.parametrize(
    "changes",
    [
        {"files": BASE.files | {"model.safetensors": "a" * 64}},
        {"files": BASE.files | {"tokenizer.json": "a" * 64}},
        {"files": BASE.files | {"config.json": "a" * 64}},
        {"chain": (Pooling(mode="cls"), Normalize())},
        {"chain": (Pooling(mode="mean"), Normalize(), Normalize())},
        {"chain": (Pooling(mode="mean"), LayerNorm(), Normalize())},
        {"transformer": Transformer(lower_case=True)},
        {"transformer": Transformer(truncate_left=True)},
        {"transformer": Transformer(normalizer=BertNormalizer(lower_case=False))},
        {"prompts": {"query": "search: "}},
        {"prompts": {"query": "ask: ", "document": "text: "}},
        {"prompts": {"document": "ask: "}},
        {"prompts": {}},
        {"max_seq_length": 64},
        {"chain": (Pooling(mode="mean"),)},
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
        {"matryoshka": Matryoshka()},
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
        shutil.copyfile(file, tmp_path / "model" / file.name)
    by_folder = resolve(tmp_path / "model", cache_dir=tmp_path / "cache")
    assert by_folder.spec.files["model.safetensors"] is None
    assert by_folder.fingerprint == resolve("minilm").fingerprint
    assert by_folder.fingerprint == resolve("minilm", folder=minilm_folder).fingerprint
    assert not by_folder.loaded
