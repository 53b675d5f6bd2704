"""The tokenizers of every family are read as the library's own classes read them, or refused where the files disagree."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

import tokenizer_kinds
from agreement import POOLINGS, Vectors, expected, furthest
from embedry import UnsupportedModelError, resolve
from embedry._layouts import from_folder
from embedry._pipeline.tokenizer import Tokenizer
from tokenizer_kinds import KINDS, TEXTS

Make = Callable[[str, str], Path]
Edit = Callable[[dict[str, Any]], object]
LENGTH = 24


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tokenizer of some kind, made once."""
    made: dict[str, Path] = {}

    def save(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
            KINDS[kind]().save_pretrained(made[kind])
        return made[kind]

    return save


@pytest.fixture
def model(checkpoint: Callable[..., Path], saved: Callable[[str], Path], tmp_path: Path) -> Make:
    """A checkpoint of a family with a tokenizer of some kind."""

    def make(family: str, kind: str) -> Path:
        plain = checkpoint(family, POOLINGS[family][0], max_seq_length=LENGTH)
        folder = Path(shutil.copytree(plain, tmp_path / "model"))
        shutil.copy(saved(kind) / "tokenizer.json", folder)
        config = json.loads((saved(kind) / "tokenizer_config.json").read_text()) | {"model_max_length": LENGTH}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("xlm-roberta", "xlm-roberta"), ("bert", "xlm-roberta"), ("gte", "xlm-roberta"), ("modernbert", "modernbert"),
        ("modernbert", "xlm-roberta"), ("qwen3", "qwen3"), ("gemma3_text", "gemma3_text"), ("embeddinggemma", "gemma3_text"),
        ("t5", "t5"),
    ],
)  # fmt: skip
def test_a_model_gives_the_vectors_of_sentence_transformers_with_its_kind_of_tokenizer(
    model: Make, vectors: Callable[..., Vectors], family: str, kind: str
) -> None:
    folder = model(family, kind)
    assert furthest(vectors(folder, TEXTS), expected(folder, TEXTS)) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_library_and_truncation_keeps_the_special_tokens(model: Make, kind: str) -> None:
    folder = model(kind, kind)
    library = AutoTokenizer.from_pretrained(folder)
    spec = from_folder(folder)
    assert spec.transformer is not None
    tokenizer = Tokenizer(folder / "tokenizer.json", spec.transformer)
    for length in (LENGTH, 100_000):
        found = [ids.tolist() for ids, _ in tokenizer.read(TEXTS, length)]
        assert found == [library(text, truncation=True, max_length=length)["input_ids"] for text in TEXTS]
    whole, truncated = (library(TEXTS[-3])["input_ids"], found[-3])
    assert whole[-1] == truncated[-1], "what ends every text"
    assert len({len(ids) for ids in found}) > 5


def test_the_last_token_is_the_one_that_the_tokenizer_appends_also_to_a_truncated_text(
    model: Make, tmp_path: Path
) -> None:
    folder = model("qwen3", "qwen3")
    engine = resolve(folder, cache_dir=tmp_path, normalize=False).engine.load().encoder
    library = AutoTokenizer.from_pretrained(folder)
    end = library.convert_tokens_to_ids("<|endoftext|>")
    text = " ".join(tokenizer_kinds.SENTENCES)
    ids = np.array([[*library(text)["input_ids"][: LENGTH - 1], end]], dtype=np.int32)
    appended = engine.forward(ids, np.ones_like(ids))  # type: ignore[union-attr]
    embedded = resolve(folder, cache_dir=tmp_path, normalize=False).encode_document([text])
    assert furthest(embedded, appended) <= 1e-6
    without = engine.forward(ids[:, :-1], np.ones_like(ids[:, :-1]))  # type: ignore[union-attr]
    assert furthest(embedded, without) > 1e-2


def steps(file: dict[str, Any]) -> list[dict[str, Any]]:
    pre_tokenizer = file["pre_tokenizer"]
    found: list[dict[str, Any]] = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return found


