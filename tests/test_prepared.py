"""Texts that are read and not computed yet: their tokens are those that the engine is given, and their vectors those of `encode`."""

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import (
    BackendError,
    LazyEmbedder,
    OptionError,
    TextTooLongError,
    TextTypeError,
    TruncationWarning,
    UnsupportedModelError,
)
from embedry.backend import TextEncoder
from recording import Gated, Recorder, over
from waiting import until

LONG = "word " * 300
TEXTS = ["one two three", LONG, "", "one two three", "one", LONG]


def test_tokens_are_those_that_the_engine_is_given_for_each_text_also_where_it_is_repeated(
    minilm: LazyEmbedder,
) -> None:
    recorder = Recorder()
    embedder = over(recorder, minilm)
    prepared = embedder.prepare(TEXTS, role="document")
    assert prepared.tokens == [5, 256, 2, 5, 3, 256]
    assert prepared.truncated == [1, 5]
    assert recorder.shapes == [], "nothing is computed yet"
    np.testing.assert_array_equal(prepared.encode(), over(Recorder(), minilm).encode_document(TEXTS))
    assert sum(rows for rows, _ in recorder.shapes) == 4, "equal texts are computed once"
    np.testing.assert_array_equal(prepared.encode(timeout=30), prepared.encode())


def test_the_prompt_and_the_length_of_the_embedder_count(minilm: LazyEmbedder) -> None:
    spec = replace(minilm.spec, prompts={"query": "two words "})
    embedder = over(Recorder(), minilm, spec=spec, max_seq_length=16)
    assert embedder.prepare(TEXTS, role="query").tokens == [7, 16, 4, 7, 5, 16]
    assert embedder.prepare(TEXTS, role="document").tokens == [5, 16, 2, 5, 3, 16]
    assert embedder.count_tokens(TEXTS, role="query") == [7, 304, 4, 7, 5, 304]
    assert embedder.count_tokens([*TEXTS, "word " * 100_000], role="document") == [5, 302, 2, 5, 3, 302, 100_002]
    assert embedder.count_tokens([], role="document") == []


def test_many_texts_are_read_in_blocks_and_come_in_order(minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 7)
    texts = [f"word {'and ' * (number * 7 % 40)}{number % 30}" for number in range(100)]
    embedder = over(Recorder(), minilm, max_seq_length=32)
    prepared = embedder.prepare(texts, role="document")
    full = embedder.count_tokens(texts, role="document")
    assert prepared.tokens == [min(32, count) for count in full]
    assert prepared.truncated == [place for place, count in enumerate(full) if count > 32] != []
    np.testing.assert_array_equal(prepared.encode(), embedder.encode_document(texts))


def test_a_stream_tells_the_same_block_by_block(minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 7)
    texts = [f"word {'and ' * (number * 7 % 40)}{number % 3}" for number in range(50)]
    embedder = over(Recorder(), minilm, max_seq_length=32)
    prepared = embedder.prepare(texts, role="document")
    blocks = list(embedder.encode_blocks(iter(texts), role="document"))
    assert [len(block.vectors) for block in blocks] == [7] * 7 + [1]
    assert [count for block in blocks for count in block.tokens or ()] == prepared.tokens
    assert [position for block in blocks for position in block.truncated] == prepared.truncated
    np.testing.assert_array_equal(np.concatenate([block.vectors for block in blocks]), prepared.encode())


def test_the_overflow_policy_is_applied_when_texts_are_read(minilm: LazyEmbedder) -> None:
    with pytest.raises(TextTooLongError) as raised:
        over(Recorder(), minilm, on_overflow="error").prepare(TEXTS, role="document")
    assert raised.value.positions == (1, 5)
    with pytest.warns(TruncationWarning) as caught:
        prepared = over(Recorder(), minilm, on_overflow="warn").prepare(TEXTS, role="document")
    assert caught[0].filename == __file__
    assert len(caught) == 1
    prepared.encode()


def test_no_texts_have_no_tokens_and_no_vectors(minilm: LazyEmbedder) -> None:
    prepared = minilm.prepare([], role="document")
    assert (prepared.tokens, prepared.truncated) == ([], [])
    assert (prepared.encode().shape, prepared.encode().dtype) == ((0, 384), np.float32)


@pytest.mark.parametrize("method", ["prepare", "count_tokens", "encode_blocks"])
def test_what_is_wrong_with_the_call_is_found_before_anything_is_loaded(minilm: LazyEmbedder, method: str) -> None:
    embedder = LazyEmbedder(minilm.config)
    with pytest.raises(TextTypeError, match="one str"):
        getattr(embedder, method)("a text", role="document")
    with pytest.raises(OptionError, match="no role 'passage'"):
        getattr(embedder, method)(["a text"], role="passage")
    assert not embedder.loaded


class Reading(TextEncoder):
    """An engine that reads texts in its own way: a word is a token."""

    info: dict[str, str] = {}  # noqa: RUF012  the protocol's

    def lengths(self, texts: "list[str]") -> list[int]:  # type: ignore[override]
        return [len(text.split()) for text in texts]

    def forward_texts(self, texts: "list[str]", prompt: str) -> NDArray[np.float32]:  # type: ignore[override]
        return np.ones((len(texts), 384), dtype=np.float32)


