"""Texts that cover every branch of the pipeline, and texts with an exact number of tokens."""

from collections.abc import Sequence
from typing import Any

from embedry.errors import UnsupportedModelError
from embedry.testing.results import asked
from embedry.testing.subject import NotApplicable

MIXED = (
    "Refunds are paid within 14 days.",
    "a",
    "",
    "The quick brown fox jumps over the lazy dog. " * 12,
    "naïve café, Straße, Ελληνικά, 日本語の文章, عربى, 🎉🚀",
    "e\u0301 combining, \u200bzero width, \ttabs\nand lines",
    "refunds are paid within 14 days.",
    "x" * 300,
    "one two three four five six seven",
    "def f(x): return {'a': [1, 2.5e-3, None]}",
    "   ",
    "Wo kann ich mein Geld zurückbekommen?",
)
"""Short, long, empty and blank texts, several scripts, a very long word, near-duplicates; of different lengths, for padding."""

WORDS = (
    "time", "music", "water", "house", "light", "paper", "river", "green", "money", "story", "the", "of", "to", "for", "paid", "days",
)  # fmt: skip
"""Words that are mostly single tokens in English vocabularies."""


def of_length(model: Any, tokens: int, last: int = 0, role: str = "document") -> str:
    """A text with an exact number of tokens, including special tokens and the prompt; for a reranker, as part of a pair.

    Args:
        model: a model of any kind.
        tokens: the number of tokens.
        last: which of two words ends the text, 0 or 1. All other words are the same for both, and differ from these two.
        role: the role of the text.
    """
    if model.spec.transformer is None:
        raise NotApplicable("the model has no transformer")

    def count(*texts: str) -> list[int]:
        items, role_of_call = asked(model, texts, role)
        return list(model.count_tokens(items, role=role_of_call))

    try:
        once, twice = count(*WORDS), count(*(f"{word} {word}" for word in WORDS))
        known = [word for word, a, b in zip(WORDS, once, twice, strict=True) if b == a + 1]
        if len(known) < 3:
            raise NotApplicable(f"of {', '.join(WORDS)} only {len(known)} are one token each to this model's tokenizer")
        ends, words = known[:2], known[2:]
        (least,) = count(f"{words[0]} {ends[last]}")
        text = " ".join([words[number % len(words)] for number in range(tokens - least + 1)] + [ends[last]])
        if count(text) != [tokens]:
            raise NotApplicable(f"no text of {tokens} tokens was found for this model's tokenizer")
    except UnsupportedModelError as error:
        raise NotApplicable(f"the engine does not count tokens: {error}") from error
    return text


def shuffled(count: int) -> Sequence[int]:
    """A fixed permutation of `count` items that is not the identity."""
    return [(place * 7 + 3) % count for place in range(count)] if count % 7 else list(reversed(range(count)))
