"""Backends are found by name and never swapped for another; what is missing or broken is reported with the fix."""

import re
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from embedry import (
    BackendImportError,
    Dense,
    LibraryModule,
    OptionError,
    Pooling,
    UnknownBackendError,
    UnsupportedModelError,
    _backends,
    resolve,
)
from embedry.backend import Backend
from entries import entry, points

WORKING = """
from embedry.backend import Backend
from embedry.modules import Normalize, Pooling

class Made(Backend):
    devices = ("cuda", "cpu")
    precisions = ("fp32",)
    modules = (Pooling, Normalize)

    def load(self, request):
        raise NotImplementedError

backend = Made()
"""


@pytest.fixture
def provide(
    plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str, str], list[EntryPoint]]:
    """Installs a package that provides a backend; returns all entry points installed so far."""

    def install(package: str, name: str, source: str) -> list[EntryPoint]:
        module = f"{package.replace('-', '_')}_backend"
        site = plugin(package, {_backends.GROUP: {name: f"{module}:backend"}}, {module: source})
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return points(site, _backends.GROUP)

    return install


def test_a_backend_is_found_by_its_name_and_no_other_is_imported(provide: Callable[..., list[EntryPoint]]) -> None:
    provide("acme-broken", "broken", "raise RuntimeError('imported')")
    found = provide("acme-works", "works", WORKING)
    backend = _backends.find("works", found)
    assert isinstance(backend, Backend)
    assert backend.devices == ("cuda", "cpu")
    assert _backends.names(found) == ("broken", "works")


def test_a_missing_backend_is_an_error_with_the_nearest_and_the_command() -> None:
    with pytest.raises(UnknownBackendError) as error:
        _backends.find("onnxruntme")
    assert "the backend 'onnxruntme' is not installed; did you mean 'onnxruntime'?" in str(error.value)
    assert "installed: " in str(error.value)
    assert "pip install" not in str(error.value), "a misspelt name could be anybody's package"


def test_without_any_backend_the_error_says_so() -> None:
    with pytest.raises(UnknownBackendError, match="installed: none; try: pip install embedry-onnxruntime"):
        _backends.find("onnxruntime", [])


@pytest.mark.parametrize(
    ("source", "facts"),
    [
        ("import a_library_that_is_gone", ["'made' of acme-made 1.0 cannot be imported", "a_library_that_is_gone"]),
        ("raise OSError('libcudart.so.12 not found')", ["acme-made 1.0", "OSError: libcudart.so.12 not found"]),
        ("other = 1", ["acme-made 1.0", "AttributeError", "'backend'"]),
        (
            "backend = 'no engine'",
            ["'acme_made_backend:backend' of acme-made 1.0", "embedry.backend.Backend", "'no engine'"],
        ),
    ],
)
def test_a_backend_that_is_broken_is_an_error_that_names_its_package(
    provide: Callable[..., list[EntryPoint]], source: str, facts: list[str]
) -> None:
    with pytest.raises(BackendImportError) as error:
        _backends.find("made", provide("acme-made", "made", source))
    assert [fact for fact in facts if fact not in str(error.value)] == []


def test_a_backend_that_cannot_be_imported_is_an_error_with_the_command_that_repairs_it(
    provide: Callable[..., list[EntryPoint]],
) -> None:
    with pytest.raises(BackendImportError, match=r"pip install --force-reinstall acme-made$") as error:
        _backends.find("made", provide("acme-made", "made", "1 / 0"))
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_two_packages_that_provide_one_backend_are_both_named(provide: Callable[..., list[EntryPoint]]) -> None:
    provide("acme-one", "made", WORKING)
    found = provide("acme-two", "made", WORKING)
    with pytest.raises(UnknownBackendError, match=r"'made' is provided by .*; uninstall one of them") as error:
        _backends.find("made", found)
    assert "acme-one 1.0" in str(error.value)
    assert "acme-two 1.0" in str(error.value)