def test_an_engine_that_reads_texts_itself_is_asked_for_lengths_and_tells_no_tokens(minilm: LazyEmbedder) -> None:
    embedder = over(Reading(), minilm)
    prepared = embedder.prepare(TEXTS, role="document")
    assert prepared.tokens is None
    assert prepared.truncated == [1, 5]
    assert prepared.encode().shape == (6, 384)
    assert embedder.count_tokens(TEXTS, role="document") == [3, 300, 0, 3, 1, 300]
    (block,) = embedder.encode_blocks(TEXTS, role="document")
    assert (block.tokens, block.vectors.shape) == (None, (6, 384))


# Without a thread that waits.


async def test_vectors_that_are_awaited_are_those_of_encode_and_no_event_loop_computes_them(
    minilm: LazyEmbedder,
) -> None:
    class Watched(Recorder):
        threads: set[str] = set()  # noqa: RUF012

        def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
            self.threads.add(threading.current_thread().name)
            return super().forward(ids, mask)

    embedder = over(Watched(), minilm)
    for texts in (TEXTS, TEXTS[:1], [f"text {number}" for number in range(5000)], []):
        prepared = embedder.prepare(texts, role="document")
        computation = prepared.start()
        np.testing.assert_array_equal(await computation, over(Recorder(), minilm).encode_document(texts))
        assert (computation.queued is None) == (not texts)
    assert Watched.threads == {"embedry-worker"}


async def test_many_computations_are_awaited_by_one_thread(minilm: LazyEmbedder) -> None:
    texts = [f"question {number} " + "word " * (number % 7) for number in range(300)]
    prepared = [minilm.prepare([text], role="query") for text in texts]
    before = set(threading.enumerate())
    tasks = [asyncio.ensure_future(each.start()) for each in prepared]
    assert set(threading.enumerate()) <= before
    found = np.concatenate(await asyncio.gather(*tasks))
    assert np.abs(found - minilm.encode_query(texts)).max() <= 1e-6


async def test_a_task_that_is_cancelled_drops_what_is_not_being_computed(minilm: LazyEmbedder) -> None:
    encoder = Gated()
    embedder = over(encoder, minilm)
    prepared = embedder.prepare([LONG + str(number) for number in range(8)], role="document")
    task = asyncio.ensure_future(prepared.start())
    await asyncio.to_thread(encoder.entered.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    encoder.allow(100)
    after = await asyncio.wait_for(embedder.prepare(["one"], role="document").start(), 30)
    assert after.shape == (1, 384)
    assert len(encoder.shapes) == 2, "of four batches the first one, and then the other call's"


async def test_how_long_a_computation_waited_is_known_when_it_begins(minilm: LazyEmbedder) -> None:
    encoder = Gated()
    embedder = over(encoder, minilm)
    first = asyncio.ensure_future(embedder.prepare(["one"], role="document").start())
    await asyncio.to_thread(encoder.entered.wait, 30)
    second = embedder.prepare(["two"], role="document").start()
    await asyncio.sleep(0.05)
    assert second.queued is None
    encoder.allow(2)
    await first
    await second
    assert second.queued is not None
    assert second.queued >= 0.05


async def test_an_engine_that_fails_is_an_error_where_its_vectors_are_awaited(minilm: LazyEmbedder) -> None:
    class Failing(Recorder):
        def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
            raise RuntimeError("out of memory")

    embedder = over(Failing(), minilm)
    for _ in range(3):
        with pytest.raises(BackendError, match="at positions 0, 1: RuntimeError: out of memory"):
            await embedder.prepare(["one", "two"], role="document").start()


def test_a_loop_that_was_closed_meanwhile_does_not_end_the_worker(minilm: LazyEmbedder) -> None:
    encoder = Gated()
    embedder = over(encoder, minilm)
    prepared = embedder.prepare(["one"], role="document")

    async def leave() -> None:
        prepared.start()

    asyncio.run(leave())
    encoder.allow(3)
    until(lambda: len(encoder.shapes) == 1)
    assert embedder.encode_document(["two"]).shape == (1, 384)


# What an engine computes.


def test_tokens_are_those_of_the_tokenizer_with_their_places_in_prompt_and_text(minilm: LazyEmbedder) -> None:
    spec = replace(minilm.spec, prompts={"query": "find: "})
    (tokens,) = over(Recorder(), minilm, spec=spec).tokenize(["embeddings"], role="query")
    assert [(token.text, token.start, token.end, token.special) for token in tokens] == [
        ("[CLS]", 0, 0, True), ("find", 0, 4, False), (":", 4, 5, False),
        ("em", 6, 8, False), ("##bed", 8, 11, False), ("##ding", 11, 15, False), ("##s", 15, 16, False),
        ("[SEP]", 0, 0, True),
    ]  # fmt: skip
    assert [token.id for token in tokens][:2] == [101, 2424]
    whole = minilm.tokenize([LONG, ""], role="unprompted")
    assert [len(each) for each in whole] == minilm.count_tokens([LONG, ""], role="document")
    assert minilm.tokenize([], role="query") == []
    with pytest.raises(UnsupportedModelError, match="tokenizes texts itself"):
        over(Reading(), minilm).tokenize(["one"], role="query")


def test_computed_tokens_are_counted_with_and_without_padding(minilm: LazyEmbedder) -> None:
    embedder = over(Recorder(), minilm)
    assert embedder.computed_tokens == (0, 0)
    embedder.encode_document(["one two three"])  # alone, by its own thread
    assert embedder.computed_tokens == (5, 5)
    embedder.encode_document(["one two three", "one"])
    assert embedder.computed_tokens == (5 + 5 + 3, 5 + 5 + 5)
