"""Texts without end: their vectors in order, block by block, no further ahead than the next block, and nothing left behind."""

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import BaseEmbedder, OptionError, TextError, TextTooLongError, TextTypeError, TruncationWarning
from embedry.views import LazyEmbedder
from recording import Gated, Recorder, over

BLOCK = 20

WORDS = ["river", "seven", "cloud", "music", "window", "early", "market", "garden"]


@pytest.fixture
def blocks_of_20(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of so few texts that a test has many of them."""
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", BLOCK)


class Counted:
    """An iterable of texts that counts how many were taken of it, and fails where all of them are wanted."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.taken += 1
            assert self.taken < 10_000, "an iterable without end is read to its end"
            yield text


class FewTokens(Gated):
    """Of a block 5 batches: 4 texts of 3 words and 2 special tokens each."""

    batch_tokens = 20


def numbered(count: int | None = None) -> Iterator[str]:
    """Texts of three tokens each, all different."""
    numbers = itertools.count() if count is None else range(count)
    return (f"{WORDS[number % 8]} {WORDS[number // 8 % 8]} {number % 1000}" for number in numbers)


def of_mixed_lengths(count: int) -> list[str]:
    return [" ".join(WORDS[(number + place) % 8] for place in range(number * 7 % 40)) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK + 3])
def test_the_blocks_are_the_vectors_of_encode_in_order(minilm: LazyEmbedder, blocks_of_20: None, count: int) -> None:
    embedder = over(Recorder(), minilm)
    texts = of_mixed_lengths(count)
    found = list(embedder.encode_stream(iter(texts), role="document"))
    assert [len(block) for block in found[:-1]] == [BLOCK] * (len(found) - 1)
    assert {block.dtype for block in found} <= {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate([np.empty((0, 384)), *found]), embedder.encode_document(texts))


def test_a_real_engine_streams_the_vectors_of_encode(minilm: LazyEmbedder, blocks_of_20: None) -> None:
    texts = of_mixed_lengths(3 * BLOCK)
    found = np.concatenate(list(minilm.encode_stream(texts, role="query")))
    np.testing.assert_allclose(found, minilm.encode_query(texts), atol=1e-6)


def test_many_characters_make_a_block_as_many_texts_do(minilm: LazyEmbedder) -> None:
    texts = Counted(f"{number} " + "word " * 2_000 for number in itertools.count())
    stream = over(Recorder(), minilm).encode_stream(texts, role="document")
    assert len(next(stream)) < 200
    assert texts.taken < 400
    stream.close()


def test_no_text_is_taken_before_the_first_block_is_asked_for_and_then_no_more_than_the_next_block(
    minilm: LazyEmbedder, blocks_of_20: None
) -> None:
    texts = Counted(numbered())
    stream = over(Recorder(), minilm).encode_stream(texts, role="document")
    assert texts.taken == 0
    for number in range(1, 6):
        assert len(next(stream)) == BLOCK
        assert texts.taken == (number + 1) * BLOCK


def test_texts_that_were_read_are_not_held_longer_than_for_two_blocks(minilm: LazyEmbedder, blocks_of_20: None) -> None:
    class Text(str):
        """One that can be seen to go."""

    living = weakref.WeakValueDictionary[int, Text]()
    most = 0

    def texts() -> Iterator[str]:
        nonlocal most
        for number, text in enumerate(numbered(20 * BLOCK)):
            living[number] = one = Text(text)
            most = max(most, len(living))
            yield one

    assert sum(len(block) for block in over(Recorder(), minilm).encode_stream(texts(), role="document")) == 20 * BLOCK
    assert most <= 2 * BLOCK + 1  # and the one that is just being handed over


