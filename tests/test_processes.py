"""One model for all threads of a process, the same vectors in every process, and no hang after a fork."""

import concurrent.futures
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import Dense, Matryoshka, Normalize, Pooling, WeightsNotFoundError, _backends, register, registry, resolve
from embedry.backend import Backend, Encoder, LoadRequest
from embedry.views import LazyEmbedder
from entries import contents, entry, fill, registered

TEXTS = ["a text", "another text of a few more words", "", *[f"number {n}" for n in range(300)]]

Fresh = Callable[..., subprocess.CompletedProcess[str]]


class Counting(Backend, Encoder):
    """A backend that counts its loads; a text's vector has its number of tokens and its first ones."""

    devices = ("cpu",)
    precisions = ("fp32",)
    modules = (Pooling, Dense, Normalize)
    workers = 1
    batch_tokens = 64
    info: dict[str, str] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.loads = 0

    def load(self, request: LoadRequest) -> "Counting":
        self.loads += 1
        return self

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        vectors = np.zeros((len(ids), 48), dtype=np.float32)
        vectors[:, 0] = mask.sum(axis=1)
        vectors[:, 1:5] = (ids * mask)[:, :4] if ids.shape[1] >= 4 else 0
        return vectors


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """The only backend that there is."""
    backend = Counting()
    monkeypatch.setattr(_backends, "find", lambda name: backend)
    return backend


@pytest.fixture
def embedder(checkpoint: Callable[..., Path], tmp_path: Path) -> LazyEmbedder:
    """A tiny model with an empty cache."""
    return resolve(checkpoint("bert"), cache_dir=tmp_path / "cache")


def at_once(number: int, work: Callable[[], Any]) -> list[Any]:
    """What the work gives in so many threads that start together."""
    barrier = Barrier(number)

    def run() -> Any:
        barrier.wait()
        return work()

    with concurrent.futures.ThreadPoolExecutor(number) as threads:
        return [future.result() for future in [threads.submit(run) for _ in range(number)]]


