"""One engine for all embedders that differ in cheap options, in memory once, and given back when it is unloaded."""

import gc
import subprocess
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedry import (
    BackendContractError,
    LazyEmbedder,
    Matryoshka,
    ModelSpec,
    OptionError,
    Pooling,
    TextTypeError,
    _backends,
    engine,
    resolve,
)
from embedry.backend import Backend, Encoder, LoadRequest, TextEncoder
from embedry.modules import Chain
from entries import contents, entry, fill, registered
from recording import Held, Recorder, over
from waiting import PATIENCE, asked

Checkpoint = Callable[..., Path]
Fresh = Callable[..., subprocess.CompletedProcess[str]]

TEXTS = ["a text", "another text of a few more words", "", "a text"]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[LoadRequest]:
    """The loads of the default backend."""
    seen: list[LoadRequest] = []
    backend = _backends.find("onnxruntime")
    real: Callable[[LoadRequest], Encoder | TextEncoder] = backend.load

    def load(request: LoadRequest) -> Encoder | TextEncoder:
        seen.append(request)
        return real(request)

    monkeypatch.setattr(backend, "load", load)
    return seen


def test_every_cheap_option_is_a_view_of_one_engine_and_has_its_own_vectors(
    checkpoint: Checkpoint, tmp_path: Path, loads: list[LoadRequest]
) -> None:
    spec = registered(checkpoint("bert"), matryoshka=Matryoshka(dims=(16, 8)), chain=(Pooling(mode="mean"),))
    base = resolve(spec, cache_dir=tmp_path)
    views = {
        "dims": resolve(spec, cache_dir=tmp_path, dims=16),
        "other dims": resolve(spec, cache_dir=tmp_path, dims=8),
        "unit length": resolve(spec, cache_dir=tmp_path, normalize=True),
        "length": resolve(spec, cache_dir=tmp_path, max_seq_length=4),
        "warn": resolve(spec, cache_dir=tmp_path, on_overflow="warn"),
        "error": resolve(spec, cache_dir=tmp_path, on_overflow="error"),
        "prompts": resolve(replace(spec, prompts={"document": "another text: "}), cache_dir=tmp_path),
        "fp32": resolve(spec, cache_dir=tmp_path, precision="fp32", device="cpu"),
    }
    whole = base.encode_document(TEXTS)
    found = {name: each.encode_document(TEXTS) for name, each in views.items()}
    assert len(loads) == 1
    assert {id(each.engine) for each in views.values()} == {id(base.engine)}
    assert base.info["embedders"] == str(len({id(base), *map(id, views.values())}))
    np.testing.assert_array_equal(found["dims"], whole[:, :16])
    np.testing.assert_array_equal(found["other dims"], whole[:, :8])
    np.testing.assert_allclose(found["unit length"], whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)
    for same in ("warn", "error", "fp32"):
        np.testing.assert_array_equal(found[same], whole)
    by_hand = base.encode_document([f"another text: {text}" for text in TEXTS])
    np.testing.assert_array_equal(found["prompts"], by_hand)
    alone = LazyEmbedder(views["length"].config)
    np.testing.assert_array_equal(found["length"], alone.encode_document(TEXTS))
    assert np.abs(found["length"][1] - whole[1]).max() > 1e-3
    assert len(loads) == 2, "the embedder alone has an engine of its own"


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 3}, {"cache_dir": "elsewhere"}, {"precision": "int8"}])
def test_what_changes_what_is_loaded_is_another_engine(options: dict[str, Any], tmp_path: Path) -> None:
    if "cache_dir" in options:
        options = {"cache_dir": tmp_path / options["cache_dir"]}
    assert resolve("minilm", **options).engine is not resolve("minilm").engine


