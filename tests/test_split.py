"""Long texts are split at the best boundaries into passages that the model reads to their end."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from embedry import OptionError, Passage, TextTypeError, resolve
from embedry.views import LazyEmbedder

PROSE = " ".join(f"Sentence number {number} says something about the weather in April." for number in range(400))
MARKDOWN = "\n\n".join(f"# Part {part}\n\n{PROSE[part * 500 : part * 500 + 300 + 137 * part]}" for part in range(9))


def assert_covers(text: str, passages: list[Passage], tokens: int) -> None:
    """Every passage is where it says, and nothing but white space is between two of them."""
    end = 0
    for passage in passages:
        assert passage.text == text[passage.start : passage.end] == passage.text.strip()
        assert text[end : passage.start].strip() == ""
        assert 0 < passage.tokens <= tokens
        end = passage.end
    assert text[end:].strip() == ""


def test_prose_is_split_between_sentences(minilm: LazyEmbedder) -> None:
    passages = minilm.split(PROSE, tokens=64)
    assert_covers(PROSE, passages, 64)
    assert len(passages) > 50
    assert all(passage.text.startswith("Sentence") and passage.text.endswith(".") for passage in passages)
    assert [passage.tokens for passage in passages] == minilm.count_tokens(
        [passage.text for passage in passages], role="document"
    )
    assert min(passage.tokens for passage in passages[:-1]) > 32


def test_a_heading_stays_with_the_text_below_it(minilm: LazyEmbedder) -> None:
    passages = minilm.split(MARKDOWN, tokens=128)
    assert_covers(MARKDOWN, passages, 128)
    headed = [passage.text.partition(f"# Part {part}\n\n")[2] for part in range(9) for passage in passages]
    assert sum(len(below) > 50 for below in headed) == 9
    assert sum(passage.text.startswith("# Part") for passage in passages) >= 5  # a short part follows another


def test_passages_overlap_by_no_more_than_asked(minilm: LazyEmbedder) -> None:
    passages = minilm.split(PROSE, tokens=64, overlap=20)
    for before, after in pairwise(passages):
        shared = PROSE[after.start : before.end]
        assert shared.startswith("Sentence")
        assert 0 < minilm.count_tokens([shared], role="document")[0] - 2 <= 20
    assert passages[0].start == 0
    assert passages[-1].end == len(PROSE)


def test_by_default_a_passage_has_256_tokens_or_what_the_model_reads(minilm: LazyEmbedder) -> None:
    assert 200 < max(passage.tokens for passage in minilm.split(PROSE)) <= 256
    short = resolve(minilm.spec, max_seq_length=32, cache_dir=minilm.config.cache_dir)
    assert 16 < max(passage.tokens for passage in short.split(PROSE)) <= 32


@pytest.mark.parametrize("text", ["", " \n\t ", "\u3000"])
def test_white_space_has_no_passages(minilm: LazyEmbedder, text: str) -> None:
    assert minilm.split(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "x" * 3000,  # one word, which this tokenizer makes one token of
        "1" * 90 + ("7 8" * 400),
        "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3042\u308b\u3002" * 60,
        "a\u0301\u200d\U0001f469\u200d\U0001f680 " * 300,
        "no boundary,but commas" * 100,
    ],
)
@pytest.mark.parametrize("overlap", [0, 3])
def test_texts_without_good_boundaries_are_covered_too(minilm: LazyEmbedder, text: str, overlap: int) -> None:
    passages = minilm.split(text, tokens=12, overlap=overlap)
    assert all(passage.tokens <= 12 and text[passage.start : passage.end] == passage.text for passage in passages)
    covered = set[int]().union(*(range(passage.start, passage.end) for passage in passages))
    assert [character for place, character in enumerate(text) if place not in covered and not character.isspace()] == []


def test_a_text_of_many_parts_is_split_as_a_short_one(minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = minilm.split(PROSE, tokens=64, overlap=16)
    monkeypatch.setattr("embedry._pipeline.splitting._PART_CHARS", 2000)
    assert minilm.split(PROSE, tokens=64, overlap=16) == expected


@pytest.mark.parametrize("family", ["xlm-roberta", "modernbert", "t5"])
def test_other_tokenizers_give_passages_that_fit(checkpoint: Callable[..., Path], family: str) -> None:
    embedder = resolve(checkpoint(family))
    text = PROSE[:3000] + "\n\n" + "unbrokenword" * 50
    assert_covers(text, embedder.split(text, tokens=24), 24)


def test_the_prompt_of_documents_counts(checkpoint: Callable[..., Path]) -> None:
    from dataclasses import replace

    spec = resolve(checkpoint("bert")).spec
    prompted = resolve(replace(spec, name="prompted", prompts={"document": "this is a passage of a long text: "}))
    for passage in prompted.split(PROSE, tokens=32):
        assert prompted.count_tokens([passage.text], role="document")[0] == passage.tokens <= 32


def test_impossible_sizes_are_refused(minilm: LazyEmbedder) -> None:
    with pytest.raises(OptionError, match=r"tokens must be an integer from 3 to 256, which the model reads, got 300"):
        minilm.split(PROSE, tokens=300)
    with pytest.raises(OptionError, match="got 2"):
        minilm.split(PROSE, tokens=2)
    with pytest.raises(OptionError, match=r"less than half of the 30 tokens .* got 15"):
        minilm.split(PROSE, tokens=32, overlap=15)
    with pytest.raises(TextTypeError):
        minilm.split(["a list"])  # type: ignore[arg-type]
