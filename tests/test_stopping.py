"""Work that nobody waits for any more stops at the next batch, and work that somebody waits for goes on to the very end."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedry import EncodeTimeoutError, OptionError
from embedry.views import LazyEmbedder
from recording import Gated, Recorder, over
from waiting import PATIENCE

Checkpoint = Callable[..., Path]
Fresh = Callable[..., subprocess.CompletedProcess[str]]

TEXTS = [f"text number {number} " * (1 + number % 9) for number in range(400)]


class Stepwise(Gated):
    """With two workers."""

    workers = 2


@pytest.fixture
def stepwise() -> Stepwise:
    return Stepwise()


def assert_only_what_had_begun_was_computed(embedder: LazyEmbedder, engine: Stepwise) -> None:
    begun = len(engine.shapes)
    assert begun <= engine.workers
    engine.allow(1000)
    expected = over(Recorder(), embedder).encode_document(TEXTS[:1])
    np.testing.assert_array_equal(embedder.encode_document(TEXTS[:1]), expected)
    assert len(engine.shapes) == begun + 1


@pytest.mark.parametrize("method", ["aembed_documents", "aencode"])
def test_a_cancelled_task_stops_at_the_next_batch(minilm: LazyEmbedder, stepwise: Stepwise, method: str) -> None:
    embedder = over(stepwise, minilm)

    async def cancelled() -> None:
        work = (
            embedder.aembed_documents(TEXTS) if method == "aembed_documents" else embedder.aencode(TEXTS, role="query")
        )
        task = asyncio.create_task(work)
        while not stepwise.entered.is_set():
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(task, 0.01)
        assert task.cancelled()
        stepwise.allow(2)  # the thread of the task ends when what it began has ended

    asyncio.run(cancelled())
    assert_only_what_had_begun_was_computed(embedder, stepwise)


def test_a_call_whose_time_is_over_stops_at_the_next_batch(minilm: LazyEmbedder, stepwise: Stepwise) -> None:
    embedder = over(stepwise, minilm)
    with pytest.raises(EncodeTimeoutError, match=r"not encoded within timeout=0\.05 seconds") as raised:
        embedder.encode(TEXTS, role="document", timeout=0.05)
    assert isinstance(raised.value, TimeoutError)
    assert_only_what_had_begun_was_computed(embedder, stepwise)


def test_a_time_that_is_over_while_texts_are_read_computes_nothing(minilm: LazyEmbedder, stepwise: Stepwise) -> None:
    embedder = over(stepwise, minilm)
    with pytest.raises(EncodeTimeoutError):
        embedder.encode([text * 50 for text in TEXTS], role="document", timeout=1e-6)
    assert stepwise.shapes == []


def test_prepared_texts_stop_as_well(minilm: LazyEmbedder, stepwise: Stepwise) -> None:
    embedder = over(stepwise, minilm)
    prepared = embedder.prepare(TEXTS, role="document")
    with pytest.raises(EncodeTimeoutError):
        prepared.encode(timeout=0.05)
    assert_only_what_had_begun_was_computed(embedder, stepwise)


def test_enough_time_changes_nothing(minilm: LazyEmbedder) -> None:
    embedder = over(Recorder(), minilm)
    np.testing.assert_array_equal(
        embedder.encode(TEXTS, role="document", timeout=PATIENCE), embedder.encode_document(TEXTS)
    )


@pytest.mark.parametrize("timeout", ["5", True, float("nan"), [1]])
def test_a_time_that_is_no_number_is_refused(minilm: LazyEmbedder, timeout: Any) -> None:
    embedder = LazyEmbedder(minilm.config)
    with pytest.raises(OptionError, match="timeout must be a number of seconds"):
        embedder.encode(TEXTS, role="document", timeout=timeout)
    assert not embedder.loaded
    with pytest.raises(OptionError, match="timeout must be a number of seconds"):
        minilm.prepare(TEXTS, role="document").encode(timeout=timeout)


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_a_time_that_has_passed_computes_nothing(minilm: LazyEmbedder, stepwise: Stepwise, timeout: float) -> None:
    with pytest.raises(EncodeTimeoutError):
        over(stepwise, minilm).encode(TEXTS, role="document", timeout=timeout)
    assert stepwise.shapes == []


def test_an_empty_call_needs_no_time(minilm: LazyEmbedder) -> None:
    assert minilm.encode([], role="document", timeout=0).shape == (0, 384)


# To the very end.

LASTING = """
import atexit, signal, sys, threading, time
signal.alarm(100)
texts = [f"text number {n} of many " * (n % 9 + 1) for n in range(700)]
found = {}

def early():  # registered before embedry's own, and so called after it
    found["early handler"] = embedder.encode_document(texts).tobytes() == expected
    found["early handler, one"] = len(embedder.embed_query("a text")) == 48
    found["early handler, prepared"] = embedder.prepare(texts, role="document").encode().tobytes() == expected
    print(found)

atexit.register(early)
from embedry import resolve
embedder = resolve(FOLDER)
expected = embedder.encode_document(texts).tobytes()
stream = embedder.encode_stream(texts * 10, role="document")
rest = [len(next(stream))]

def late():
    found["late handler"] = embedder.encode_document(texts).tobytes() == expected
    found["late handler, stream"] = sum([*rest, *map(len, stream)]) == 7000

atexit.register(late)

def outliving():
    threading.main_thread().join()
    found["outliving thread"] = embedder.encode_document(texts).tobytes() == expected
    found["outliving thread, one"] = len(embedder.embed_query("a text")) == 48
    if embedder.info["backend"] == "onnxruntime":  # transformers cannot load any more
        found["outliving thread, load"] = len(resolve(FOLDER, threads=1).embed_query("a text")) == 48

threading.Thread(target=outliving).start()
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "transformers", "sentence-transformers"])
def test_threads_that_outlive_the_main_thread_and_exit_handlers_embed(
    checkpoint: Checkpoint, fresh: Fresh, backend: str
) -> None:
    code = LASTING.replace("(FOLDER", f"({str(checkpoint('bert'))!r}, backend={backend!r}")
    result = fresh(code)
    assert result.stdout.count("True") == (8 if backend == "onnxruntime" else 7), result.stdout + result.stderr
    assert "False" not in result.stdout
    assert result.stderr == ""


FORKED = """
import os, signal, sys
from embedry import BackendError, resolve
embedder = resolve(FOLDER)
texts = [f"text number {n} of many " * (n % 9 + 1) for n in range(9000)]
stream = embedder.encode_stream(texts, role="document")
prepared = embedder.prepare(texts[:9], role="document")
first = next(stream)
process = os.fork()
if process == 0:
    signal.alarm(60)  # a child that hangs ends here
    said = []
    for work in (lambda: next(stream), prepared.encode):
        try:
            work()
        except BackendError as error:
            said.append(str(error))
    print(*said, sep="\\n")
    print(embedder.encode_document(texts[:len(first)]).tobytes() == first.tobytes(), flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
print(len(first) + sum(map(len, stream)), len(prepared.encode()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_goes_on_with_its_parents_stream_gets_an_error_and_the_parent_goes_on(
    checkpoint: Checkpoint, fresh: Fresh
) -> None:
    *said, right, code, counts = fresh(FORKED.replace("FOLDER", repr(str(checkpoint("bert"))))).stdout.splitlines()
    assert len(said) == 2
    for line in said:
        assert "forked while these texts were being encoded" in line
        assert "encode them again in the child" in line
    assert (right, code, counts) == ("True", "0", "9000 9")
