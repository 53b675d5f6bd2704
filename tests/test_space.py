"""A saved space opens the same embedder again, in another process too, and refuses every other one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from embedry import Matryoshka, Normalize, Pooling, Space, SpaceError, UnknownModelError, register, resolve
from embedry.views import LazyEmbedder
from entries import entry

BASE = entry(
    files={"model.safetensors": "1" * 64, "tokenizer.json": "2" * 64, "config.json": "3" * 64},
    matryoshka=Matryoshka(dims=(16,)),
)


def test_a_space_comes_back_from_json_as_the_same_embedder(minilm: LazyEmbedder) -> None:
    saved = json.loads(json.dumps(Space.of(minilm).as_dict()))
    assert saved == {
        "model": "all-MiniLM-L6-v2", "fingerprint": minilm.fingerprint, "dims": 384, "max_seq_length": 256,
        "normalize": True, "precision": None,
    }  # fmt: skip
    assert Space.from_dict(saved).resolve() is minilm


def test_options_that_move_vectors_are_part_of_it(minilm: LazyEmbedder) -> None:
    short = resolve(minilm.name, max_seq_length=64, normalize=False)
    assert Space.of(short).resolve() is short
    small = resolve(minilm.name, precision="int8")
    assert Space.of(small).resolve() is small


def test_options_of_the_machine_are_not_part_of_it(minilm: LazyEmbedder) -> None:
    other = resolve(minilm.name, threads=1)
    assert Space.of(other) == Space.of(minilm)
    assert Space.of(minilm).resolve(threads=1) is other


def test_a_model_in_a_folder_is_found_in_another_process(
    checkpoint: Callable[..., Path], fresh: Callable[..., CompletedProcess[str]], cache_dir: Path
) -> None:
    embedder = resolve(checkpoint("bert"))
    saved = Space.of(embedder).as_dict()
    result = fresh(
        f"from embedry import Space\nprint(Space.from_dict({saved!r}).resolve().embed_query('a text'))",
        env={"EMBEDRY_CACHE": str(cache_dir)},
    )
    assert json.loads(result.stdout) == pytest.approx(embedder.embed_query("a text"), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"name": "other", "files": BASE.files | {"model.safetensors": "a" * 64}}, {}, "model 'other' instead of"),
        ({"chain": (Pooling(mode="cls"), Normalize())}, {}, "other files, chain or prompts"),
        ({"prompts": {"query": "ask: "}}, {}, "other files, chain or prompts"),
        ({}, {"dims": 16}, "dims 16 instead of"),
        ({}, {"normalize": False}, "normalize False instead of True"),
        ({}, {"max_seq_length": 16}, "max_seq_length 16 instead of"),
    ],
)
def test_another_space_is_refused(changes: dict[str, Any], options: dict[str, Any], said: str) -> None:
    space = Space.of(resolve(BASE))
    with pytest.raises(SpaceError, match=said) as caught:
        space.check(resolve(replace(BASE, **changes), **options))
    assert f"made by {BASE.name!r}" in str(caught.value)
    assert f"use resolve({BASE.name!r}, dims={BASE.dims}" in str(caught.value)


def test_a_model_that_changed_behind_its_name_is_refused() -> None:
    register(replace(BASE, name="changing"))
    old = Space.of(resolve("changing"))
    with pytest.raises(SpaceError, match="other files, chain or prompts"):
        replace(old, fingerprint="0" * 24).resolve()


def test_what_is_no_space_and_what_names_no_model_are_told() -> None:
    for saved in ({"model": "all-MiniLM-L6-v2"}, None, 5, [1], "a space"):
        with pytest.raises(SpaceError, match="not a saved space"):
            Space.from_dict(saved)  # type: ignore[arg-type]
    with pytest.raises(UnknownModelError):
        replace(Space.of(resolve(BASE)), model="nobody-has-this").resolve()