def test_the_vectors_of_a_folder_whose_weights_were_replaced_are_those_of_the_new_weights(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """As after one more epoch of training in the same notebook."""
    files = contents(checkpoint("bert"))
    folder = fill(tmp_path / "model", files)
    before = resolve(folder, cache_dir=tmp_path / "cache")
    old = before.encode_query(TEXTS)
    assert resolve(folder, cache_dir=tmp_path / "cache") is before
    (folder / "model.safetensors").write_bytes(scaled(files["model.safetensors"]))
    after = resolve(folder, cache_dir=tmp_path / "cache")
    assert after is not before
    assert np.abs(after.encode_query(TEXTS) - old).max() > 1e-3
    np.testing.assert_array_equal(before.encode_query(TEXTS), old)


def scaled(weights: bytes) -> bytes:
    from safetensors.numpy import load, save

    return save({name: tensor * np.float32(1.5) for name, tensor in load(weights).items()}, metadata={"format": "pt"})


def test_an_embedder_that_nobody_holds_goes_and_its_engine_stays(checkpoint: Checkpoint, tmp_path: Path) -> None:
    held = weakref.ref(resolve(checkpoint("bert"), cache_dir=tmp_path, max_seq_length=7).load())
    gc.collect()
    assert held() is None
    assert resolve(checkpoint("bert"), cache_dir=tmp_path).loaded


def test_unload_gives_everything_back_and_the_next_call_loads_again(
    checkpoint: Checkpoint, tmp_path: Path, loads: list[LoadRequest]
) -> None:
    embedder = resolve(checkpoint("bert"), cache_dir=tmp_path)
    embedder.unload()  # nothing is loaded, and nothing happens
    expected = embedder.encode_document(TEXTS)
    loaded = embedder.engine.load()
    parts = [weakref.ref(each) for each in (loaded, loaded.encoder, loaded.scheduler, loaded.reader)]
    workers = loaded.scheduler._threads
    del loaded
    embedder.unload()
    assert not embedder.loaded
    assert not any(worker.is_alive() for worker in workers)
    assert [part() for part in parts] == [None] * 4
    np.testing.assert_array_equal(embedder.encode_document(TEXTS), expected)
    assert len(loads) == 2


def test_what_is_being_computed_goes_on_after_unload(minilm: LazyEmbedder) -> None:
    held = Held()
    embedder = over(held, minilm)
    texts = [f"text {number} " * (number % 7 + 1) for number in range(50)]
    stream = embedder.encode_stream(texts, role="document")
    under_way = asked(lambda: embedder.encode_document(texts))
    assert held.entered.wait(PATIENCE)
    loaded = weakref.ref(embedder.engine.load())
    embedder.unload()
    assert not embedder.loaded
    held.go_on.set()
    expected = over(Recorder(), minilm).encode_document(texts)
    np.testing.assert_array_equal(under_way.result(PATIENCE), expected)
    del stream
    gc.collect()
    assert loaded() is None, "the memory goes with the last call"


def test_the_last_with_block_unloads(checkpoint: Checkpoint, tmp_path: Path, loads: list[LoadRequest]) -> None:
    one = resolve(checkpoint("bert"), cache_dir=tmp_path)
    other = resolve(checkpoint("bert"), cache_dir=tmp_path, normalize=False)
    with one as embedder:
        assert embedder is one
        assert not one.loaded
        with other:
            other.embed_query("a text")
        assert one.loaded, "another block is still open"
        one.embed_query("a text")
    assert not one.loaded
    with pytest.raises(TextTypeError), one:
        one.load().embed_documents("a text")
    assert not one.loaded
    assert len(loads) == 2


class Elsewhere(Backend):
    """An engine whose model is on another machine."""

    devices = ("auto",)
    precisions = ("fp32",)
    modules = (Pooling,)
    needs_files = False

    def __init__(self) -> None:
        self.requests: list[LoadRequest] = []
        self.checked: list[tuple[ModelSpec, Chain]] = []
        self.encoder: Encoder | TextEncoder = self._Encoder(self.checked)

    class _Encoder(TextEncoder):
        info: dict[str, str] = {}  # noqa: RUF012  the protocol's

        def __init__(self, checked: list[tuple[ModelSpec, Chain]]) -> None:
            self._checked = checked

        def check(self, spec: ModelSpec, chain: Chain) -> None:
            self._checked.append((spec, chain))

        def lengths(self, texts: Any) -> list[int]:
            return [len(text) for text in texts]

        def forward_texts(self, texts: Any, prompt: str) -> Any:
            return np.full((len(texts), 48), len(prompt), dtype=np.float32)

    def load(self, request: LoadRequest) -> Encoder | TextEncoder:
        self.requests.append(request)
        return self.encoder


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    backend, real = Elsewhere(), _backends.find
    monkeypatch.setattr(_backends, "find", lambda name: backend if name == "elsewhere" else real(name))
    return backend


def test_a_backend_that_needs_no_files_loads_without_them_and_checks_the_whole_entry(elsewhere: Elsewhere) -> None:
    spec = entry(prompts={"query": "find: "})
    embedder = LazyEmbedder(resolve(spec, backend="elsewhere", normalize=False).config)
    assert embedder.embed_query("a text") == [6.0] * 48
    (request,) = elsewhere.requests
    assert not any((request.folder / file).exists() for file in spec.files)
    assert request.config is None
    assert request.spec.prompts == {}
    assert elsewhere.checked == [(spec, (Pooling(mode="mean"),))]


def test_a_backend_that_takes_token_ids_and_needs_no_files_is_refused(elsewhere: Elsewhere) -> None:
    elsewhere.encoder = Recorder()
    with pytest.raises(BackendContractError, match="'elsewhere' declares needs_files = False, but takes token ids"):
        LazyEmbedder(resolve(entry(), backend="elsewhere").config).load()


def test_a_view_whose_length_is_impossible_is_refused_and_the_others_work(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    class Whole(TextEncoder):
        info: dict[str, str] = {}  # noqa: RUF012  the protocol's

        def lengths(self, texts: Any) -> list[int]:
            return [len(text) for text in texts]

        def forward_texts(self, texts: Any, prompt: str) -> Any:
            return np.ones((len(texts), 48), dtype=np.float32)

    own = over(Whole(), resolve(checkpoint("bert"), cache_dir=tmp_path))
    shorter = LazyEmbedder(replace(own.config, max_seq_length=5), own.engine)
    with pytest.raises(OptionError, match="max_seq_length=5 is not supported"):
        shorter.embed_query("a text")
    assert len(own.embed_query("a text")) == 48


MEMORY = """
import gc
from embedry import resolve

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

texts = [f"{n} some words of a text that is not short" for n in range(300)]
embedder = resolve("all-MiniLM-L6-v2", threads=1)
for _ in range(2):  # what is imported stays, and a few MB of the C library's
    embedder.encode_document(texts)
    embedder.unload()
before = resident()
embedder.encode_document(texts)
views = [resolve("all-MiniLM-L6-v2", threads=1, **options) for options in (
    {"on_overflow": "warn"}, {"on_overflow": "error"}, {"normalize": False}, {"max_seq_length": 64}
)]
one = resident()
for view in views:
    view.encode_document([f"{text} again" for text in texts])
all_views = resident()
embedder.unload()
after = resident()
print(one - before, all_views - one, all_views - after)
"""


@pytest.mark.alone  # it looks at memory the moment after it was given back
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs to see the memory of the process")
def test_views_cost_next_to_nothing_and_unload_gives_back_what_loading_took(minilm: LazyEmbedder, fresh: Fresh) -> None:
    took, views, given_back = map(int, fresh(MEMORY).stdout.split())
    assert took > 50e6, "the weights are 90 MB, of which the table of tokens is read in part"
    assert views < 0.1 * took
    assert given_back >= 0.9 * (took + views)
    print(f"loading took {took / 1e6:.0f} MB, four views {views / 1e6:.0f}, unload gave back {given_back / 1e6:.0f}")


def test_every_engine_is_held_once(checkpoint: Checkpoint, tmp_path: Path) -> None:
    before = len(engine._engines)
    for length in range(3, 20):
        resolve(checkpoint("bert"), cache_dir=tmp_path / "new", max_seq_length=length)
    assert len(engine._engines) == before + 1
