"""The registry: models from plugins and from the program, found by every name they have; a broken plugin harms only itself."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from embedry import (
    AmbiguousModelError,
    Normalize,
    PluginWarning,
    Pooling,
    SpecError,
    Transformer,
    UnknownModelError,
    hooks,
    list_models,
    register,
    registry,
    resolve,
)
from embedry.registry import Registry
from entries import entry, points

Plugin = Callable[..., Path]
Fresh = Callable[..., subprocess.CompletedProcess[str]]

SOURCE = """
from embedry import ModelSpec, Normalize, Pooling, hookimpl

def model(name, **more):
    return ModelSpec(name=name, dims=4, max_seq_length=8, preferred_backend="onnxruntime", architecture="bert",
                     chain=(Pooling(mode="mean"), Normalize()), files=dict.fromkeys(("model.safetensors", "tokenizer.json", "config.json")), **more)

"""


def giving(models: str) -> str:
    """The source of a plugin that registers these models."""
    return f"{SOURCE}@hookimpl\ndef embedry_models():\n    return [{models}]\n"


@pytest.fixture
def collect(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Registry]:
    """Installs packages, each with one module of this source as its plugin, and collects the registry that they make."""

    def install(**sources: str) -> Registry:
        for package, source in sources.items():
            site = plugin(package, {hooks.GROUP: {package: f"{package}_module"}}, {f"{package}_module": source})
            monkeypatch.delitem(sys.modules, f"{package}_module", raising=False)
        monkeypatch.syspath_prepend(site)
        return registry.collect(points(site, hooks.GROUP))

    return install


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry of this process, as it is before a program registers anything; put back afterwards."""
    registry._collected.cache_clear()
    yield registry.installed()
    registry._collected.cache_clear()


@pytest.mark.parametrize("name", ["Tiny-v1", "tiny-V1", "small", "SMALL", "acme/Tiny", "ACME/tiny"])
def test_a_model_is_found_by_name_alias_and_repository_in_any_case(name: str) -> None:
    models = Registry()
    spec = entry(name="Tiny-v1", aliases=("small",), repo="acme/tiny", revision="a" * 40)
    models.add([spec, entry(name="other")], "pack 1.0")
    assert models.find(name) is spec


def test_nothing_is_found_under_a_part_of_a_name() -> None:
    models = Registry()
    models.add([entry(name="tiny-v1")], "pack 1.0")
    assert models.find("tiny") is None
    assert models.find("") is None


def test_two_plugins_that_register_one_name_are_both_named_when_it_is_asked_for(
    collect: Callable[..., Registry],
) -> None:
    models = collect(
        alpha=giving('model("shared"), model("only-alpha")'), beta=giving('model("own", aliases=("Shared",))')
    )
    with pytest.raises(AmbiguousModelError) as error:
        models.find("SHARED")
    assert "alpha 1.0 (as 'shared')" in str(error.value)
    assert "beta 1.0 (as 'own')" in str(error.value)
    assert "'SHARED'" in str(error.value)
    assert models.find("only-alpha") is not None
    assert models.find("own") is not None
    assert [spec.name for spec in models.models()] == ["only-alpha", "own"]
    assert list(models.conflicts()) == ["shared"]
    assert models.broken == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_module_that_is_missing", "ModuleNotFoundError: No module named 'a_module_that_is_missing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (giving("'a name'"), "SpecError: embedry_models must yield ModelSpec, got str: 'a name'"),
        (giving("model('one'), model('two', aliases=('One',))"), "SpecError: 'one' and 'two' share the name 'one'"),
        (giving("model('bad name')"), "SpecError: model entry 'bad name'"),
        (giving("model('one')").replace("embedry_models", "embedry_model"), "unknown hook 'embedry_model'"),
        (giving("model('one')").replace("@hookimpl", ""), "@embedry.hookimpl"),
        (giving("model('one')").replace("embedry_models()", "embedry_models(all)"), "PluginValidationError"),
    ],
)
def test_a_broken_plugin_is_warned_of_and_the_others_work(
    collect: Callable[..., Registry], source: str, reason: str
) -> None:
    with pytest.warns(PluginWarning, match=r"the plugin broken 1\.0 could not be used") as warned:
        models = collect(broken=source, works=giving('model("fine")'))
    assert len(warned) == 1
    assert reason in str(warned[0].message)
    assert [spec.name for spec in models.models()] == ["fine"]
    assert [broken.plugin for broken in models.broken] == ["broken 1.0"]
    assert reason in str(models.unknown("one"))
    assert "the plugin broken 1.0 could not be used" in str(models.unknown("one"))


