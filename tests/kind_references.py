"""What rerankers, sparse encoders and multi-vector encoders compute, by sentence-transformers in float32 on the CPU.

`kind_folders` makes their folders; the texts and pairs here go from nothing to beyond what those models read.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SparseEncoder, util

from kind_folders import as_gte

Floats: TypeAlias = NDArray[np.float32]
Pair: TypeAlias = tuple[str, str]
Role: TypeAlias = Literal["query", "document"]

_WORDS = (
    "paper", "river", "seven", "cloud", "against", "music", "window", "early", "market", "garden", "because", "the", "of", "a",
    "Refunds", "paid", "within", "days", "first", "whatever", "reason", "return", "Europe", "yes", "no",
)  # fmt: skip
_OTHERS = (
    "naïve", "crème brûlée,", "Żółw", "Straßen", "Быстрая лиса", "速い茶色の狐", "机器学习", "서울", "ελληνικά", "हिन्दी", "العربية",
    "ภาษาไทย", "😀", "don't", "3.14", "(or", "not)?", "x_y = f(a)[0];", "ANTIDISESTABLISHMENTARIANISM", "--", "“quoted”",
)  # fmt: skip


def _text(words: int, seed: int) -> str:
    """So many words, about one in seven of them rare."""
    random = np.random.default_rng((words, seed))
    return " ".join(random.choice(_OTHERS if random.random() < 0.15 else _WORDS) for _ in range(words))


_SPECIAL = (
    "", " ", "a", "?", "?!.,;:", "一", "  spaces at both ends,\ttabs and\n\nlines  ", "[CLS] marks [SEP] </s> <mask> [MASK] <|im_end|>",
    "[Q] query: [q] a [D] [unused0] [unused1]", "THE RIVER Ran", "the river ran", "x" * 300, "e\u0301 é \u200b", "the " * 200,
)  # fmt: skip


def _texts() -> list[str]:
    made = [*_SPECIAL, *_SPECIAL[:4]]
    made += [_text(1 + int(110 * (place / 180) ** 2), place) for place in range(200 - len(made) - 6)]
    made += made[20:26]
    return [made[place] for place in np.random.default_rng(0).permutation(len(made))]


TEXTS = _texts()
"""200 texts of 0 to 110 words and of many scripts, some of them twice."""


def _pairs() -> list[Pair]:
    made = [(left, right) for left in _SPECIAL[2:8] for right in ("", "what is left of the river")]
    made += [
        ("", "music"),
        ("music", ""),
        (" ", "a"),
        ("early", "early"),
        ("x" * 300, "the " * 200),
        ("the " * 200, "x" * 300),
    ]
    lengths = np.random.default_rng(1)
    for place in range(200 - len(made) - 12):
        query, document = (int(top * lengths.random() ** 3) for top in (50, 120))
        made.append((_text(1 + query, place), _text(document, 1000 + place)))
    made += [(right, left) for left, right in made[20:28]]
    made += made[30:34]
    return [made[place] for place in np.random.default_rng(2).permutation(len(made))]


PAIRS = _pairs()
"""200 pairs, of each side's length none to twice of what the models read, some of them twice, some once more turned round; none
of nothing on both sides, which `NOTHING` is."""

NOTHING: Pair = ("", "")
"""Of which a decoder without a chat template reads not one token, so that sentence-transformers fails for it alone."""


@contextmanager
def _quietly() -> Iterator[None]:
    """With one thread, for these models are so small that more would wait for each other, and without the library's warnings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=8)
def loaded(kind: Callable[..., Any], folder: Path) -> Any:
    """The library's model of a folder.

    Args:
        kind: CrossEncoder, SparseEncoder or MultiVectorEncoder.
        folder: one of `kind_folders`, or of the same kind.
    """
    found = as_gte(folder)
    with _quietly():
        return kind(
            str(found if found.exists() else folder),
            device="cpu",
            local_files_only=True,
            model_kwargs={"dtype": torch.float32},
        )


def scores(folder: Path, pairs: Sequence[Pair], batch_size: int = 1, **options: Any) -> Floats:
    """The logits of pairs, float32 (pairs,), or (pairs, labels) where there is more than one label.

    Args:
        folder: of a reranker.
        pairs: a query and a document each.
        batch_size: pairs that are computed at once.
        options: others of CrossEncoder.predict, such as `prompt`.
    """
    return shown_scores(folder, pairs, batch_size, activation_fn=torch.nn.Identity(), **options)


def shown_scores(folder: Path, pairs: Sequence[Pair], batch_size: int = 1, **options: Any) -> Floats:
    """The same after the activation that the folder, or the library by default, sets."""
    with _quietly():
        found = loaded(CrossEncoder, folder).predict(list(pairs), batch_size=batch_size, **options)
    return np.asarray(found, np.float32)


def sparse(folder: Path, texts: Sequence[str], role: Role | None = None, batch_size: int = 1, **options: Any) -> Floats:
    """The weight of each word of the vocabulary in each text, float32 (texts, words).

    Args:
        folder: of a sparse encoder.
        texts: what is encoded.
        role: whose prompt, and in a router whose modules; with none, no prompt, and the router's default.
        batch_size: texts that are computed at once.
        options: others of SparseEncoder.encode, such as `max_active_dims`.
    """
    encode = _encode(loaded(SparseEncoder, folder), role)
    with _quietly():
        found = encode(list(texts), batch_size=batch_size, convert_to_sparse_tensor=False, **options)
    return np.asarray(found.numpy(), np.float32)


def token_vectors(
    folder: Path, texts: Sequence[str], role: Role | None = None, batch_size: int = 1, **options: Any
) -> list[Floats]:
    """The vectors of the tokens that are scored of each text, float32 (tokens, width) each.

    Args:
        folder: of a multi-vector encoder.
        texts: what is encoded.
        role: how; none is a document without a prompt, of a length that is not the document's.
        batch_size: texts that are computed at once.
        options: others of MultiVectorEncoder.encode.
    """
    encode = _encode(loaded(MultiVectorEncoder, folder), role)
    with _quietly():
        found = encode(list(texts), batch_size=batch_size, convert_to_numpy=True, **options)
    return [np.asarray(vectors, np.float32) for vectors in found]


def maxsim(queries: Sequence[Floats], documents: Sequence[Floats]) -> Floats:
    """For each query and document, the sum over the query's vectors of the greatest product with any of the document's, float32
    (queries, documents)."""
    with _quietly():
        left, right = ([torch.from_numpy(vectors) for vectors in each] for each in (queries, documents))
        return np.asarray(util.maxsim(left, right).numpy(), np.float32)


def _encode(model: Any, role: Role | None) -> Callable[..., Any]:
    found: Callable[..., Any] = {"query": model.encode_query, "document": model.encode_document, None: model.encode}[
        role
    ]
    return found
