"""The token ids of pairs are those of the tokenizers library over both texts, truncated longest first."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import processors

from embedry import IntegrityError, PairFrame, Transformer
from embedry._pipeline.pairs import Pair, PairTokenizer

LENGTHS = (5, 6, 33, 300)


@pytest.fixture
def file(minilm_folder: Path) -> Path:
    return minilm_folder / "tokenizer.json"


def pairs(length: int) -> list[Pair]:
    """Texts of 0 to 1.3 times so many words on both sides, many of them around what there is room for, and half of it."""
    chosen = random.Random(17)
    room = length - 3
    around = [place + offset for place in (room // 2, room, length) for offset in (-1, 0, 1)]
    counts = [0, 1, *around, length * 4 // 3]
    words = ["time", "water", "naïve", "日", "?"]
    texts = [" ".join(chosen.choice(words) for _ in range(count)) for count in counts]
    return [(a, b) for a in texts for b in texts]


def read_whole(rust: RustTokenizer, pair: Pair, length: int, direction: str) -> tuple[list[int], list[int]]:
    """Ids and segments of a pair as the library itself truncates it."""
    rust.enable_truncation(length, strategy="longest_first", direction=direction)
    encoding = rust.encode(*pair)
    return encoding.ids, encoding.type_ids


@pytest.mark.parametrize("direction", ["right", "left"])
@pytest.mark.parametrize("length", LENGTHS)
def test_pairs_are_read_as_the_library_reads_them(file: Path, length: int, direction: str) -> None:
    rust = RustTokenizer.from_file(str(file))
    rust.no_padding()
    found = PairTokenizer(file, Transformer(truncate_left=direction == "left")).read(pairs(length), ("", ""), length)
    for pair, read in zip(pairs(length), found, strict=True):
        ids, segments = read_whole(rust, pair, length, direction)
        assert read.row[:, 0].tolist() == ids
        assert read.row[:, 1].tolist() == segments


def test_it_is_known_which_side_is_truncated(file: Path) -> None:
    tokenizer = PairTokenizer(file, Transformer())
    short, long = "time", "time " * 40
    found = tokenizer.read([(short, short), (short, long), (long, short), (long, long)], ("", ""), 32)
    assert [(pair.query_truncated, pair.document_truncated) for pair in found] == [
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    ]
    assert tokenizer.lengths([(short, long)], ("", "")) == [1 + 40 + 3]


def test_prompts_stand_before_both_texts(file: Path) -> None:
    tokenizer = PairTokenizer(file, Transformer())
    (prompted,) = tokenizer.read([("time", "water")], ("query: ", "passage: "), 64)
    (written,) = tokenizer.read([("query: time", "passage: water")], ("", ""), 64)
    np.testing.assert_array_equal(prompted.row, written.row)
    assert tokenizer.lengths([("time", "water")], ("query: ", "passage: ")) == [len(written.row)]


def test_a_template_with_two_separators(file: Path, tmp_path: Path) -> None:
    """As RoBERTa's, which does not tell its texts apart by segments."""
    rust = RustTokenizer.from_file(str(file))
    rust.no_padding()
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A:0 [SEP] [SEP] $B:0 [SEP]",
        special_tokens=[("[CLS]", 101), ("[SEP]", 102)],
    )
    rust.save(str(tmp_path / "tokenizer.json"))
    (read,) = PairTokenizer(tmp_path / "tokenizer.json", Transformer()).read([("time", "water")], ("", ""), 64)
    assert read.row[:, 0].tolist() == rust.encode("time", "water").ids
    assert read.row[:, 1].max() == 0


def test_a_pair_in_a_frame_is_one_text_of_which_the_end_is_truncated(file: Path) -> None:
    frame = PairFrame(before="[CLS] judge this: ", after=" answer now [SEP]")
    tokenizer = PairTokenizer(file, Transformer(pair=frame))
    prompts = ("question: ", " passage: ")
    rust = RustTokenizer.from_file(str(file))
    rust.no_padding()
    rust.no_truncation()

    def plain(text: str) -> list[int]:
        ids: list[int] = rust.encode(text, add_special_tokens=False).ids
        return ids

    before, after = plain(frame.before), plain(frame.after)
    assert (before[0], after[-1]) == (101, 102)
    body = plain("question: time passage: " + "water " * 50)
    room = 40 - len(before) - len(after)
    (short, long) = tokenizer.read([("time", "water"), ("time", "water " * 50)], prompts, 40)
    assert short.row[:, 0].tolist() == before + plain("question: time passage: water") + after
    assert long.row[:, 0].tolist() == before + body[:room] + after
    assert [(pair.query_truncated, pair.document_truncated) for pair in (short, long)] == [
        (False, False),
        (False, True),
    ]
    assert tokenizer.lengths([("time", "water " * 50)], prompts) == [len(before) + len(body) + len(after)]


def test_a_tokenizer_without_a_template_for_pairs_is_refused(file: Path, tmp_path: Path) -> None:
    described = json.loads(file.read_text(encoding="utf-8"))
    described["post_processor"] = processors_of_one_text()
    (tmp_path / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(IntegrityError, match="no template for pairs"):
        PairTokenizer(tmp_path / "tokenizer.json", Transformer())


def processors_of_one_text() -> dict[str, object]:
    """A template that drops the second text of a pair."""
    special = {"id": "[CLS]", "ids": [101], "tokens": ["[CLS]"]}
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"[CLS]": special},
    }


def test_a_length_without_room_for_both_texts_is_refused(file: Path) -> None:
    with pytest.raises(IntegrityError, match="adds 3 tokens to a pair, and max_seq_length=4"):
        PairTokenizer(file, Transformer()).check_length(4)
    PairTokenizer(file, Transformer()).check_length(5)
