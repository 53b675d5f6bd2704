"""Whatever interrupts a caller, and wherever: no worker is lost, no later call hangs, and every vector is right."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import engine, lazy, prepared, views
from embedry._pipeline import loaded, pipeline, readers, results, scheduler, texts
from embedry.views import LazyEmbedder
from recording import Recorder, over
from waiting import PATIENCE, until

pytestmark = pytest.mark.alone

INTERRUPTS = int(os.environ.get("EMBEDRY_TEST_INTERRUPTS", "1000"))
"""How many random ones; 20,000 take a few minutes."""

FILES = {
    module.__file__ for module in (engine, lazy, loaded, pipeline, prepared, readers, results, scheduler, texts, views)
}
"""Where a caller meets the scheduler, and what it passes on the way there."""

TEXTS = ["one", "two words", "and three words", "one", "this one is the longest of them all", "six"]


class Interrupted(KeyboardInterrupt):
    """So that no other interrupt is taken for it."""


class Tracer:
    """Runs work in this thread and interrupts it before the bytecode of a number, counting those of `FILES`."""

    def __init__(self) -> None:
        self._remaining = 0
        self.where = ""

    def run(self, work: Callable[[], NDArray[np.float32]], number: int) -> NDArray[np.float32]:
        """What the work gives, if it has no more bytecodes than that.

        Raises:
            Interrupted: it has, and the one of that number was not run; `where` says which it was.
        """
        self._remaining, self.where = number, ""
        sys.settrace(self._on_call)
        try:
            return work()
        finally:
            sys.settrace(None)

    def _step(self, code: CodeType, line: int | None) -> None:
        self._remaining -= 1
        if self._remaining == -1:
            self.where = f"{Path(code.co_filename).name}:{line}"
            sys.settrace(None)
            raise Interrupted

    def _on_call(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._on_opcode

    def _on_opcode(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            self._step(frame.f_code, frame.f_lineno)
        return self._on_opcode


class Monitor(Tracer):
    """The same with sys.monitoring, because from Python 3.12 on not all bytecodes are traced."""

    TOOL = 4

    def run(self, work: Callable[[], NDArray[np.float32]], number: int) -> NDArray[np.float32]:
        """See `Tracer.run`."""
        self._remaining, self.where = number, ""
        monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        thread = threading.get_ident()
        lines: dict[CodeType, list[tuple[int, int, int | None]]] = {}

        def on_instruction(code: CodeType, offset: int) -> Any:
            if code.co_filename not in FILES:
                return monitoring.DISABLE
            if threading.get_ident() == thread and self._remaining >= 0:
                found = lines.setdefault(code, list(code.co_lines()))
                self._step(code, next((line for start, end, line in found if start <= offset < end), None))
            return None

        monitoring.use_tool_id(self.TOOL, "interrupts")
        monitoring.register_callback(self.TOOL, monitoring.events.INSTRUCTION, on_instruction)
        monitoring.set_events(self.TOOL, monitoring.events.INSTRUCTION)
        try:
            return work()
        finally:
            monitoring.set_events(self.TOOL, 0)
            monitoring.free_tool_id(self.TOOL)


def encode(embedder: LazyEmbedder) -> NDArray[np.float32]:
    return embedder.encode(TEXTS, role="document")


def one_query(embedder: LazyEmbedder) -> NDArray[np.float32]:
    return embedder.encode(TEXTS[:1], role="query")


def with_deadline(embedder: LazyEmbedder) -> NDArray[np.float32]:
    return embedder.encode(TEXTS, role="document", timeout=PATIENCE)


def stream(embedder: LazyEmbedder) -> NDArray[np.float32]:
    return np.concatenate(list(embedder.encode_stream(TEXTS, role="document")))


def prepare(embedder: LazyEmbedder) -> NDArray[np.float32]:
    return embedder.prepare(TEXTS, role="document").encode()


@pytest.fixture
def embedder(minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch) -> LazyEmbedder:
    """Over an exact engine of two workers, with several batches a block and several blocks a call."""
    monkeypatch.setattr(pipeline, "_BLOCK_TEXTS", 4)
    exact = Recorder()
    exact.workers, exact.batch_tokens = 2, 16
    return over(exact, minilm)


@pytest.mark.parametrize(
    ("work", "is_busy"),
    [
        *((work, False) for work in (encode, one_query, with_deadline, stream, prepare)),
        (one_query, True),
        (stream, True),
    ],
    ids=lambda value: {False: "idle", True: "beside others"}[value] if isinstance(value, bool) else value.__name__,
)
def test_an_interrupt_before_any_bytecode_loses_nothing(
    embedder: LazyEmbedder, work: Callable[[LazyEmbedder], NDArray[np.float32]], is_busy: bool
) -> None:
    expected = work(embedder)
    tracer = Monitor() if sys.version_info >= (3, 12) else Tracer()
    places: set[str] = set()
    with asking(embedder, threads=2 if is_busy else 0):
        number = 0
        while True:
            try:
                found = tracer.run(lambda: work(embedder), number)
            except Interrupted:
                places.add(tracer.where)
            else:
                np.testing.assert_array_equal(found, expected)
                assert not tracer.where, f"the interrupt at {tracer.where} was swallowed"
                break
            after = embedder.encode(TEXTS, role="document", timeout=PATIENCE)
            np.testing.assert_array_equal(after[[0]] if work is one_query else after, expected, err_msg=tracer.where)
            number += 1
    print(f"{number} interrupts in {len(places)} lines")
    assert number > 300, "the path was really taken apart"
    at_rest(embedder)


class asking:  # noqa: N801  used as a function
    """Threads that ask for vectors as long as the block lasts, and compare them."""

    def __init__(self, embedder: LazyEmbedder, *, threads: int) -> None:
        self._embedder = embedder
        self._ends = False
        self._wrong: list[object] = []
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(threads)]
        self.asked = 0

    def _ask(self, number: int) -> None:
        mine = [f"{text} {number}" for text in TEXTS[: 1 + number % 3]]
        expected = over(Recorder(), self._embedder).encode_document(mine)
        while not self._ends:
            try:
                found = self._embedder.encode(mine, role="document", timeout=PATIENCE)
                if not np.array_equal(found, expected):
                    self._wrong.append(found)
            except BaseException as error:
                self._wrong.append(error)
            self.asked += 1

    def __enter__(self) -> "asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)
        assert not self._wrong, self._wrong[:3]


def at_rest(embedder: LazyEmbedder) -> None:
    """Nothing runs, nothing waits, and the workers still live."""
    found = embedder.engine.load().scheduler
    embedder.encode(TEXTS, role="document", timeout=PATIENCE)
    until(lambda: not (found._running or found._arrived))
    assert not any(request.todo for request in found._waiting)
    assert all(thread.is_alive() for thread in found._threads)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that interrupts")
def test_interrupts_at_random_moments_beside_six_asking_threads_lose_nothing(embedder: LazyEmbedder) -> None:
    is_armed = False

    def ring(*_: object) -> None:
        if is_armed:
            raise KeyboardInterrupt

    chance, interrupts, calls = random.Random(0), 0, 0
    works = {work: work(embedder) for work in (encode, one_query, with_deadline, stream, prepare)}
    before = signal.signal(signal.SIGALRM, ring)
    gc.disable()  # Python swallows what is raised in a callback of the collector, and other libraries have some
    try:
        with asking(embedder, threads=6) as others:
            while interrupts < INTERRUPTS:
                work, expected = chance.choice(list(works.items()))
                calls += 1
                try:
                    is_armed = True
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 4e-3))
                    found = work(embedder)
                    is_armed = False
                except KeyboardInterrupt:
                    is_armed = False
                    interrupts += 1
                else:
                    np.testing.assert_array_equal(found, expected)
    finally:
        is_armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    print(f"{interrupts} interrupts in {calls} calls, beside {others.asked} calls of others")
    at_rest(embedder)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that interrupts")
@pytest.mark.parametrize("work", [encode, one_query, stream], ids=lambda work: work.__name__)
def test_a_signal_handler_may_encode_while_its_own_thread_does(
    embedder: LazyEmbedder, work: Callable[[LazyEmbedder], NDArray[np.float32]]
) -> None:
    found: list[NDArray[np.float32]] = []
    expected, own = work(embedder), embedder.encode(TEXTS, role="query")
    before = signal.signal(
        signal.SIGALRM, lambda *_: found.append(embedder.encode(TEXTS, role="query", timeout=PATIENCE))
    )
    deadline = time.monotonic() + PATIENCE
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-3, 3e-3)
        while len(found) < 50:
            np.testing.assert_array_equal(work(embedder), expected)
            assert time.monotonic() < deadline
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for vectors in found:
        np.testing.assert_array_equal(vectors, own)


LOADING = """
import signal
from embedry import BackendError, _backends, resolve
embedder = resolve(FOLDER)
real = _backends.find