def test_equal_texts_of_a_block_are_computed_once(minilm: LazyEmbedder, blocks_of_20: None) -> None:
    recorder = Recorder()
    embedder = over(recorder, minilm)
    texts = [WORDS[number * number % 5] for number in range(3 * BLOCK)]
    found = np.concatenate(list(embedder.encode_stream(texts, role="document")))
    assert sum(rows for rows, _ in recorder.shapes) == 3 * len(set(texts))
    np.testing.assert_array_equal(found, np.concatenate([embedder.encode_document([text]) for text in texts]))


def surrogate(texts: list[str]) -> Iterator[str]:
    yield from [*texts, "half \ud800"]


def number(texts: list[str]) -> Iterator[str]:
    yield from [*texts, 7]  # type: ignore[list-item]


def broken(texts: list[str]) -> Iterator[str]:
    yield from texts
    raise RuntimeError("text 47 cannot be read")


@pytest.mark.parametrize(("source", "error"), [(surrogate, TextError), (number, TextTypeError), (broken, RuntimeError)])
def test_a_wrong_text_is_an_error_after_the_vectors_of_the_blocks_before_it(
    minilm: LazyEmbedder,
    blocks_of_20: None,
    source: Callable[[list[str]], Iterator[str]],
    error: type[Exception],
) -> None:
    embedder = over(Recorder(), minilm)
    texts = list(numbered(2 * BLOCK + 7))
    stream = embedder.encode_stream(source(texts), role="document")
    before = np.concatenate([next(stream), next(stream)])
    np.testing.assert_array_equal(before, embedder.encode_document(texts[: 2 * BLOCK]))
    with pytest.raises(error, match="text 47") as raised:
        next(stream)
    if isinstance(raised.value, TextError):
        assert raised.value.positions == (47,)
    assert list(stream) == []


LONG = "word " * 20


def with_long_ones(*places: int) -> list[str]:
    return [f"{LONG}{place}" if place in places else text for place, text in enumerate(numbered(3 * BLOCK))]


def test_a_text_that_is_too_long_is_an_error_with_its_place_in_the_stream(
    minilm: LazyEmbedder, blocks_of_20: None
) -> None:
    embedder = over(Recorder(), minilm, max_seq_length=16, on_overflow="error")
    stream = embedder.encode_stream(with_long_ones(27, 35, 50), role="document")
    assert len(next(stream)) == BLOCK
    with pytest.raises(TextTooLongError, match="at positions 27, 35;") as error:
        next(stream)
    assert error.value.positions == (27, 35)


def test_a_warning_has_the_places_in_the_stream_too(minilm: LazyEmbedder, blocks_of_20: None) -> None:
    embedder = over(Recorder(), minilm, max_seq_length=16, on_overflow="warn")
    texts = with_long_ones(3, 47, 59)
    texts[50] = texts[47]  # a text that comes twice is computed once and told twice
    with pytest.warns(TruncationWarning) as caught:
        found = np.concatenate(list(embedder.encode_stream(texts, role="document")))
    assert [warning.message.positions for warning in caught] == [(3,), (47, 50, 59)]  # type: ignore[union-attr]
    cutting = over(Recorder(), minilm, max_seq_length=16)
    np.testing.assert_array_equal(found, cutting.encode_document(texts))


@pytest.mark.parametrize("texts", ["one text", b"bytes", 3, None])
def test_what_is_no_iterable_of_texts_is_refused_by_the_call(minilm: LazyEmbedder, texts: Iterable[str]) -> None:
    embedder = LazyEmbedder(replace(minilm.config, threads=7))
    with pytest.raises(TextTypeError):
        embedder.encode_stream(texts, role="document")
    assert not embedder.loaded


def test_a_role_that_the_model_does_not_have_is_refused_by_the_call(minilm: LazyEmbedder) -> None:
    embedder, texts = LazyEmbedder(replace(minilm.config, threads=7)), Counted(numbered())
    with pytest.raises(OptionError, match="no role 'passage'"):
        embedder.encode_stream(texts, role="passage")
    assert (embedder.loaded, texts.taken) == (False, 0)


