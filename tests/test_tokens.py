"""Token ids are those of the model's own tokenizer over the whole text, however long; of a huge one little is read."""

import random
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer

from embedry import IntegrityError
from embedry._pipeline.tokenizer import Tokenizer

CLS, UNK, SEP = 101, 100, 102

MEGABYTES_10 = 10_000_000


@pytest.fixture(scope="session")
def prose() -> str:
    """100 kB of running text: the documentation strings and code of a large module."""
    return (Path(sysconfig.get_path("stdlib")) / "argparse.py").read_text(encoding="utf-8")[:100_000]


@pytest.fixture
def file(minilm_folder: Path) -> Path:
    return minilm_folder / "tokenizer.json"


def whole(file: Path, text: str, length: int) -> tuple[list[int], list[int]]:
    """The ids of a text that is read whole, and the position [0] if it was cut."""
    rust = RustTokenizer.from_file(str(file))
    rust.no_padding()
    rust.enable_truncation(length)
    encoding = rust.encode(text)
    return encoding.ids, [0] if encoding.overflowing else []


def read(tokenizer: Tokenizer, text: str, length: int) -> tuple[list[int], list[int]]:
    ((row, was_truncated),) = tokenizer.read([text], length)
    return row.tolist(), [0] if was_truncated else []


def rows_of(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> tuple[list[list[int]], list[int]]:
    found = list(tokenizer.read(texts, length))
    return [row.tolist() for row, _ in found], [
        place for place, (_, was_truncated) in enumerate(found) if was_truncated
    ]


class Limited:
    """A tokenizer that takes so many characters and no more."""

    def __init__(self, rust: RustTokenizer, characters: int) -> None:
        self.rust = rust
        self.characters = characters

    def encode_batch_fast(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[Encoding]:
        self.characters -= sum(map(len, texts))
        assert self.characters >= 0, "too much of the text is read"
        return self.rust.encode_batch_fast(texts, add_special_tokens=add_special_tokens)


@pytest.mark.parametrize("length", [3, 16, 256])
def test_ids_just_under_at_and_over_the_limit_are_those_of_transformers(minilm_folder: Path, length: int) -> None:
    from transformers import AutoTokenizer

    texts = [" ".join(["word"] * number) for number in (length - 3, length - 2, length - 1, length, 5 * length)]
    rows, cut = rows_of(Tokenizer(minilm_folder / "tokenizer.json"), texts, length)
    reference = AutoTokenizer.from_pretrained(minilm_folder)(texts, truncation=True, max_length=length)
    assert rows == reference["input_ids"]
    assert [len(row) for row in rows] == [length - 1, length, length, length, length]
    assert cut == [2, 3, 4]


def test_the_length_and_padding_inside_the_tokenizers_file_have_no_effect(file: Path) -> None:
    inside = RustTokenizer.from_file(str(file))
    assert (inside.truncation["max_length"], inside.padding["length"]) == (128, 128)
    rows, cut = rows_of(Tokenizer(file), ["word", "word " * 200, "word " * 300], 256)
    assert [len(row) for row in rows] == [3, 202, 256]
    assert cut == [2]


def test_positions_of_cut_texts_are_those_of_the_call_beyond_a_thousand_texts(file: Path) -> None:
    texts = ["word " * (30 if number % 700 == 5 else 3) for number in range(3000)]
    rows, cut = rows_of(Tokenizer(file), texts, 16)
    assert cut == [5, 705, 1405, 2105, 2805]
    assert {len(row) for row in rows} == {5, 16}


def pieces() -> Iterator[tuple[str, int]]:
    """Texts around the places where a long one is cut for a first look: words, blanks and signs of every length."""
    chance = random.Random(0)
    for _ in range(3000):
        parts = [
            "a" * chance.randint(90, 130), ".", "unbelievable", "transform", " ", " " * 40, "é", "e\u0301", "漢", "\x1c",
            "\u3000", "\n", "😀",
        ]  # fmt: skip
        count = chance.choice([5, 20, 60, 300])
        yield "".join(chance.choice(parts) for _ in range(count)), chance.choice([3, 5, 8, 16, 64])


def test_random_texts_have_the_ids_of_the_text_read_whole(file: Path) -> None:
    tokenizer = Tokenizer(file)
    rust = RustTokenizer.from_file(str(file))
    rust.no_padding()
    for text, length in pieces():
        rust.enable_truncation(length)
        encoding = rust.encode(text)
        assert read(tokenizer, text, length) == (encoding.ids, [0] if encoding.overflowing else []), text


@pytest.mark.parametrize("length", [3, 16, 256])
@pytest.mark.parametrize(
    "text",
    [
        "a" * 200,
        "a" * 6_000,
        " " * 6_000 + "end",
        "\n" * 6_000,
        "word" + " " * 6_000,
        "word " * 254 + " " * 6_000,
        "word " * 254 + " " * 6_000 + "more",
        "漢字仮名交じり文" * 5000,
        "aaaa 😀 " * 5000,
        ("a" * 150 + ".") * 500,
        ("a" * 164 + ".") * 6 + "qzxj" * 50 + ".",
        ("a" * 334 + ".") * 6 + "qzxj" * 50 + ".",
        " " * 150 + "qzxj" * 15 + "\x1c" + "qzxj" * 300,
        "e\u0301" * 3_000,
    ],
    ids=lambda text: ascii(text[:6]) if isinstance(text, str) else None,
)
def test_a_long_text_has_the_ids_of_the_text_read_whole(file: Path, text: str, length: int) -> None:
    assert read(Tokenizer(file), text, length) == whole(file, text, length)


def test_long_prose_has_the_ids_of_the_text_read_whole(file: Path, prose: str) -> None:
    for length in (16, 256, 512):
        assert read(Tokenizer(file), prose, length) == whole(file, prose, length)


@pytest.mark.parametrize(
    ("unit", "tokens_known", "most_characters"),
    [
        ("prose", None, 16 * 256),
        ("漢字仮名交じり文", None, 48 * 256),
        ("aaaa 😀 ", None, 16 * 256),
        ("a", [CLS, UNK, SEP], 2 * 2048 * 256),
        (" ", [CLS, SEP], 2 * 2048 * 256),
        ("\u3000", [CLS, SEP], 2 * 2048 * 256),
    ],
)
def test_of_ten_megabytes_only_the_beginning_is_tokenized_and_the_rest_is_reported_as_cut(
    file: Path, prose: str, unit: str, tokens_known: list[int] | None, most_characters: int
) -> None:
    unit = prose if unit == "prose" else unit
    text = unit * (MEGABYTES_10 // len(unit))
    tokenizer = Tokenizer(file)
    limited: Any = Limited(tokenizer._rust, most_characters)
    tokenizer._rust = limited
    expected = tokens_known or whole(file, text[:100_000], 256)[0]
    assert read(tokenizer, text, 256) == (expected, [0])


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json")