def test_a_plugin_that_fails_halfway_adds_none_of_its_models(collect: Callable[..., Registry]) -> None:
    with pytest.warns(PluginWarning):
        models = collect(broken=giving("model('first'), 3"))
    assert models.find("first") is None


def test_a_plugin_may_give_its_models_one_by_one(collect: Callable[..., Registry]) -> None:
    source = giving("").replace("return []", "yield model('one')\n    yield model('two')")
    assert [spec.name for spec in collect(lazy=source).models()] == ["one", "two"]


def test_an_unknown_name_is_an_error_with_the_nearest_names_and_the_command_that_lists_all() -> None:
    with pytest.raises(UnknownModelError) as error:
        resolve("bge-smal-en-v1.5")
    assert "no model is called 'bge-smal-en-v1.5'; did you mean 'bge-small-en-v1.5' or 'bge-small-zh-v1.5' or" in str(
        error.value
    )
    assert f"`embedry models` lists all {len(list_models())}" in str(error.value)


def test_without_any_plugin_the_error_says_which_package_to_install() -> None:
    assert "pip install embedry-models" in str(Registry().unknown("minilm"))


def test_models_are_listed_in_order_of_name() -> None:
    models = Registry()
    models.add([entry(name="b"), entry(name="A")], "late 1.0")
    models.add([entry(name="c"), entry(name="Ab")], "early 1.0")
    assert [spec.name for spec in models.models()] == ["A", "Ab", "b", "c"]


def test_the_same_model_may_be_registered_twice(installed: Registry) -> None:
    before = len(list_models())
    spec = entry(name="mine", aliases=("my-own",))
    register(spec)
    register(entry(name="mine", aliases=("my-own",)))
    assert len(list_models()) == before + 1
    assert resolve("MY-OWN").spec is spec


@pytest.mark.parametrize(
    ("changes", "owner"),
    [
        ({"name": "mine", "dims": 96}, "application already registers 'mine'"),
        ({"name": "new", "aliases": ("MINE",)}, "application already registers 'mine'"),
        (
            {"name": "minilm"},
            f"embedry-models {metadata.version('embedry-models')} already registers 'all-MiniLM-L6-v2'",
        ),
    ],
)
def test_registering_another_model_under_a_taken_name_is_an_error(
    installed: Registry, changes: dict[str, Any], owner: str
) -> None:
    register(entry(name="mine"))
    before = list_models()
    with pytest.raises(SpecError, match=re.escape(f"cannot register {changes['name']!r}: {owner}")):
        register(entry(**changes))
    assert list_models() == before


def test_the_plugins_of_an_environment_are_found_by_a_fresh_process(plugin: Plugin, fresh: Fresh) -> None:
    plugin("broken-pack", {hooks.GROUP: {"broken": "broken_pack"}}, {"broken_pack": "raise OSError('no disk')"})
    site = plugin("acme-pack", {hooks.GROUP: {"acme": "acme_pack"}}, {"acme_pack": giving("model('acme-tiny')")})
    code = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from embedry import (list_models, resolve)
    print([spec.name for spec in list_models()])
    list_models()
