"""Helpers for the entries of several makers."""

import string

from embedry import Classifier, Normalize, Pooling, Score

MEAN = (Pooling(mode="mean"), Normalize())
CLS = (Pooling(mode="cls"), Normalize())
LAST = (Pooling(mode="last"), Normalize())

LOGIT = (Classifier(), Score())
"""A classification head whose logit is the score."""
SIGMOID = (Classifier(), Score(activation="sigmoid"))
"""A classification head whose logit is shown as a score between 0 and 1."""

PUNCTUATION = tuple(string.punctuation)
"""Tokens whose vectors ColBERT leaves out of documents."""

ENGLISH = ("en",)
MULTILINGUAL = ("multilingual",)

UNCASED = "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66"
"""The tokenizer.json of BERT's uncased vocabulary, which many repositories have byte for byte."""

SEARCHING = {"query": "Represent this sentence for searching relevant passages: "}
"""BGE's prompt, which others took over. Copies in circulation say "question" for "sentence", which gives other vectors."""

WEB_SEARCH = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
"""What instructed models were trained with for search; a task of one's own may stand in its place."""


def files(
    *others: str, weights: str | None = None, tokenizer: str | None = None, config: str | None = None
) -> dict[str, str | None]:
    """The standard files of a model and additional ones, each with its sha256 if two public records agree on it."""
    own = {"model.safetensors": weights, "tokenizer.json": tokenizer, "config.json": config}
    return own | dict.fromkeys(others)
