"""Questions asked at the same time: each gets its own vector, they ride together, and none is lost or left waiting."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Barrier, Event, Thread, Timer
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry._pipeline.microbatches import MicroBatches, Request, _answer
from embedry.views import LazyEmbedder
from recording import Recorder, over

PATIENCE = 30
"""Seconds after which what is waited for has hung."""


@dataclass
class Engine:
    """Gives a row its sum and its length, which is exact. Notes the batches, and holds them until it may go on."""

    batches: list[list[int]] = field(default_factory=list)
    """The first id of every row."""
    threads: list[str] = field(default_factory=list)
    entered: Event = field(default_factory=Event)
    go_on: Event = field(default_factory=Event)
    fault: Callable[[list[int]], None] = lambda firsts: None
    """Called with the first ids of a batch once it may go on."""

    def __call__(self, rows: Any) -> NDArray[np.float32]:
        firsts = [int(row[0]) for row in rows]
        self.batches.append(firsts)
        self.threads.append(threading.current_thread().name)
        self.entered.set()
        assert self.go_on.wait(PATIENCE)
        self.fault(firsts)
        return np.float32([[row.sum(), len(row)] for row in rows])


class Questions:
    """Micro-batches over an engine that is busy with a first question, 0, until `go_on`."""

    def __init__(self, engine: Engine, *, slots: int = 1, tokens: int = 512) -> None:
        self.engine = engine
        self.workers = ThreadPoolExecutor(slots, thread_name_prefix="worker")
        self.together = MicroBatches(engine, self.workers, slots=slots, tokens=tokens)
        self.asked: list[Future[NDArray[np.float32]]] = []

    def ask(self, *rows: NDArray[np.int32]) -> Future[NDArray[np.float32]]:
        """Asks in a thread of its own, and returns when that waits or computes."""
        before = self._seen()
        future = asked(lambda: self.together.vectors(rows))
        self.asked.append(future)
        until(lambda: self._seen() > before or future.done())
        return future

    def go_on(self) -> None:
        """Lets the engine compute until all is answered."""
        self.engine.go_on.set()
        wait(self.asked, PATIENCE)

    def _seen(self) -> int:
        return len(self.together._waiting) + len(self.engine.batches)


def asked(question: Callable[[], Any]) -> Future[Any]:
    """What a question gets that is asked in a thread of its own; one that hangs keeps nothing from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(question())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def row(first: int, length: int = 4) -> NDArray[np.int32]:
    return np.arange(first, first + length, dtype=np.int32)


def vector(first: int, length: int = 4) -> list[float]:
    return [float(row(first, length).sum()), float(length)]


def answer(future: Future[NDArray[np.float32]]) -> list[list[float]]:
    found: list[list[float]] = future.result(PATIENCE).tolist()
    return found


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.go_on.set()  # whatever a failed test left behind must end


def test_64_threads_with_texts_of_their_own_each_get_their_own_vector(minilm: LazyEmbedder) -> None:
    embedder = over(Recorder(), minilm)
    texts = [f"{'many ' * (number % 9)}words about {number}" for number in range(64)]
    start = Barrier(64, timeout=PATIENCE)

    def ask(text: str) -> list[NDArray[np.float32]]:
        start.wait()
        return [embedder.encode_query([text]) for _ in range(5)]

    futures = [asked(lambda text=text: ask(text)) for text in texts]
    for text, future in zip(texts, futures, strict=True):
        expected = embedder.encode_query([text])
        for found in future.result(PATIENCE):
            np.testing.assert_array_equal(found, expected)


def test_texts_that_are_asked_while_the_engine_is_busy_are_one_batch(minilm: LazyEmbedder) -> None:
    class Busy(Recorder):
        entered, go_on = Event(), Event()

        def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
            pooled = super().forward(ids, mask)
            self.entered.set()
            assert self.go_on.wait(PATIENCE)
            return pooled

    busy = Busy()
    embedder = over(busy, minilm)
    together = embedder.pipeline._read.__self__._together  # type: ignore[attr-defined]
    texts = [f"word {number}" for number in range(9)]
    futures = [asked(lambda: embedder.embed_query(texts[0]))]
    assert busy.entered.wait(PATIENCE)
    futures += [asked(lambda text=text: embedder.embed_query(text)) for text in texts[1:]]
    until(lambda: len(together._waiting) == 8)
    busy.go_on.set()
    found = [future.result(PATIENCE) for future in futures]
    assert [rows for rows, _ in busy.shapes] == [1, 8]
    np.testing.assert_array_equal(np.float32(found), over(Recorder(), minilm).encode_query(texts))


def test_all_that_wait_are_computed_in_one_batch_and_each_is_given_its_own(engine: Engine) -> None:
    questions = Questions(engine)
    futures = [questions.ask(row(number)) for number in range(12)]
    questions.go_on()
    assert [answer(future) for future in futures] == [[vector(number)] for number in range(12)]
    assert engine.batches == [[0], list(range(1, 12))]
    assert [name.startswith("worker") for name in engine.threads] == [False, True]


def test_the_rows_of_a_question_stay_together_and_in_order(engine: Engine) -> None:
    questions = Questions(engine)
    questions.ask(row(0))
    two = questions.ask(row(8), row(3))
    three = questions.ask(row(7), row(1), row(9))
    questions.go_on()
    assert answer(two) == [vector(8), vector(3)]
    assert answer(three) == [vector(7), vector(1), vector(9)]
    assert engine.batches == [[0], [8, 3, 7, 1, 9]]


