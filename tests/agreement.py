"""What vectors must agree with: texts of many lengths, and the vectors that a family's own implementation gives them.

That is transformers by way of sentence-transformers, in float32, and for encoders that only code on the hub implements
`references.py`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer

import references

Vectors: TypeAlias = NDArray[np.float32]

POOLINGS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("bert", "mpnet", "xlm-roberta", "modernbert", "nomic_bert", "new"), ("mean", "cls")),
    **dict.fromkeys(
        ("distilbert", "roberta", "gte", "jina_bert_v2", "jina_bert_v2_qk_post_norm", "new-without-types"), ("mean",)
    ),
    **dict.fromkeys(("qwen3", "gemma3_text"), ("lasttoken",)),
    **dict.fromkeys(("embeddinggemma", "t5", "t5-gated"), ("mean",)),
}
"""Every family, some in two forms -> the poolings of its models, by the names in sentence-transformers."""

SHORT_FAMILIES = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta")

CASES = [(family, pooling) for family, poolings in POOLINGS.items() for pooling in poolings]

_WORDS = ("paper", "river", "seven", "cloud", "against", "music", "window", "early", "market", "garden", "because")
"""One token each."""


def text(words: int, seed: int = 0) -> str:
    """A text of so many words."""
    return " ".join(np.random.default_rng((words, seed)).choice(_WORDS, words))


TEXTS = [text(int(2000 ** (place / 199) ** 3) if place else 0, place) for place in range(200)]
"""Of 0 to 2,000 words, most of them of a few dozen."""

LONG_TEXTS = [text(words) for words in (7_900, 8_077, 8_190)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """These models are so small that torch's threads would spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def longest(family: str) -> int:
    """Tokens that its checkpoints are to read."""
    return 512 if family in SHORT_FAMILIES else 8192


@_one_thread()
def token_vectors(folder: Path, ids: list[int]) -> Vectors:
    """The vectors of a text's tokens, float32 (tokens, width)."""
    if is_of_hub(folder):
        return references.token_vectors(folder, ids).numpy()
    model = implementation(folder)
    features = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    with torch.inference_mode():
        found: Vectors = model[0](features)["token_embeddings"][0].numpy()
    return found


def pooled(tokens: Vectors, pooling: str) -> Vectors:
    """One of the poolings of token vectors (tokens, width)."""
    return {"mean": tokens.mean(0), "cls": tokens[0], "lasttoken": tokens[-1]}[pooling]


@cache
@_one_thread()
def poolings(folder: Path, texts: tuple[str, ...]) -> dict[str, Vectors]:
    """Vectors by each pooling, float32 (texts, width), scaled to unit length; whatever the checkpoint's own pooling is."""
    names = ("cls", "mean", "lasttoken")
    if is_of_hub(folder):
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokens = [token_vectors(folder, tokenizer.encode(text).ids) for text in texts]
        found = {name: np.stack([pooled(each, name) for each in tokens]) for name in names}
    else:
        transformer = implementation(folder)[0]
        width = transformer.get_embedding_dimension()
        model = SentenceTransformer(modules=[transformer, Pooling(width, pooling_mode=list(names))], device="cpu")
        both = np.asarray(model.encode(list(texts), batch_size=16 if len(texts) > 16 else 1))
        found = dict(zip(names, np.split(both, len(names), axis=1), strict=True))
    return {name: values / np.linalg.norm(values, axis=1, keepdims=True) for name, values in found.items()}


@_one_thread()
def expected(folder: Path, texts: list[str], role: str = "document", **options: Any) -> Vectors:
    """Vectors of a whole model by sentence-transformers, in float32."""
    model = implementation(folder)
    encode = {"query": model.encode_query, "document": model.encode_document}[role]
    return np.asarray(encode(texts, **options))


def is_of_hub(folder: Path) -> bool:
    """Whether only code on the hub implements its encoder."""
    config = json.loads((folder / "config.json").read_text())
    return config["model_type"] == "new" or config.get("position_embedding_type") == "alibi"


def furthest(found: Vectors, wanted: Vectors) -> float:
    """The largest difference in any component."""
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max())


@cache
def implementation(folder: Path) -> Any:
    """The model, loaded by sentence-transformers in float32."""
    return SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
