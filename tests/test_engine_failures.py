"""Whatever an engine raises comes out as a BackendError that says for which of the caller's texts."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import BackendError, UnsupportedModelError
from embedry.views import LazyEmbedder
from recording import Recorder, over

BAD = "bad"


class Panic(BaseException):
    """What bindings of Rust code raise, by its name."""


Panic.__name__ = "PanicException"


class Refusing(Recorder):
    """Raises for every batch with the word "bad"."""

    def __init__(self, bad: int, error: BaseException) -> None:
        super().__init__()
        self._bad = bad
        self._error = error

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        """The vectors of a batch."""
        if (ids == self._bad).any():
            raise self._error
        return super().forward(ids, mask)


def refusing(embedder: LazyEmbedder, error: BaseException) -> LazyEmbedder:
    """The embedder over an engine that raises this for the text "bad"; a batch holds one text, or several short ones."""
    from embedry._pipeline.tokenizer import Tokenizer

    tokenizer = Tokenizer(embedder.engine.load().folder / "tokenizer.json")
    (row, _), *_ = tokenizer.read([BAD], 16)
    return over(Refusing(int(row[1]), error), embedder)


@pytest.mark.parametrize("error", [IndexError("index out of range in self"), Panic("no entry found for key")])
def test_the_error_names_the_type_the_words_and_the_position(minilm: LazyEmbedder, error: BaseException) -> None:
    with pytest.raises(BackendError) as caught:
        refusing(minilm, error).encode_document([BAD])
    assert str(caught.value) == (
        f"the backend 'onnxruntime' failed for a batch of 1 texts, at positions 0: {type(error).__name__}: {error}"
    )
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("long", ["word " * 200, "word " * 20])
def test_positions_are_those_of_the_call_also_where_texts_are_repeated(minilm: LazyEmbedder, long: str) -> None:
    """The bad text stands among others of its length and is computed once, for three of the caller's."""
    texts = [long, BAD, long, "good", BAD, *(f"{long} {number}" for number in range(40)), BAD]
    with pytest.raises(BackendError, match=r"failed for a batch of 4 texts, at positions 1, 3, 4, 45: KeyError: 'x'$"):
        refusing(minilm, KeyError("x")).encode_document(texts)


def test_positions_count_through_the_blocks_of_a_call(minilm: LazyEmbedder) -> None:
    texts = [f"{number} and {'word ' * (number % 50)}" for number in range(5000)]
    texts[4321] = texts[4999] = f"{BAD} {'word ' * 100}"
    with pytest.raises(BackendError, match=r"failed for a batch of \d+ texts, at positions 4321, 4999: "):
        refusing(minilm, KeyError("x")).encode_document(texts)


def test_positions_count_from_the_start_of_a_stream_and_what_came_before_was_yielded(minilm: LazyEmbedder) -> None:
    def texts() -> Iterator[str]:
        for number in range(5000):
            yield f"{BAD} {'word ' * 100}" if number in (4321, 4999) else f"{number % 77} and {'word ' * (number % 50)}"

    came: list[int] = []
    blocks = refusing(minilm, KeyError("x")).encode_stream(texts(), role="document")
    with pytest.raises(BackendError, match=r"failed for a batch of \d+ texts, at positions 4321, 4999: "):
        came.extend(map(len, blocks))
    assert 0 < sum(came) <= 4321


@pytest.mark.parametrize("error", [UnsupportedModelError("in our own words"), KeyboardInterrupt()])
def test_errors_of_ours_and_interrupts_come_as_they_are(minilm: LazyEmbedder, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        refusing(minilm, error).encode_document([BAD, "good " * 90])
    assert caught.value is error