def test_a_batch_keeps_to_the_token_budget_and_the_first_to_ask_come_first(engine: Engine) -> None:
    questions = Questions(engine, tokens=17)  # four rows of four
    futures = [questions.ask(row(number)) for number in range(11)]
    questions.go_on()
    assert [answer(future) for future in futures] == [[vector(number)] for number in range(11)]
    assert engine.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_a_question_larger_than_the_budget_is_computed_all_the_same(engine: Engine) -> None:
    questions = Questions(engine, tokens=10)
    questions.ask(row(0))
    large = questions.ask(row(1, 30), row(2, 30))
    questions.go_on()
    assert answer(large) == [vector(1, 30), vector(2, 30)]


def test_a_short_question_is_not_padded_to_the_length_of_a_long_one(engine: Engine) -> None:
    questions = Questions(engine)
    futures = [questions.ask(row(number, length)) for number, length in enumerate([4, 4, 60, 4, 60])]
    questions.go_on()
    lengths = [4, 4, 60, 4, 60]
    assert [answer(future) for future in futures] == [[vector(n, length)] for n, length in enumerate(lengths)]
    assert engine.batches == [[0], [1, 3], [2, 4]]


def test_a_question_alone_is_computed_by_its_own_thread_and_one_beside_it_by_a_worker(engine: Engine) -> None:
    questions = Questions(engine, slots=2)
    futures = [questions.ask(row(0)), questions.ask(row(1))]
    until(lambda: len(engine.threads) == 2)  # both compute at the same time
    questions.go_on()
    assert [answer(future) for future in futures] == [[vector(0)], [vector(1)]]
    assert [name.startswith("worker") for name in engine.threads] == [False, True]


def unlucky(firsts: list[int]) -> None:
    if 3 in firsts:
        raise ValueError("3 cannot be computed")


def test_a_question_that_fails_fails_alone(engine: Engine) -> None:
    engine.fault = unlucky
    questions = Questions(engine)
    futures = [questions.ask(row(number)) for number in range(6)]
    questions.go_on()
    assert engine.batches[1] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="3 cannot be computed"):
        futures.pop(3).result(PATIENCE)
    assert [answer(future) for future in futures] == [[vector(number)] for number in (0, 1, 2, 4, 5)]


def interrupt(firsts: list[int]) -> None:
    if firsts[0] == 1:
        raise KeyboardInterrupt


def test_an_interrupt_of_the_thread_that_computes_for_others_loses_none_of_them(engine: Engine) -> None:
    engine.fault = interrupt
    questions = Questions(engine)
    futures = [questions.ask(row(number)) for number in range(6)]
    questions.go_on()
    with pytest.raises(KeyboardInterrupt):
        futures.pop(1).result(PATIENCE)
    assert [answer(future) for future in futures] == [[vector(number)] for number in (0, 2, 3, 4, 5)]
    assert engine.batches == [[0], [1, 2, 3, 4, 5], [2, 3, 4, 5]]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs a signal to one thread")
def test_an_interrupt_of_a_thread_that_waits_loses_no_other(engine: Engine) -> None:
    questions = Questions(engine)
    futures = [questions.ask(row(0)), questions.ask(row(1))]

    def interrupt_the_main_thread() -> None:
        until(lambda: len(questions.together._waiting) == 2)
        futures.append(questions.ask(row(3)))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    guard = Timer(PATIENCE, engine.go_on.set)
    guard.start()
    interrupter = asked(interrupt_the_main_thread)
    with pytest.raises(KeyboardInterrupt):  # and no vector, as when the guard lets the engine go on
        questions.together.vectors([row(2)])
    guard.cancel()
    interrupter.result(PATIENCE)
    questions.go_on()
    assert [answer(future) for future in futures] == [[vector(number)] for number in (0, 1, 3)]
    assert engine.batches == [[0], [1, 3]]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("slots", [1, 2])
def test_after_any_number_of_failures_there_is_a_slot_for_the_next(
    engine: Engine, slots: int, error: type[BaseException]
) -> None:
    def fail(firsts: list[int]) -> None:
        if firsts[0] < 20:
            raise error

    engine.fault = fail
    questions = Questions(engine, slots=slots)
    at_once = [questions.ask(row(number)) for number in range(10)]
    questions.go_on()
    later = [questions.ask(row(number)) for number in range(10, 20)]
    for future in at_once + later:
        with pytest.raises(error):
            future.result(PATIENCE)
    engine.go_on.clear()
    before = len(engine.batches)
    sound = [questions.ask(row(number)) for number in range(20, 26)]
    assert len(engine.batches) == before + slots
    questions.go_on()
    assert [answer(future) for future in sound] == [[vector(number)] for number in range(20, 26)]


def test_an_interrupt_while_companions_are_chosen_gives_the_slot_to_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = Questions(engine)

    def interrupt(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(questions.together, "_merge", interrupt)
    futures = [questions.ask(row(number)) for number in range(3)]
    questions.go_on()
    with pytest.raises(KeyboardInterrupt):
        futures.pop(1).result(PATIENCE)
    assert [answer(future) for future in futures] == [[vector(0)], [vector(2)]]
    assert asked(lambda: questions.together.vectors([np.int32([5, 6])])).result(PATIENCE).tolist() == [[11, 2]]


def test_an_engine_that_returns_too_many_vectors_is_an_error_for_everybody(engine: Engine) -> None:
    together = MicroBatches(
        lambda rows: np.ones((len(rows) + 1, 2), np.float32), ThreadPoolExecutor(1), slots=1, tokens=9
    )
    assert together.vectors([np.int32([1])]).shape == (
        2,
        2,
    )  # alone it is seen by the pipeline, which looks at every shape
    batch = [Request([np.int32([1])]), Request([np.int32([2])])]
    _answer(batch, lambda rows: np.ones((len(rows) + 1, 2), np.float32))
    assert [ask.result().shape for ask in batch] == [(2, 2), (2, 2)]
