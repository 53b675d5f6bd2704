"""Requests of many callers: each gets its own vectors, they take turns, and whatever interrupts one, no other waits for ever."""

import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from threading import Barrier, Event, Lock, Timer
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import EncodeTimeoutError
from embedry._pipeline.requests import Block, CancelledError, Request
from embedry._pipeline.scheduler import Scheduler
from embedry.views import LazyEmbedder
from recording import Held, Recorder, over
from waiting import PATIENCE, asked, until

Row = NDArray[np.int32]


class Engine:
    """Gives a row its sum and its length, which is exact. Notes the batches, and holds them until it may go on."""

    def __init__(self, workers: int = 1, batch_tokens: int = 512) -> None:
        self.workers, self.batch_tokens, self.packs = workers, batch_tokens, False
        self.batches: list[list[int]] = []
        """The first id of every row."""
        self.threads: list[str] = []
        self.wide: list[bool] = []
        self.go_on = Event()
        self.fault: Callable[[list[int]], None] = lambda firsts: None
        """Called with the first ids of a batch once it may go on."""
        self._lock = Lock()

    def forward(self, rows: Any, *, wide: bool = False) -> NDArray[np.float32]:
        firsts = [int(row[0]) for row in rows]
        with self._lock:
            self.batches.append(firsts)
            self.threads.append(threading.current_thread().name)
            self.wide.append(wide)
        assert self.go_on.wait(PATIENCE)
        self.fault(firsts)
        return np.array([[row.sum(), len(row)] for row in rows], dtype=np.float32)

    def forward_wide(self, rows: Any) -> NDArray[np.float32]:
        return self.forward(rows, wide=True)