def handle(*_):
    try:
        embedder.embed_query("a text")
    except BackendError as error:
        print(error)

def interrupted(name):
    signal.raise_signal(signal.SIGUSR1)
    return real(name)

signal.signal(signal.SIGUSR1, handle)
_backends.find = interrupted
signal.alarm(60)
print(len(embedder.embed_query("a text")))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs a signal of the application's own")
def test_a_signal_handler_that_encodes_while_its_own_thread_loads_gets_an_error(
    checkpoint: Callable[..., Path], fresh: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    error, length = fresh(LOADING.replace("FOLDER", repr(str(checkpoint("bert"))))).stdout.splitlines()
    assert "cannot be used by a signal handler that interrupts its loading" in error
    assert "embedder.load()" in error
    assert length == "48"


TWICE = """
import signal
from embedry import resolve
signal.signal(signal.SIGINT, signal.default_int_handler)
embedder = resolve("all-MiniLM-L6-v2").load()
texts = [f"{n} " + "some words of a text that is not short " * 8 for n in range(2_000)]
print("ready", flush=True)
while True:
    embedder.encode_document(texts)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="needs signals to a process")
def test_two_quick_interrupts_end_the_process_as_one_does(minilm: LazyEmbedder) -> None:
    codes = []
    for gap in (0.0, 0.005, 0.02, 0.03, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", TWICE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3 + gap)  # in the middle of a block
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(gap)
        _, errors = process.communicate(timeout=PATIENCE)
        assert "KeyboardInterrupt" in errors
        assert "terminate called" not in errors
        codes.append(process.returncode)
    assert set(codes) <= {-signal.SIGINT, 128 + signal.SIGINT}
