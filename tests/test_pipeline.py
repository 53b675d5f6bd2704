"""From texts to vectors: in the caller's order, each text on its own, whatever batches and threads are in between."""

import _thread
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import BackendError, OptionError, Pooling, resolve
from embedry._pipeline.requests import Block
from embedry.views import LazyEmbedder
from recording import Recorder, over

Checkpoint = Callable[..., Path]


def texts_of_random_lengths(count: int, longest: int = 60) -> list[str]:
    chance = random.Random(0)
    words = ["river", "seven", "cloud", "music", "window", "early", "market", "garden"]
    return [f"{place} " + " ".join(chance.choices(words, k=chance.randint(0, longest))) for place in range(count)]


class Failing(Recorder):
    """Fails on every batch for as long as `fault` is set, by calling it; other batches then wait for `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Callable[[], None] | None = None
        self.go_on = Event()

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        pooled = super().forward(ids, mask)
        if self.fault is not None:
            if len(self.shapes) == 1:
                self.fault()
            assert self.go_on.wait(30)
        return pooled


class Wrong(Recorder):
    """Returns what `spoil` makes of the right vectors."""

    def __init__(self, spoil: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        super().__init__()
        self.spoil = spoil

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        return self.spoil(super().forward(ids, mask))


def test_vectors_are_in_the_order_of_the_texts(minilm: LazyEmbedder) -> None:
    recorder = Recorder()
    embedder = over(recorder, minilm)
    texts = texts_of_random_lengths(400)
    vectors = embedder.encode_document(texts)
    assert len(recorder.shapes) > 10
    for place in range(0, 400, 7):
        np.testing.assert_array_equal(vectors[place], embedder.encode_document([texts[place]])[0])


@pytest.mark.parametrize("none", [[], (), iter([])])
def test_no_texts_give_no_vectors_and_load_nothing(minilm: LazyEmbedder, none: list[str]) -> None:
    embedder = LazyEmbedder(replace(minilm.config, threads=7))
    vectors = embedder.encode_document(none)
    assert (vectors.shape, vectors.dtype) == ((0, 384), np.float32)
    assert embedder.embed_documents([]) == []
    assert not embedder.loaded


def test_equal_texts_are_computed_once(minilm: LazyEmbedder) -> None:
    recorder = Recorder()
    vectors = over(recorder, minilm).encode_document(["a", "b", "a", "", "b", "a", ""])
    assert sum(rows for rows, _ in recorder.shapes) == 3
    np.testing.assert_array_equal(vectors, vectors[[0, 1, 0, 3, 1, 0, 3]])
    assert len(np.unique(vectors, axis=0)) == 3


def test_a_batch_holds_no_more_tokens_than_the_engine_wants_and_the_longest_come_first(minilm: LazyEmbedder) -> None:
    recorder = Recorder()
    recorder.batch_tokens = 100
    over(recorder, minilm).encode_document(texts_of_random_lengths(40, longest=200))
    widths = [width for _, width in recorder.shapes]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 100
    assert all(rows * width <= 100 or rows == 1 for rows, width in recorder.shapes)


def test_a_text_has_the_same_vector_alone_and_among_others(minilm: LazyEmbedder) -> None:
    texts = texts_of_random_lengths(30, longest=250)
    together = minilm.encode_document(texts)
    alone = np.concatenate([minilm.encode_document([text]) for text in texts])
    assert np.abs(together - alone).max() <= 1e-6


def test_32_threads_with_texts_of_their_own_each_get_their_own_vectors(minilm: LazyEmbedder) -> None:
    texts = texts_of_random_lengths(320, longest=30)
    calls = [texts[start : start + 10] for start in range(0, 320, 10)]
    one_after_another = [minilm.encode_document(call) for call in calls]
    with ThreadPoolExecutor(32) as threads:
        at_once = list(threads.map(minilm.encode_document, calls))
    assert np.abs(np.concatenate(at_once) - np.concatenate(one_after_another)).max() <= 1e-6


def assert_works_again(embedder: LazyEmbedder, failing: Failing, texts: list[str]) -> None:
    """The next call is right, and of the one before no batch ran but the one that failed and some that had begun."""
    failing.fault = None
    failing.go_on.set()
    sound = Recorder()
    np.testing.assert_array_equal(embedder.encode_document(texts), over(sound, embedder).encode_document(texts))
    assert len(failing.shapes) - len(sound.shapes) <= 2


def fail() -> None:
    raise RuntimeError("the engine's own words")


def interrupt() -> None:
    """Ctrl-C, while the main thread waits for the batches."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


@pytest.mark.parametrize(("fault", "error"), [(fail, RuntimeError), (interrupt, KeyboardInterrupt)])
def test_after_a_failure_or_an_interrupt_the_remaining_batches_are_dropped_and_the_embedder_works_on(
    minilm: LazyEmbedder, fault: Callable[[], None], error: type[BaseException]
) -> None:
    failing = Failing()
    embedder = over(failing, minilm)
    texts = texts_of_random_lengths(200)
    failing.fault = fault
    with pytest.raises(error):
        embedder.encode_document(texts)
    assert_works_again(embedder, failing, texts)


