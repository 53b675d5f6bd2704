"""What happens to texts that are longer than the model reads is the caller's choice, and never silent against it."""

import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embedry import TextTooLongError, TruncationWarning
from embedry._pipeline import overflow
from embedry.views import LazyEmbedder
from recording import Recorder, over

FITS = "word " * 14
LONG = "word " * 15
TEXTS = [FITS, LONG, "short", LONG, "other " * 90]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def reading_16(minilm: LazyEmbedder, recorder: Recorder) -> Callable[..., LazyEmbedder]:
    """An embedder that reads 16 tokens, with this policy."""

    def make(policy: str) -> LazyEmbedder:
        return over(recorder, minilm, max_seq_length=16, on_overflow=policy)

    return make


def test_truncate_reads_the_first_tokens(reading_16: Callable[..., LazyEmbedder], recorder: Recorder) -> None:
    vectors = reading_16("truncate").encode_document(TEXTS)
    np.testing.assert_array_equal(vectors[1], vectors[0])
    assert max(width for _, width in recorder.shapes) == 16


@pytest.mark.parametrize(
    "call",
    [
        lambda embedder: embedder.encode_document(TEXTS),
        lambda embedder: list(embedder.encode_stream(TEXTS, role="document")),
    ],
)
def test_truncation_is_logged_once_for_a_model_and_a_length(
    reading_16: Callable[..., LazyEmbedder],
    minilm: LazyEmbedder,
    call: Callable[[LazyEmbedder], object],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overflow, "_noted", set())
    call(reading_16("truncate"))
    call(reading_16("truncate"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records if record.levelname == "WARNING"] == [
        (
            "WARNING",
            "texts have more than the 16 tokens that 'all-MiniLM-L6-v2' reads, and the rest of each is ignored; "
            'split them, or pass on_overflow="warn" or "error" to resolve. This is only logged once.',
        )
    ]
    call(over(Recorder(), minilm, max_seq_length=12))
    assert "more than the 12 tokens" in caplog.records[-1].getMessage()


def test_truncation_that_the_result_tells_is_not_logged(
    reading_16: Callable[..., LazyEmbedder], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overflow, "_noted", set())
    embedder = reading_16("truncate")
    assert [list(block.truncated) for block in embedder.encode_blocks(TEXTS, role="document")] == [[1, 3, 4]]
    assert embedder.prepare(TEXTS, role="document").truncated == [1, 3, 4]
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_warn_names_the_positions_of_the_call_and_gives_the_same_vectors(
    reading_16: Callable[..., LazyEmbedder],
) -> None:
    message = "3 of 5 texts have more than the 16 tokens that the model reads, at positions 1, 3, 4; the rest of each was not read"
    with pytest.warns(TruncationWarning, match=f"^{re.escape(message)}$") as caught:
        vectors = reading_16("warn").encode_document(TEXTS)
    (warning,) = caught
    assert warning.message.positions == (1, 3, 4)  # type: ignore[union-attr]
    np.testing.assert_array_equal(vectors, reading_16("truncate").encode_document(TEXTS))


@pytest.mark.parametrize(
    "call",
    [
        lambda embedder: embedder.encode([LONG], role="query"),
        lambda embedder: embedder.encode_query([LONG]),
        lambda embedder: embedder.encode_document([LONG]),
        lambda embedder: embedder.embed_query(LONG),
        lambda embedder: embedder.embed_documents([LONG]),
    ],
)
def test_a_warning_points_at_the_line_that_called(
    reading_16: Callable[..., LazyEmbedder], call: Callable[[LazyEmbedder], Any]
) -> None:
    with pytest.warns(TruncationWarning) as caught:
        call(reading_16("warn"))
    assert (caught[0].filename, caught[0].lineno) == (__file__, inspect.getsourcelines(call)[1])


def test_a_warning_lists_ten_positions_and_carries_all(reading_16: Callable[..., LazyEmbedder]) -> None:
    with pytest.warns(
        TruncationWarning, match=r"30 of 30 .* at positions 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.;"
    ) as caught:
        reading_16("warn").encode_document([f"{number} {LONG}" for number in range(30)])
    assert caught[0].message.positions == tuple(range(30))  # type: ignore[union-attr]


def test_error_names_the_positions_and_computes_nothing(
    reading_16: Callable[..., LazyEmbedder], recorder: Recorder
) -> None:
    with pytest.raises(
        TextTooLongError, match=r'at positions 1, 3, 4; split them, or pass on_overflow="truncate"'
    ) as error:
        reading_16("error").encode_document(TEXTS)
    assert error.value.positions == (1, 3, 4)
    assert recorder.shapes == []


@pytest.mark.parametrize("policy", ["warn", "error"])
def test_texts_that_just_fit_are_no_overflow(
    reading_16: Callable[..., LazyEmbedder], recorder: Recorder, policy: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reading_16(policy).encode_document([FITS, "short", ""])
    assert sum(texts for texts, _ in recorder.shapes) == 3


def test_the_prompt_counts_towards_the_length(minilm: LazyEmbedder, recorder: Recorder) -> None:
    from dataclasses import replace

    spec = replace(minilm.spec, prompts={"query": "one two "})
    embedder = over(recorder, minilm, spec=spec, max_seq_length=16, on_overflow="error")
    embedder.encode_document([FITS])
    embedder.encode_query(["word " * 12])
    with pytest.raises(TextTooLongError):
        embedder.encode_query(["word " * 13])