def assert_nothing_goes_on(embedder: LazyEmbedder, gated: FewTokens) -> None:
    """Of the abandoned stream no batch ran but the block that came, and one that had begun; the next call is right."""
    texts = list(numbered(BLOCK))
    gated.allow(1000)
    np.testing.assert_array_equal(embedder.encode_document(texts), over(Recorder(), embedder).encode_document(texts))
    assert len(gated.shapes) <= 5 + 1 + 5


def test_a_stream_that_is_closed_early_drops_its_batches_and_the_embedder_works_on(
    minilm: LazyEmbedder, blocks_of_20: None
) -> None:
    gated = FewTokens()
    embedder = over(gated, minilm)
    gated.allow(5)
    stream = embedder.encode_stream(Counted(numbered()), role="document")
    assert len(next(stream)) == BLOCK
    stream.close()
    assert_nothing_goes_on(embedder, gated)


def test_an_interrupt_of_the_consumer_drops_the_batches_and_the_embedder_works_on(
    minilm: LazyEmbedder, blocks_of_20: None
) -> None:
    gated = FewTokens()
    embedder = over(gated, minilm)
    gated.allow(5)

    def consume() -> None:
        for _ in embedder.encode_stream(Counted(numbered()), role="document"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert_nothing_goes_on(embedder, gated)


@pytest.mark.parametrize("count", [1, 2 * BLOCK])
def test_a_failing_engine_is_an_error_and_no_vectors(minilm: LazyEmbedder, blocks_of_20: None, count: int) -> None:
    class Failing(Recorder):
        def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
            raise RuntimeError("the engine's own words")

    found: list[NDArray[np.float32]] = []
    with pytest.raises(RuntimeError, match="the engine's own words"):
        found.extend(over(Failing(), minilm).encode_stream(numbered(count), role="document"))
    assert found == []


def test_two_streams_and_a_question_between_them_do_not_mix(minilm: LazyEmbedder, blocks_of_20: None) -> None:
    embedder = over(Recorder(), minilm)
    there, back = list(numbered(3 * BLOCK)), list(numbered(3 * BLOCK))[::-1]
    expected = embedder.encode_document(there)
    blocks = []
    for one, other in zip(
        embedder.encode_stream(there, role="document"), embedder.encode_stream(back, role="document"), strict=True
    ):
        np.testing.assert_array_equal(embedder.encode_query(there[:1]), expected[:1])
        blocks.append((one, other))
    np.testing.assert_array_equal(np.concatenate([one for one, _ in blocks]), expected)
    np.testing.assert_array_equal(np.concatenate([other for _, other in blocks]), expected[::-1])


class Lengths(BaseEmbedder):
    """A third party's: a text's vector is its length."""

    name = "lengths"
    dims = 1
    max_seq_length = 100

    def encode(self, texts: Iterable[str], *, role: str) -> NDArray[np.float32]:
        assert role == "document"
        return np.float32([[len(text)] for text in texts])


def test_a_class_with_nothing_but_encode_streams_as_well() -> None:
    texts = Counted("x" * (number % 100) for number in itertools.count())
    stream = Lengths().encode_stream(texts, role="document")
    assert texts.taken == 0
    first = next(stream)
    assert texts.taken == len(first) > 100
    both = np.concatenate([first, next(stream)])
    assert both.ravel().tolist() == [number % 100 for number in range(texts.taken)]
    assert list(Lengths().encode_stream([], role="document")) == []


@pytest.mark.parametrize("texts", [[], [7], ["\ud800"]])
def test_nothing_is_loaded_for_no_text_or_for_a_first_one_that_is_wrong(minilm: LazyEmbedder, texts: list[str]) -> None:
    embedder = LazyEmbedder(minilm.config)
    if texts:
        with pytest.raises(TextError if isinstance(texts[0], str) else TextTypeError):
            list(embedder.encode_stream(texts, role="document"))
    else:
        assert list(embedder.encode_stream(texts, role="document")) == []
    assert not embedder.loaded
