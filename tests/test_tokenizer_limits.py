"""A tokenizer.json that makes native code panic or die, or a text grow without bound, is refused; a usual one is not."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import hostile
from embedry import EmbedryError, resolve
from embedry_layouts import tokenizer_limits
from mutations import VALUES

TOKENIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "a merge outside the vocabulary": (
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "zz"]]}},
        "IntegrityError: tokenizer.json cannot be read as a tokenizer: Token `zz` out of vocabulary",
    ),
    "a map that makes native code panic when it is read": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        "IntegrityError: tokenizer.json cannot be read as a tokenizer: Precompiled:",
    ),
    "pieces that make native code panic on a text": (
        {"pre_tokenizer": json.loads(VALUES["pieces of nothing"])},
        "IntegrityError: tokenizer.json cannot be used: chunk size must be non-zero",
    ),
    "a merge that ends the process": (
        {"model": {"type": "BPE", "vocab": {"a": 0, "é": 1}, "merges": [["a", "é"]], "continuing_subword_prefix": "x"}},
        "IntegrityError: tokenizer.json has the merge ['a', 'é'], whose second part lacks the continuing_subword_prefix 'x'",
    ),
    "normalizers that make a billion characters of one": (
        {"normalizer": json.loads(VALUES["growth"])},
        "UnsupportedModelError: tokenizer.json has normalizers that make more than 4096 characters of one",
    ),
    "a special token beyond the table": (
        {"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2**32 - 1]}},
        "IntegrityError: tokenizer.json has the token id 4294967295, and the table of 'model' has rows for 0 to ",
    ),
    "more special tokens than the model reads": (
        {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] * 40,
                            "pair": [], "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}}},
        "IntegrityError: tokenizer.json adds 40 special tokens, and max_seq_length=16 has no room for them",
    ),
    "a text twice": (
        {"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 2,
                            "pair": [], "special_tokens": {}}},
        "UnsupportedModelError: tokenizer.json has a post-processor that repeats the text, which embedry does not run",
    ),
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A valid model."""
    hostile.write(tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, settings: dict[str, Any]) -> None:
    """Changes keys of tokenizer.json, which libraries then take as it is."""
    read = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(read | settings))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


@pytest.mark.parametrize("what", TOKENIZERS)
def test_a_tokenizer_that_breaks_native_code_is_refused(model: Path, what: str) -> None:
    settings, sentence = TOKENIZERS[what]
    change(model, settings)
    with pytest.raises(EmbedryError) as caught:
        resolve(model, threads=1, cache_dir=model.parent / "cache").encode_document(hostile.TEXTS)
    assert f"{type(caught.value).__name__}: {caught.value}".replace(f"{model}/", "").startswith(sentence)


def test_the_steps_of_known_tokenizers_are_within_the_limits(model: Path) -> None:
    longest = base64.b64encode(bytes(4) + b"x" * 33 + b"\0").decode()  # as in the map of XLM-RoBERTa
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
        {"type": "NFKD"},
        {"type": "Lowercase"},
        {"type": "Precompiled", "precompiled_charsmap": longest},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"},
        {"type": "Prepend", "prepend": "\u2581"},
    ]
    change(model, {"normalizer": {"type": "Sequence", "normalizers": steps}})
    tokenizer_limits.check(model, "tokenizer.json")