def test_an_interrupt_while_batches_are_still_handed_out_drops_those_that_were(
    minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing()
    embedder = over(failing, minilm)
    scheduler = embedder.engine.load().scheduler
    submit, blocks = scheduler.submit, []

    def interrupted(block: Block) -> None:
        submit(block)
        blocks.append(block)
        if len(blocks) == 1:
            raise KeyboardInterrupt

    failing.fault = lambda: None
    monkeypatch.setattr(scheduler, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedder.encode_document(texts_of_random_lengths(200))
    monkeypatch.undo()
    assert len(blocks) == 2, "the second one cancels"
    assert_works_again(embedder, failing, texts_of_random_lengths(200))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda pooled: pooled[:, :383], r"returned float32 \(2, 383\), but the entry says float32 \(2, 384\)"),
        (lambda pooled: pooled[:1], r"returned float32 \(1, 384\)"),
        (lambda pooled: pooled[:, np.newaxis], r"returned float32 \(2, 1, 384\)"),
        (lambda pooled: pooled.astype(np.float64), r"returned float64 \(2, 384\), but the entry says float32"),
        (lambda pooled: pooled.astype(np.float16), r"returned float16"),
        (lambda pooled: pooled / np.float32(0), "values that are not finite for 2 of 2 texts; the weights are damaged"),
        (
            lambda pooled: np.where(np.eye(2, 384, dtype=bool)[::-1] & (pooled != np.inf), np.float32("nan"), pooled),
            "values that are not finite for 2 of 2 texts",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_an_engine_that_breaks_its_contract_is_an_error(
    minilm: LazyEmbedder, spoil: Callable[[NDArray[np.float32]], NDArray[np.float32]], message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        over(Wrong(spoil), minilm).encode_document(["one text", "two texts"])


@pytest.mark.parametrize("texts", [["one text"], ["one text", "two texts"]])
def test_vectors_are_the_callers_own_also_where_an_engine_gives_out_its_memory(
    minilm: LazyEmbedder, texts: list[str]
) -> None:
    memory = np.ones((len(texts), 384), dtype=np.float32)
    given = over(Wrong(lambda right: memory), minilm, chain=(Pooling(mode="mean"),)).encode_document(texts)
    given[:] = 7
    np.testing.assert_array_equal(memory, 1)


def test_a_role_puts_its_prompt_before_each_text_once(checkpoint: Checkpoint, tmp_path: Path) -> None:
    prompts = {"query": "query: ", "document": "passage: ", "clustering": "cluster: "}
    embedder = resolve(checkpoint("bert", prompts=prompts), cache_dir=tmp_path)
    bare = resolve(checkpoint("bert"), cache_dir=tmp_path)
    texts = ["a text", "", "query: a text"]
    for role, prompt in prompts.items():
        by_hand = bare.encode_document([prompt + text for text in texts])
        np.testing.assert_allclose(embedder.encode(texts, role=role), by_hand, atol=1e-6)
    np.testing.assert_array_equal(embedder.encode_query(texts), embedder.encode(texts, role="query"))
    np.testing.assert_array_equal(embedder.encode_document(texts), embedder.encode(texts, role="document"))
    assert np.abs(embedder.encode_query(texts) - embedder.encode_document(texts)).max() > 1e-3
    assert np.abs(embedder.encode_query(texts) - bare.encode_query(texts)).max() > 1e-3


def test_without_prompts_a_query_and_a_document_have_one_vector(minilm: LazyEmbedder) -> None:
    np.testing.assert_array_equal(minilm.encode_query(["a text"]), minilm.encode_document(["a text"]))


@pytest.mark.parametrize("texts", [["a text"], []])
def test_a_role_that_the_model_does_not_have_is_an_error_with_those_it_has(
    minilm: LazyEmbedder, texts: list[str]
) -> None:
    embedder = LazyEmbedder(replace(minilm.config, spec=replace(minilm.spec, prompts={"clustering": "cluster: "})))
    with pytest.raises(OptionError, match="no role 'passage'; use one of: query, document, unprompted, clustering"):
        embedder.encode(texts, role="passage")
    assert not embedder.loaded


def test_the_lists_of_langchain_hold_the_same_numbers_as_plain_floats(minilm: LazyEmbedder) -> None:
    query, documents = minilm.embed_query("a text"), minilm.embed_documents(["a text", "another"])
    assert {type(query), type(documents), type(documents[1])} == {list}
    assert {type(number) for number in query + documents[1]} == {float}
    np.testing.assert_array_equal(np.float32(query), minilm.encode_query(["a text"])[0])
    np.testing.assert_array_equal(np.float32(documents), minilm.encode_document(["a text", "another"]))