def tidied(file: dict[str, Any]) -> None:
    """As newer conversions of sentencepiece's models tidy up spaces."""
    replaced = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    file["normalizer"] = {"type": "Sequence", "normalizers": [file["normalizer"], strip, replaced]}


EDITS: dict[str, Edit] = {
    "no normalizer": lambda file: file.update(normalizer=None),
    "lower case": lambda file: file.update(normalizer={"type": "Lowercase"}),
    "NFKC": lambda file: file.update(normalizer={"type": "NFKC"}),
    "spaces tidied up": tidied,
    "last step alone": lambda file: file.update(pre_tokenizer=steps(file)[-1]),
    "no pre-tokenizer": lambda file: file.update(pre_tokenizer=None),
    "words": lambda file: file.update(pre_tokenizer={"type": "Whitespace"}),
    "split elsewhere": lambda file: steps(file)[0].update(pattern={"String": "e"}),
    "a space before": lambda file: steps(file)[-1].update(add_prefix_space=True),
    "nothing around": lambda file: file.update(post_processor=None),
    "bytes for the unknown": lambda file: file["model"].update(byte_fallback=not file["model"].get("byte_fallback")),
    "the first piece for the unknown": lambda file: file["model"].update(unk_id=0),
}
"""What a tokenizer.json may say otherwise than the class that tokenizer_config.json names; for some kinds it means nothing."""

OF_UNIGRAMS = (
    "lower case",
    "NFKC",
    "no pre-tokenizer",
    "words",
    "nothing around",
    "bytes for the unknown",
    "the first piece for the unknown",
)
OF_QWEN = (
    "no normalizer",
    "lower case",
    "NFKC",
    "last step alone",
    "no pre-tokenizer",
    "words",
    "split elsewhere",
    "a space before",
    "bytes for the unknown",
    "spaces tidied up",
)
REFUSED = {
    *(("xlm-roberta", edit) for edit in OF_UNIGRAMS),
    *(("t5", edit) for edit in OF_UNIGRAMS),
    *(("qwen3", edit) for edit in OF_QWEN),
    *(("gemma3_text", edit) for edit in OF_QWEN if edit != "last step alone"),  # it has one step
}  # fmt: skip
"""What the class would not look at, so that another tokenizer would run. modernbert's is built from the whole file."""


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("kind", KINDS)
def test_files_that_disagree_are_read_as_the_library_does_or_refused(model: Make, kind: str, edit: str) -> None:
    folder = model(kind, kind)
    file = json.loads((folder / "tokenizer.json").read_text())
    EDITS[edit](file)
    (folder / "tokenizer.json").write_text(json.dumps(file))
    if (kind, edit) in REFUSED:
        with pytest.raises(UnsupportedModelError, match="disagree about"):
            from_folder(folder)
        return
    spec = from_folder(folder)
    library = AutoTokenizer.from_pretrained(folder)
    assert spec.transformer is not None
    tokenizer = Tokenizer(folder / "tokenizer.json", spec.transformer)
    found = [ids.tolist() for ids, _ in tokenizer.read(TEXTS, 100_000)]
    assert found == [library(text)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize(
    ("kind", "key", "stated", "found"),
    [
        ("t5", "model.unk_id", "2", "0"),
        ("qwen3", "pre_tokenizer", "'Split+ByteLevel'", "'ByteLevel'"),
        ("gemma3_text", "normalizer", "'Replace'", "None"),
    ],
)
def test_a_disagreement_is_named_with_both_values(model: Make, kind: str, key: str, stated: str, found: str) -> None:
    folder = model(kind, kind)
    file = json.loads((folder / "tokenizer.json").read_text())
    edit = {"t5": "the first piece for the unknown", "qwen3": "last step alone", "gemma3_text": "no normalizer"}[kind]
    EDITS[edit](file)
    (folder / "tokenizer.json").write_text(json.dumps(file))
    sentence = rf"disagree about {key}: {re.escape(stated)} by the first and its class .*, {found} by the second"
    with pytest.raises(UnsupportedModelError, match=sentence):
        from_folder(folder)