def test_the_default_device_is_the_backends_first(provide: Callable[..., list[EntryPoint]]) -> None:
    backend = _backends.find("made", provide("acme-made", "made", WORKING))
    assert _backends.check(backend, "made", entry(), None, None) == "cuda"
    assert _backends.check(backend, "made", entry(), "cpu", None) == "cpu"
    assert _backends.check(backend, "made", entry(), "cuda:1", None) == "cuda:1"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "CPU", "", 0])
def test_a_device_that_the_backend_lacks_is_an_error_that_says_what_it_has(device: str) -> None:
    with pytest.raises(
        OptionError, match=re.escape(f"'onnxruntime' does not run on device={device!r}; it runs on cpu")
    ):
        resolve("minilm", device=device)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {
                "chain": (
                    Pooling(mode="mean"),
                    LibraryModule(class_name="sentence_transformers.models.CNN", path="2_CNN"),
                )
            },
            "it does not run sentence_transformers.models.CNN as 2_CNN sets it up; try backend='sentence-transformers'",
        ),
        (
            {"chain": (Pooling(mode="mean", include_prompt=False),)},
            "its pooling leaves out the prompt, which token ids do not tell; try backend='sentence-transformers'",
        ),
        ({"architecture": "deberta-v2"}, "graphs are written for bert, distilbert, gemma3_text, "),
    ],
)
def test_a_model_that_a_backend_cannot_reproduce_is_refused_with_the_one_that_can(
    changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(UnsupportedModelError) as error:
        resolve(entry(**changes))
    assert f"the backend 'onnxruntime' cannot load 'tiny': {reason}" in str(error.value)
    assert "try backend=" in str(error.value)


def test_where_no_installed_backend_takes_a_model_the_package_is_named_that_might(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_backends, "names", lambda: ("onnxruntime",))
    with pytest.raises(
        UnsupportedModelError, match="no installed backend supports it; try: pip install embedry-sentence"
    ):
        resolve(entry(architecture="deberta-v2"))


def test_a_preferred_backend_that_is_missing_is_an_error_and_never_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBEDRY_BACKEND", raising=False)
    with pytest.raises(UnknownBackendError, match="the backend 'unheard-of' is not installed; installed: onnxruntime"):
        resolve(entry(preferred_backend="unheard-of"))


def test_the_environment_beats_the_preferred_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDRY_BACKEND", "of-the-environment")
    with pytest.raises(
        UnknownBackendError, match=r"'of-the-environment' is not installed.*; the name comes from EMBEDRY_BACKEND"
    ):
        resolve("minilm")


def test_the_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDRY_BACKEND", "of-the-environment")
    embedder = resolve(entry(preferred_backend="exotic"), backend="onnxruntime")
    assert embedder.config.backend == "onnxruntime"


def test_an_empty_environment_variable_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDRY_BACKEND", "")
    assert resolve("minilm").config.backend == "onnxruntime"


OLD = """
class Made:
    devices = ("cpu",)
    precisions = ("fp32",)
    def refusal(self, spec):
        return None
    def load(self, spec, folder, *, device, precision, threads, cache_dir):
        raise NotImplementedError
backend = Made()
"""


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        (OLD, "is not a backend of this version: it must be an instance of embedry.backend.Backend"),
        ("from embedry import Encoder, ModelSpec" + OLD, "cannot import name 'Encoder'"),
    ],
)
def test_a_backend_of_version_0_1_is_refused(provide: Callable[..., list[EntryPoint]], source: str, fact: str) -> None:
    with pytest.raises(BackendImportError, match=re.escape(fact)):
        _backends.find("made", provide("acme-old", "made", source))


def test_a_module_that_a_backend_does_not_declare_is_refused_before_it_is_asked(
    provide: Callable[..., list[EntryPoint]],
) -> None:
    backend = _backends.find("made", provide("acme-made", "made", WORKING))
    chain = (Pooling(mode="mean"), Dense(path="2_Dense", inputs=48, outputs=48))
    spec = entry(chain=chain, files=dict.fromkeys((*entry().files, "2_Dense/model.safetensors")))
    with pytest.raises(UnsupportedModelError, match="the backend 'made' cannot load 'tiny': it does not run Dense"):
        _backends.check(backend, "made", spec, None, None)
