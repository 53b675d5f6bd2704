"""The vectors of a real model are those of sentence-transformers, for real and for unusual texts."""

import re
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from embedry import resolve
from embedry.views import LazyEmbedder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

UNUSUAL = [
    "",
    " ",
    "\n\t \r\n",
    "\u3000\u00a0\u2003",
    "\x00\x01\x02 control \x1c\x7f characters \x85\u200b",
    "漢字かな交じり文。これは二番目の文です。",
    "一个没有空格的很长的句子" * 40,
    "한국어 문장입니다",
    "emoji 😀 👩‍👩‍👧‍👦 🇩🇪 👍🏽",
    "😀" * 300,
    "combining e\u0301 a\u0308 o\u0302\u0323 against composed é ä ộ",
    "z" + "\u0301" * 200,
    "שלום עולם, هذا نص من اليمين إلى اليسار \u202eabc\u202c",
    "naïve café, Ærøskøbing, Škoda, İstanbul, straße, ﬁne ﬂuid ①",
    "ελληνικά и кириллица हिन्दी ภาษาไทย",
    "[CLS] [SEP] [PAD] [MASK] [UNK] ##ing [unused0]",
    "a" * 99,
    "a" * 100,
    "a" * 101,
    "pneumonoultramicroscopicsilicovolcanoconiosis " * 30,
    "x" * 20_000,
    "!?." * 400,
    "\ufeffa byte order mark, \ufffd and \U0010ffff",
    "1234567890 3.14159 -1e-300 0xdeadbeef",
]


def real_texts(count: int) -> list[str]:
    """Passages of the standard library's sources, from 1 word to 1,400; most of them short."""
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    words = re.findall(r"\S+\s*", "".join(source.read_text(encoding="utf-8") for source in sources[:120]))
    lengths = np.ceil(1400 * np.linspace(0.3, 1, count) ** 12).astype(int)
    starts = np.linspace(0, len(words) - 1400, count).astype(int)
    return ["".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


@pytest.fixture(scope="module")
def reference(minilm_folder: Path) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm_folder), device="cpu")


def test_all_minilm_l6_v2_gives_the_vectors_of_sentence_transformers(
    reference: "SentenceTransformer", minilm_folder: Path, tmp_path: Path
) -> None:
    texts = UNUSUAL + real_texts(500 - len(UNUSUAL))
    lengths = [len(ids) for ids in reference.tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
    assert len(texts) == 500
    assert min(lengths) == 2
    assert max(lengths) > 2000

    # An empty cache: the graph is compiled by the code that is tested.
    vectors = resolve("all-MiniLM-L6-v2", folder=minilm_folder, cache_dir=tmp_path).encode_document(texts)

    reference.max_seq_length = 256
    assert vectors.dtype == np.float32
    assert np.abs(vectors - reference.encode(texts, normalize_embeddings=True)).max() <= 1e-5


@pytest.mark.parametrize("length", [3, 16, 128, 255])
def test_a_shorter_length_gives_the_vectors_of_sentence_transformers_at_that_length(
    reference: "SentenceTransformer", minilm: LazyEmbedder, cache_dir: Path, length: int
) -> None:
    texts = UNUSUAL + real_texts(8)
    vectors = resolve(minilm.spec, max_seq_length=length, cache_dir=cache_dir).encode_query(texts)
    reference.max_seq_length = length
    assert np.abs(vectors - reference.encode(texts, normalize_embeddings=True)).max() <= 1e-5
