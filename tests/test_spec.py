"""A registry entry is checked where it is written, cannot be changed, and travels between processes."""

import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from embedry import EmbedryError, ModelSpec, OptionError, SpecError, WheelSource
from entries import COMMIT, entry

FULL = entry(
    aliases=("small",),
    repo="acme/tiny",
    revision=COMMIT,
    files={"model.safetensors": "0" * 64, "tokenizer.json": None},
    wheel=WheelSource(package="tiny-wheel", version="1.0", folder="tiny/model"),
    prompts={"query": "ask: ", "clustering": "group: "},
    matryoshka_dims=(16, 32),
    languages=("en", "de"),
)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"name": ""}, ["names", "''"]),
        ({"name": "with space"}, ["names", "with space"]),
        ({"name": "a/b/c"}, ["names", "a/b/c"]),
        ({"name": "./folder"}, ["names", "./folder"]),
        ({"aliases": ("fine", "not fine")}, ["aliases", "not fine"]),
        ({"aliases": "minilm"}, ["aliases", "tuple", "'minilm'"]),
        ({"modules": "Dense"}, ["modules", "tuple", "'Dense'"]),
        ({"languages": "en"}, ["languages", "tuple", "'en'"]),
        ({"matryoshka_dims": 16}, ["matryoshka_dims", "tuple", "16"]),
        ({"dims": 0}, ["dims", "0"]),
        ({"dims": -3}, ["dims", "-3"]),
        ({"max_seq_length": 2}, ["max_seq_length", "3", "2"]),
        ({"preferred_backend": ""}, ["preferred_backend"]),
        ({"pooling": "average"}, ["pooling", "'average'", "mean", "cls"]),
        ({"pooling": "mean+"}, ["pooling", "'mean+'"]),
        ({"similarity": "cosinus"}, ["similarity", "'cosinus'", "cosine"]),
        ({"matryoshka_dims": (16, 48)}, ["matryoshka_dims", "48"]),
        ({"matryoshka_dims": (0,)}, ["matryoshka_dims", "0"]),
        ({"matryoshka_dims": (16, 16)}, ["matryoshka_dims", "distinct"]),
        ({"files": {}}, ["files", "empty"]),
        ({"onnx": "onnx/model.onnx"}, ["onnx", "'onnx/model.onnx'", "files"]),
        ({"repo": "acme/tiny"}, ["'acme/tiny'", "revision", "commit"]),
        ({"repo": "acme/tiny", "revision": "main"}, ["'acme/tiny'", "revision", "'main'", "commit"]),
        ({"repo": "acme/tiny", "revision": COMMIT[:12]}, ["revision", COMMIT[:12], "commit"]),
        ({"files": {"/etc/passwd": None}}, ["'/etc/passwd'", "leaves the repository"]),
        ({"files": {"a/../../b": None}}, ["'a/../../b'", "leaves the repository"]),
        ({"files": {"a\\b": None}}, ["leaves the repository"]),
        ({"files": {"model.safetensors": "A" * 64}}, ["sha256", "'model.safetensors'", "A" * 64]),
        ({"files": {"model.safetensors": "0" * 63}}, ["sha256", "'model.safetensors'", "0" * 63]),
    ],
)
def test_a_fault_is_an_error_that_names_the_model_and_the_field(changes: dict[str, Any], facts: list[str]) -> None:
    with pytest.raises(SpecError) as error:
        entry(**changes)
    assert f"model entry {changes.get('name', 'tiny')!r}" in str(error.value)
    assert [fact for fact in facts if fact not in str(error.value)] == []


def test_the_error_of_an_entry_is_a_value_error_and_embedrys_own() -> None:
    assert issubclass(SpecError, ValueError)
    assert issubclass(SpecError, EmbedryError)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "BAAI/bge-small-en-v1.5"},
        {"pooling": "cls+mean"},
        {"max_seq_length": 3},
        {"dims": 1},
        {"matryoshka_dims": (32, 16)},
        {"folder": "/models/tiny", "repo": "acme/tiny"},
        {"onnx": "config.json"},
    ],
)
def test_what_is_possible_is_accepted(changes: dict[str, Any]) -> None:
    spec = entry(**changes)
    assert {field: getattr(spec, field) for field in changes} == changes


def test_an_entry_pickles_to_an_equal_one_with_the_same_hash() -> None:
    again = pickle.loads(pickle.dumps(FULL))
    assert again == FULL
    assert hash(again) == hash(FULL)
    assert (dict(again.files), dict(again.prompts), again.wheel) == (
        dict(FULL.files),
        dict(FULL.prompts),
        FULL.wheel,
    )


def test_a_changed_entry_is_checked_when_it_is_unpickled() -> None:
    damaged = pickle.dumps(FULL).replace(b"\x04mean", b"\x04naem")
    with pytest.raises(SpecError, match="naem"):
        pickle.loads(damaged)


@pytest.mark.parametrize(
    "changes",
    [
        {"dims": 64},
        {"prompts": {"query": "other: "}},
        {"files": {"model.safetensors": "1" * 64}},
        {"license": "MIT"},
        {"wheel": None},
    ],
)
def test_entries_that_differ_in_any_field_are_unequal(changes: dict[str, Any]) -> None:
    assert replace(FULL, **changes) != FULL
    assert replace(FULL, **changes) == replace(FULL, **changes)


def test_no_field_and_no_mapping_of_an_entry_can_be_changed() -> None:
    given = {"query": "ask: "}
    spec = entry(prompts=given)
    given["query"] = "changed"
    assert spec.prompts["query"] == "ask: "
    with pytest.raises(FrozenInstanceError):
        spec.dims = 7  # type: ignore[misc]
    with pytest.raises(TypeError):
        spec.prompts["query"] = "changed"  # type: ignore[index]
    with pytest.raises(TypeError):
        spec.files["model.safetensors"] = None  # type: ignore[index]


def test_each_role_and_task_has_its_prompt() -> None:
    assert FULL.prompt("query") == "ask: "
    assert FULL.prompt("document") == ""
    assert FULL.prompt("clustering") == "group: "


def test_an_unknown_role_is_an_error_that_lists_the_roles() -> None:
    with pytest.raises(OptionError, match=r"'tiny' has no role 'passage'; use one of: query, document, clustering$"):
        FULL.prompt("passage")


def test_entries_take_their_fields_by_name_only() -> None:
    with pytest.raises(TypeError):
        ModelSpec("tiny", 48)  # type: ignore[call-arg, misc]
