"""`embedry bench`: every number is there and positive. How large it is belongs to the machine, and to no test."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from command_line import run
from embedry.backend import TextEncoder
from embedry.views import LazyEmbedder
from embedry_cli import prose, timings
from recording import over

Checkpoints = Callable[..., Path]

KINDS = ["short texts", "paragraphs", "long documents"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number of these tests means anything, so none of them needs its time."""
    monkeypatch.setattr(timings, "ROUNDS", 1)
    monkeypatch.setattr(timings, "_ENOUGH", 0.0)
    monkeypatch.setattr(timings, "_QUERY_SECONDS", 0.1)


def test_everything_is_measured(checkpoint: Checkpoints) -> None:
    result = run("bench", checkpoint("bert"), "--threads", "2", "--json")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    assert list(found["per_second"]) == KINDS
    rates = [rate[unit] for rate in found["per_second"].values() for unit in ("texts", "tokens")]
    names = ("load_seconds", "query_ms_p50", "query_ms_p99", "queries_per_second", "peak_memory_mb")
    numbers = [found[name] for name in names]
    assert all(number > 0 for number in [*numbers, *rates, *found["batch_tokens"].values()])
    assert found["query_ms_p50"] <= found["query_ms_p99"]
    half, own, double = map(int, found["batch_tokens"])
    assert (half, double) == (own // 2, own * 2)
    assert (found["computed_by"]["backend"], found["computed_by"]["threads"]) == ("onnxruntime", "2")


def test_a_person_is_shown_a_table(checkpoint: Checkpoints) -> None:
    result = run("bench", checkpoint("bert"))
    assert (result.code, result.err) == (0, "")
    for row in ("loading", "one query", "8 concurrent threads", "most memory held", *KINDS):
        assert row in result.out
    assert result.out.count(" tokens/s") == 2 * len(KINDS)
    assert "backend onnxruntime" in result.out


def test_a_much_better_token_budget_is_spoken_of(checkpoint: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, spoken in [({1: 1.0, 2: 1.05, 4: 2.0}, False), ({1: 3.0, 2: 1.5, 4: 1.0}, True), ({}, False)]:
        monkeypatch.setattr(timings, "budgets", lambda embedder, texts, seconds=seconds: seconds)
        out = run("bench", checkpoint("bert")).out
        assert ("batches of 4 tokens are 50% faster here than the 2 that the engine takes" in out) == spoken
        assert ("faster here" in out) == spoken


class Reading(TextEncoder):
    """An engine that reads texts in its own way."""

    info: dict[str, str] = {}  # noqa: RUF012  the protocol's

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return list(map(len, texts))

    def forward_texts(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        return np.ones((len(texts), 384), dtype=np.float32)


def test_an_engine_that_reads_texts_itself_has_no_token_budget(minilm: LazyEmbedder) -> None:
    assert timings.budgets(over(Reading(), minilm), ["a text"]) == {}


def test_tokens_are_those_that_the_model_reads_and_unknown_where_the_engine_reads(minilm: LazyEmbedder) -> None:
    spec = replace(minilm.spec, prompts={"document": "word: "})
    embedder = LazyEmbedder(replace(minilm.config, spec=spec, max_seq_length=16))
    assert timings.tokens(embedder, ["one two", "word " * 90]) == (2 + 2 + 2) + 16
    assert timings.tokens(over(Reading(), minilm), ["one two"]) is None


def test_a_model_that_cannot_be_measured_is_one_error() -> None:
    for arguments in (["no-such-model"], ["all-MiniLM-L6-v2", "--precision", "fp3"], ["minilm", "--threads", "0"]):
        result = run("bench", *arguments)
        assert (result.code, result.out) == (2, "")
        assert len(result.err.splitlines()) == 1


def test_the_texts_are_english_of_three_lengths_and_none_comes_twice() -> None:
    texts = prose.by_length()
    assert list(texts) == KINDS
    for some, fewest, (shortest, longest) in zip(
        texts.values(), (500, 300, 60), ((5, 12), (25, 100), (400, 400)), strict=True
    ):
        assert len(set(some)) == len(some) >= fewest
        assert {shortest <= len(text.split()) <= longest for text in some} == {True}
    assert " the " in texts["paragraphs"][0]
    assert texts == prose.by_length()