print(*[warning.message for warning in caught], sep="\\n")
print(resolve("ACME-tiny").dims)
"""
    names, *warned, dims = fresh(code, path=site).stdout.splitlines()
    assert names == str(["acme-tiny", *[spec.name for spec in list_models()]])
    assert warned == ["the plugin broken-pack 1.0 could not be used (OSError: no disk); its models are missing"]
    assert dims == "4"


def test_a_plugin_that_asks_for_the_models_while_they_are_collected_does_not_hang(plugin: Plugin, fresh: Fresh) -> None:
    source = "import embedry\nembedry.list_models()\n" + giving("model('eager')")
    site = plugin("eager-pack", {hooks.GROUP: {"eager": "eager_pack"}}, {"eager_pack": source})
    code = "import faulthandler; faulthandler.dump_traceback_later(60, exit=True)\nimport embedry; print(embedry.resolve('eager').dims)"
    assert fresh(code, path=site).stdout == "4\n"


FIRST_PARTY: dict[str, dict[str, Any]] = {
    "all-MiniLM-L6-v2": {
        "repo": "sentence-transformers/all-MiniLM-L6-v2",
        "revision": "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        "architecture": "bert",
        "dims": 384,
        "max_seq_length": 256,
        "chain": (Pooling(mode="mean"), Normalize()),
        "prompts": {},
        "license": "Apache-2.0",
        "size_mb": 91,
        "files": {
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
    },
    "all-mpnet-base-v2": {
        "repo": "sentence-transformers/all-mpnet-base-v2",
        "revision": "e8c3b32edf5434bc2275fc9bab85f82640a19130",
        "architecture": "mpnet",
        "dims": 768,
        "max_seq_length": 384,
        "chain": (Pooling(mode="mean"), Normalize()),
        "prompts": {},
        "license": "Apache-2.0",
        "size_mb": 438,
        "files": {
            "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
        },
    },
    "bge-small-en-v1.5": {
        "repo": "BAAI/bge-small-en-v1.5",
        "revision": "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
        "architecture": "bert",
        "dims": 384,
        "max_seq_length": 512,
        "chain": (Pooling(mode="cls"), Normalize()),
        "prompts": {"query": "Represent this sentence for searching relevant passages: "},
        "license": "MIT",
        "size_mb": 133,
        "files": {
            "model.safetensors": "3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad",
            "tokenizer.json": "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
            "config.json": "094f8e891b932f2000c92cfc663bac4c62069f5d8af5b5278c4306aef3084750",
        },
    },
    "e5-small-v2": {
        "repo": "intfloat/e5-small-v2",
        "revision": "ffb93f3bd4047442299a41ebb6fa998a38507c52",
        "architecture": "bert",
        "dims": 384,
        "max_seq_length": 512,
        "chain": (Pooling(mode="mean"), Normalize()),
        "prompts": {"query": "query: ", "document": "passage: "},
        "license": "MIT",
        "size_mb": 133,
        "files": {
            "model.safetensors": "45bfa60070649aae2244fbc9d508537779b93b6f353c17b0f95ceccb1c5116c1",
            "tokenizer.json": "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
            "config.json": "5dfb0363cd0243be179c03bcaafd1542d0fbb95e8cbcf575fff3e229342adc2f",
        },
    },
}
"""What the models' own repositories say, independently of the pack."""


@pytest.mark.parametrize("name", FIRST_PARTY)
def test_a_first_entry_states_the_facts_of_its_repository(installed: Registry, name: str) -> None:
    spec = installed.find(name)
    assert spec is not None
    assert {fact: getattr(spec, fact) for fact in FIRST_PARTY[name]} == FIRST_PARTY[name]
    assert (spec.similarity, spec.matryoshka.dims, spec.transformer) == ("cosine", (), Transformer())
    assert spec.preferred_backend == "onnxruntime"


def test_a_changed_entry_is_not_the_registered_one(installed: Registry) -> None:
    spec = installed.find("minilm")
    assert spec is not None
    with pytest.raises(SpecError):
        register(replace(spec, dims=128))