def test_64_threads_that_come_first_load_the_model_once_and_get_the_same(
    counting: Counting, embedder: LazyEmbedder, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    def work() -> tuple[LazyEmbedder, bytes]:
        same = resolve(checkpoint("bert"), cache_dir=tmp_path / "cache")
        return same, same.encode_document(TEXTS).tobytes()

    found = at_once(64, work)
    assert counting.loads == 1
    assert {id(same) for same, _ in found} == {id(embedder)}
    assert len({vectors for _, vectors in found}) == 1


def test_threads_that_share_an_embedder_get_their_own_texts(embedder: LazyEmbedder) -> None:
    expected = embedder.encode_document(TEXTS)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        parts = threads.map(lambda start: embedder.encode_document(TEXTS[start : start + 20]), range(0, 300, 20))
    np.testing.assert_allclose(np.concatenate(list(parts)), expected[:300], atol=1e-5)


def test_plugins_are_collected_once_by_threads_that_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[object] = []
    collect = registry.collect
    registry._collected.cache_clear()
    monkeypatch.setattr(registry, "collect", lambda points: collected.append(points) or collect(points))
    found = at_once(16, registry.installed)
    assert len(collected) == 1
    assert {id(one) for one in found} == {id(found[0])}


def test_a_load_that_failed_is_tried_again(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    files = contents(checkpoint("bert"))
    embedder = resolve(fill(tmp_path / "model", files), cache_dir=tmp_path / "cache")
    weights = files.pop("model.safetensors")
    (tmp_path / "model" / "model.safetensors").unlink()
    for _ in range(2):
        with pytest.raises(WeightsNotFoundError, match=r"lacks model\.safetensors; it has "):
            embedder.encode_query(TEXTS)
        assert not embedder.loaded
    (tmp_path / "model" / "model.safetensors").write_bytes(weights)
    np.testing.assert_array_equal(embedder.encode_query(TEXTS), resolve(checkpoint("bert")).encode_query(TEXTS))


def test_eight_processes_that_compile_at_once_agree_and_leave_one_good_graph(
    embedder: LazyEmbedder, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    code = f"""
import hashlib, sys, warnings
warnings.simplefilter("error")
import onnx, onnxruntime, embedry._pipeline.pipeline
from embedry import resolve
embedder = resolve({str(checkpoint("bert"))!r}, cache_dir={str(tmp_path / "cache")!r}, threads=1)
print("ready", flush=True)
sys.stdin.readline()
print(hashlib.sha256(embedder.encode_document({TEXTS[:3]!r}).tobytes()).hexdigest())
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(8)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120) for process in started]
    assert [errors for _, errors in said] == [""] * 8
    assert len({vectors for vectors, _ in said}) == 1
    graphs = contents(tmp_path / "cache" / "graphs")
    assert sorted(Path(file).name for file in graphs) == ["about.txt", "digests.json", "model.onnx", "weights.bin"]
    assert list((tmp_path / "cache" / "staging").iterdir()) == []
    embedder.encode_query(TEXTS)
    assert contents(tmp_path / "cache" / "graphs") == graphs


FORK = """
import os, signal, sys, threading
os.environ.pop("TOKENIZERS_PARALLELISM", None)
from embedry import resolve
signal.alarm(100)
embedder = resolve(FOLDER)
texts = [f"text number {n} of many" for n in range(64)]

def in_child(work):
    process = os.fork()
    if process == 0:
        signal.alarm(60)  # a child that hangs ends here, with another status than 0
        try:
            os._exit(0 if work() else 3)
        finally:
            os._exit(4)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
"""


@pytest.fixture
def forking(checkpoint: Callable[..., Path], fresh: Fresh) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs code in a process that may fork; multi-threaded ones are warned by Python itself, which is the point here."""
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    start = FORK.replace("FOLDER", repr(str(checkpoint("bert"))))
    return lambda code: fresh(start + code)


Forking = Callable[[str], subprocess.CompletedProcess[str]]


def test_a_forked_child_has_the_same_embedder_and_gets_the_same_vectors_while_the_parents_threads_encode(
    forking: Forking,
) -> None:
    result = forking(
        """
expected = embedder.encode_document(texts).tobytes()
stop = threading.Event()

def busy():
    while not stop.is_set():
        embedder.encode_document(texts)

threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads:
    thread.start()

def child():
    same = resolve(embedder.spec.folder) is embedder and not embedder.loaded
    return same and embedder.encode_document(texts).tobytes() == expected and embedder.loaded

print([in_child(child) for _ in range(4)])
stop.set()
for thread in threads:
    thread.join()
print(embedder.encode_document(texts).tobytes() == expected)
""".replace("FOLDER", "embedder.spec.folder")
    )
    assert result.stdout == "[0, 0, 0, 0]\nTrue\n"


def test_a_child_forked_while_another_thread_loads_can_load(forking: Forking) -> None:
    result = forking("""
from embedry._files import sources
loading, forked = threading.Event(), threading.Event()
ensure_local, parent = sources.ensure_local, os.getpid()

def slow(*arguments):
    if os.getpid() == parent:
        loading.set()
        forked.wait()
    return ensure_local(*arguments)

sources.ensure_local = slow
thread = threading.Thread(target=embedder.load)
thread.start()
loading.wait()
print(in_child(lambda: len(embedder.embed_query("a text")) == 48))
forked.set()
thread.join()
print(embedder.loaded)
""")
    assert result.stdout == "0\nTrue\n"


def test_a_child_forked_while_another_thread_collects_the_plugins_can_resolve(forking: Forking) -> None:
    result = forking("""
from embedry import registry
collecting, forking = threading.Event(), threading.Event()
collect = registry.collect
registry._collected.cache_clear()

def slow(points):
    collecting.set()
    forking.wait()
    return collect(points)

registry.collect = slow
os.register_at_fork(before=forking.set)
thread = threading.Thread(target=registry.installed)
thread.start()
collecting.wait()
print(in_child(lambda: resolve("minilm").dims == 384))
thread.join()
""")
    assert result.stdout == "0\n"


def test_after_a_fork_the_tokenizers_say_nothing_on_stderr(forking: Forking) -> None:
    result = forking("""
embedder.encode_document(texts)
print(in_child(lambda: len(embedder.encode_document(texts)) == 64))
""")
    assert result.stdout == "0\n"
    assert result.stderr == ""


def test_an_embedder_pickles_to_itself_in_the_same_process(embedder: LazyEmbedder) -> None:
    embedder.embed_query("a text")
    assert len(pickle.dumps(embedder)) < 2_000
    assert pickle.loads(pickle.dumps(embedder)) is embedder
    options = resolve(entry(matryoshka=Matryoshka(dims=(16,))), dims=16, threads=3, on_overflow="warn")
    assert pickle.loads(pickle.dumps(options)) is options


def test_a_spawned_process_gets_the_same_vectors_even_of_a_model_that_only_this_program_registered(
    checkpoint: Callable[..., Path],
) -> None:
    registry._collected.cache_clear()
    register(registered(checkpoint("bert"), name="only-here", prompts={"query": "ask: "}))
    embedder = resolve("only-here")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        vectors = processes.submit(embedder.encode_query, TEXTS).result()
        assert processes.submit(embedder.embed_query, "a text").result() == embedder.embed_query("a text")
    np.testing.assert_array_equal(vectors, embedder.encode_query(TEXTS))
    registry._collected.cache_clear()


def test_an_interrupted_thread_does_not_keep_others_from_loading(
    counting: Counting, embedder: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = counting.load

    def interrupted(request: LoadRequest) -> Counting:
        monkeypatch.setattr(counting, "load", load)
        raise KeyboardInterrupt

    monkeypatch.setattr(counting, "load", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedder.load()
    thread = Thread(target=embedder.load)
    thread.start()
    thread.join(60)
    assert embedder.loaded
    assert counting.loads == 1