class Asking:
    """Requests to the scheduler of an engine, each made by a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.scheduler = Scheduler(engine)  # type: ignore[arg-type]
        self.scheduler.start()
        self.asked: list[Future[list[list[float]]]] = []

    def ask(self, *batches: list[Row], request: Request | None = None) -> Future[list[list[float]]]:
        """Asks for the vectors of some batches, and returns when they wait or are computed."""
        before = self._seen()
        future = asked(lambda: answered(self.scheduler, list(batches), request))
        self.asked.append(future)
        until(lambda: self._seen() > before or future.done())
        return future

    def go_on(self) -> None:
        """Lets the engine compute until all is answered."""
        self.engine.go_on.set()
        for future in self.asked:
            future.exception(PATIENCE)

    def _seen(self) -> int:
        """Blocks that arrived, or whose first batch is computed; as long as nothing goes on it only grows."""
        return len(self.scheduler._arrived) + len(self.engine.batches)


def answered(scheduler: Scheduler, batches: list[list[Row]], request: Request | None = None) -> list[list[float]]:
    """The vectors of some batches, as the pipeline asks for them; raises what went wrong with one."""
    request = request or Request()
    counts = [len(batch) for batch in batches]
    starts = np.cumsum([0, *counts])
    out = np.zeros((sum(counts), 2), dtype=np.float32)

    def finish(positions: NDArray[np.intp], result: NDArray[np.float32]) -> None:
        assert len(result) == len(positions)
        out[positions] = result

    with request:
        positions = [np.arange(start, start + count) for start, count in zip(starts, counts, strict=False)]
        block = Block(request, list(zip(positions, batches, strict=True)), finish)
        scheduler.submit(block)
        block.wait()
        if block.failure is not None:
            raise block.failure[1]
    found: list[list[float]] = out.tolist()
    return found


def row(first: int, length: int = 4) -> Row:
    return np.arange(first, first + length, dtype=np.int32)


def vector(first: int, length: int = 4) -> list[float]:
    return [float(row(first, length).sum()), float(length)]


def vectors(*firsts: int) -> list[list[float]]:
    return [vector(first) for first in firsts]


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.go_on.set()  # whatever a failed test left behind must end


# What belongs to whom.


def test_64_threads_with_texts_of_their_own_each_get_their_own_vector(minilm: LazyEmbedder) -> None:
    embedder = over(Recorder(), minilm)
    texts = [f"{'many ' * (number % 9)}words about {number}" for number in range(64)]
    start = Barrier(64, timeout=PATIENCE)

    def ask(text: str) -> list[NDArray[np.float32]]:
        start.wait()
        return [embedder.encode_query([text]) for _ in range(5)]

    futures = [asked(partial(ask, text)) for text in texts]
    for text, future in zip(texts, futures, strict=True):
        expected = embedder.encode_query([text])
        for found in future.result(PATIENCE):
            np.testing.assert_array_equal(found, expected)


def test_queries_in_all_roles_and_lengths_of_one_engine_are_merged_and_each_is_finished_its_own_way(
    minilm: LazyEmbedder,
) -> None:
    """Embedders that share an engine share its batches, and each shortens and normalizes as it was told."""

    busy = Held()
    plain = over(busy, minilm, chain=minilm.config.spec.chain[:1])
    unit = LazyEmbedder(replace(minilm.config, max_seq_length=4), plain.engine)
    scheduler = plain.engine.load().scheduler
    first = asked(lambda: plain.embed_query("first"))
    assert busy.entered.wait(PATIENCE)
    between = asked(lambda: plain.embed_query("between"))  # keeps the only worker busy
    until(lambda: len(busy.shapes) == 2)
    texts = ["one two", "three", "one two three four five six"]
    futures = [asked(partial(each.embed_query, text)) for text in texts for each in (plain, unit)]
    until(lambda: len(scheduler._arrived) == 6)
    busy.go_on.set()
    found = [np.float32(future.result(PATIENCE)) for future in futures]
    assert len(first.result(PATIENCE)) == len(between.result(PATIENCE)) == 384
    assert sum(rows for rows, _ in busy.shapes[2:]) == 6
    assert len(busy.shapes) < 2 + 6
    alone = over(Recorder(), minilm, chain=plain.config.chain)
    short = LazyEmbedder(unit.config, alone.engine)
    for place, text in enumerate(texts):
        np.testing.assert_array_equal(found[2 * place], alone.encode_query([text])[0])
        np.testing.assert_allclose(found[2 * place + 1], short.encode_query([text])[0], atol=1e-6)


# What is computed together.


def busy_with(engine: Engine, first: int = 0) -> Asking:
    """A scheduler whose workers, and a caller, each compute a first query until the engine goes on."""
    asking = Asking(engine)
    for number in range(engine.workers + 1):
        asking.ask([row(first - number)])
        until(lambda: len(engine.batches) == len(asking.asked))
    return asking


def test_a_query_alone_is_computed_by_its_own_thread_and_wide_and_others_by_workers(engine: Engine) -> None:
    engine.workers = 2
    asking = busy_with(engine)
    asking.go_on()
    assert [future.result() for future in asking.asked] == [vectors(0), vectors(-1), vectors(-2)]
    assert [name == "embedry-worker" for name in engine.threads] == [False, True, True]
    assert engine.wide == [True, False, False]


def test_a_large_call_alone_is_computed_narrow_by_all_workers(engine: Engine) -> None:
    engine.workers = 2
    asking = Asking(engine)
    large = asking.ask([row(1)], [row(2)], [row(3)])
    until(lambda: len(engine.batches) == 2)
    asking.go_on()
    assert large.result() == vectors(1, 2, 3)
    assert engine.wide[:2] == [False, False]
    assert set(engine.threads) == {"embedry-worker"}


def test_all_that_wait_are_computed_in_one_batch_and_each_is_given_its_own(engine: Engine) -> None:
    asking = busy_with(engine)
    futures = [asking.ask([row(number)]) for number in range(1, 12)]
    asking.go_on()
    assert [future.result() for future in futures] == [vectors(number) for number in range(1, 12)]
    assert engine.batches[2:] == [list(range(1, 12))]


def test_the_rows_of_a_request_stay_together_and_in_order(engine: Engine) -> None:
    asking = busy_with(engine)
    two = asking.ask([row(8), row(3)])
    three = asking.ask([row(7), row(1), row(9)])
    asking.go_on()
    assert two.result() == vectors(8, 3)
    assert three.result() == vectors(7, 1, 9)
    assert engine.batches[2:] == [[8, 3, 7, 1, 9]]


def test_a_batch_keeps_to_the_token_budget_and_the_first_to_ask_come_first(engine: Engine) -> None:
    engine.batch_tokens = 17  # four rows of four
    asking = busy_with(engine)
    futures = [asking.ask([row(number)]) for number in range(1, 11)]
    asking.go_on()
    assert [future.result() for future in futures] == [vectors(number) for number in range(1, 11)]
    assert engine.batches[2:] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_a_request_larger_than_the_budget_is_computed_all_the_same(engine: Engine) -> None:
    engine.batch_tokens = 10
    asking = busy_with(engine)
    large = asking.ask([row(1, 30), row(2, 30)])
    asking.go_on()
    assert large.result() == [vector(1, 30), vector(2, 30)]


def test_a_short_query_is_not_padded_to_the_length_of_a_long_one(engine: Engine) -> None:
    asking = busy_with(engine)
    lengths = {1: 4, 2: 60, 3: 4, 4: 60}
    futures = [asking.ask([row(number, length)]) for number, length in lengths.items()]
    asking.go_on()
    assert [future.result() for future in futures] == [[vector(n, length)] for n, length in lengths.items()]
    assert engine.batches[2:] == [[1, 3], [2, 4]]


def test_an_engine_that_packs_computes_long_and_short_queries_together_up_to_its_budget(engine: Engine) -> None:
    engine.packs, engine.batch_tokens = True, 130
    asking = busy_with(engine)
    lengths = {1: 4, 2: 60, 3: 4, 4: 60, 5: 4}
    futures = [asking.ask([row(number, length)]) for number, length in lengths.items()]
    asking.go_on()
    assert [future.result() for future in futures] == [[vector(n, length)] for n, length in lengths.items()]
    assert engine.batches[2:] == [[1, 3, 5, 2], [4]]
    assert asking.scheduler.padded_tokens == asking.scheduler.tokens


# Turns.


def test_a_query_comes_next_whatever_waits(engine: Engine) -> None:
    asking = busy_with(engine)
    large = [asking.ask(*([row(100 * call + number)] for number in range(6))) for call in (1, 2, 3)]
    query = asking.ask([row(1)])
    asking.go_on()
    assert [future.result() for future in large] == [vectors(*range(100 * n, 100 * n + 6)) for n in (1, 2, 3)]
    assert query.result() == vectors(1)
    order = [firsts[0] for firsts in engine.batches[2:]]
    assert order.index(1) == 3, "after one batch of each that came before"


def test_calls_have_equal_shares_of_tokens_and_not_of_batches(engine: Engine) -> None:
    asking = busy_with(engine)
    large = asking.ask(*([row(1000 + 100 * number, 40)] for number in range(8)))
    small = asking.ask(*([row(number, 10)] for number in range(1, 9)))
    asking.go_on()
    assert large.result() == [vector(1000 + 100 * number, 40) for number in range(8)]
    assert small.result() == [vector(number, 10) for number in range(1, 9)]
    order = [firsts[0] for firsts in engine.batches[2:]]
    assert [place for place, first in enumerate(order) if first >= 1000][:3] == [0, 5, 10]
    assert [first for first in order if first < 1000] == list(range(1, 9))


def test_a_flood_of_new_queries_does_not_starve_a_large_call(engine: Engine) -> None:
    """Every query comes when the one before it is computed, and none goes with another."""
    engine.batch_tokens = 4
    asking = busy_with(engine)
    large = asking.ask(*([row(100 + number)] for number in range(4)))
    queries: list[Future[list[list[float]]]] = []

    def next_query(firsts: list[int]) -> None:
        if len(queries) < 20 and threading.current_thread().name == "embedry-worker":
            queries.append(asked(partial(answered, asking.scheduler, [[row(1 + len(queries))]])))
            until(lambda: bool(asking.scheduler._arrived))

    engine.fault = next_query
    asking.go_on()
    assert large.result() == vectors(*range(100, 104))
    assert [future.result(PATIENCE) for future in queries] == [vectors(1 + number) for number in range(20)]
    order = [firsts[0] for firsts in engine.batches[2:]]
    assert [place for place, first in enumerate(order) if first >= 100][-1] <= 16, "two queries always wait beside it"


def test_the_blocks_of_a_request_share_its_time(engine: Engine) -> None:
    asking = busy_with(engine)
    stream = Request()
    first = asking.ask([row(100)], [row(101)], request=stream)
    second = asking.ask([row(102)], [row(103)], request=stream)
    other = asking.ask([row(200)], [row(201)])
    asking.go_on()
    assert (first.result(), second.result(), other.result()) == (
        vectors(100, 101), vectors(102, 103), vectors(200, 201),
    )  # fmt: skip
    assert [firsts[0] for firsts in engine.batches[2:]] == [100, 200, 101, 201, 102, 103]


# Failures.


def unlucky(firsts: list[int]) -> None:
    if 3 in firsts:
        raise ValueError("3 cannot be computed")


def test_a_query_that_fails_fails_alone(engine: Engine) -> None:
    engine.fault = unlucky
    asking = busy_with(engine)
    futures = [asking.ask([row(number)]) for number in range(1, 6)]
    asking.go_on()
    assert engine.batches[2] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="3 cannot be computed"):
        futures.pop(2).result()
    assert [future.result() for future in futures] == [vectors(number) for number in (1, 2, 4, 5)]


def test_a_failed_batch_ends_its_own_call_and_no_other(engine: Engine) -> None:
    engine.fault = unlucky
    asking = busy_with(engine)
    bad = asking.ask([row(3)], [row(4)], [row(5)])
    good = asking.ask([row(10)], [row(11)])
    asking.go_on()
    with pytest.raises(ValueError, match="3 cannot be computed"):
        bad.result()
    assert good.result() == vectors(10, 11)
    assert [firsts for firsts in engine.batches[2:] if firsts[0] < 10] == [[3]], "the rest of it is dropped"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("workers", [1, 2])
def test_after_any_number_of_failures_all_workers_go_on(workers: int, error: type[BaseException]) -> None:
    def fail(firsts: list[int]) -> None:
        if firsts[0] < 20:
            raise error

    engine = Engine(workers)
    engine.fault = fail
    engine.go_on.set()
    asking = Asking(engine)
    for future in [asking.ask([row(number)], [row(number)]) for number in range(20)]:
        with pytest.raises(error):
            future.result(PATIENCE)
    until(lambda: not asking.scheduler._arrived)  # what the callers cancelled when they left
    engine.go_on.clear()
    before = len(engine.batches)
    sound = asking.ask(*([row(number)] for number in range(20, 26)))
    until(lambda: len(engine.batches) == before + workers)
    asking.go_on()
    assert sound.result() == vectors(*range(20, 26))


def test_an_engine_that_returns_too_many_vectors_for_several_requests_is_asked_for_each(engine: Engine) -> None:
    right = engine.forward
    engine.forward = lambda rows, **named: np.repeat(right(rows, **named), 1 + (len(rows) > 1), axis=0)  # type: ignore[method-assign]
    asking = busy_with(engine)
    futures = [asking.ask([row(number)]) for number in (1, 2)]
    asking.go_on()
    assert [future.result() for future in futures] == [vectors(1), vectors(2)]
    assert engine.batches[2:] == [[1, 2], [1], [2]]


# Leaving.


def test_a_cancelled_request_computes_no_other_batch_and_wakes_who_waits_for_it(engine: Engine) -> None:
    asking = busy_with(engine)
    request = Request()
    gone = asking.ask(*([row(number)] for number in range(100, 110)), request=request)
    other = asking.ask([row(1)], [row(2)])
    request.cancel()
    request.cancel()
    asking.go_on()
    with pytest.raises(CancelledError):
        gone.result()
    assert other.result() == vectors(1, 2)
    assert engine.batches[2:] == [[1], [2]]


def test_a_request_whose_time_is_over_computes_no_other_batch(engine: Engine) -> None:
    asking = busy_with(engine)
    late = asking.ask(*([row(number)] for number in range(100, 110)), request=Request(timeout=0.05))
    with pytest.raises(EncodeTimeoutError, match=r"within timeout=0\.05 seconds"):
        late.result(PATIENCE)
    other = asking.ask([row(1)], [row(2)])
    asking.go_on()
    assert other.result() == vectors(1, 2)
    assert engine.batches[2:] == [[1], [2]]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs a signal to one thread")
def test_an_interrupt_of_a_thread_that_waits_loses_no_other(engine: Engine) -> None:
    asking = busy_with(engine)
    asking.ask([row(1)])

    def interrupt_the_main_thread() -> None:
        until(lambda: len(asking.scheduler._arrived) == 2)
        asking.ask([row(3)])
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    guard = Timer(PATIENCE, engine.go_on.set)
    guard.start()
    interrupter = asked(interrupt_the_main_thread)
    with pytest.raises(KeyboardInterrupt):  # and no vector, as when the guard lets the engine go on
        answered(asking.scheduler, [[row(2)]])
    guard.cancel()
    interrupter.result(PATIENCE)
    asking.go_on()
    assert [future.result() for future in asking.asked] == [vectors(number) for number in (0, -1, 1, 3)]
    assert engine.batches[2:] == [[1, 3]]


def test_workers_end_when_they_are_stopped_and_hold_nothing_of_what_they_computed(engine: Engine) -> None:
    class Held(list[Any]):
        """A batch that can be seen to go."""

    engine.go_on.set()
    asking = Asking(engine)
    batch = Held([row(1)])
    held = weakref.ref(batch)
    assert answered(asking.scheduler, [batch, [row(2)]]) == vectors(1, 2)
    del batch
    until(lambda: held() is None)
    asking.scheduler.stop()
    asking.scheduler.join()
    assert answered(asking.scheduler, [[row(3)], [row(4)]]) == vectors(3, 4), "the caller computes"
    assert engine.threads[-2:] == [threading.current_thread().name] * 2
