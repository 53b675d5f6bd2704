"""Texts that reach every branch of the pipeline, and texts of an exact length in tokens."""

from collections.abc import Sequence

from embedry._files.sources import ensure_local
from embedry._pipeline.tokenizer import Tokenizer
from embedry.testing.subject import NotApplicable
from embedry.views import LazyEmbedder

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
"""Short and long, empty, blank, several scripts, an endless word, near-duplicates; lengths differ so that batches pad."""

WORDS = ("time", "water", "house", "music", "light", "paper", "river", "green", "money", "story")
"""Words of one token each in most vocabularies of English."""


def of_length(embedder: LazyEmbedder, tokens: int, last: str = "time") -> str:
    """A text of exactly so many tokens, special ones included, that ends in the word `last`."""
    config = embedder.config
    reading = config.spec.transformer
    if reading is None:
        raise NotApplicable("the model has no transformer")
    folder = ensure_local(config.spec, config.cache_dir)
    tokenizer = Tokenizer(folder / reading.file("tokenizer.json"), reading)
    (special,) = tokenizer.lengths([""])
    words = [WORDS[number % len(WORDS)] for number in range(tokens - special - 1)]
    text = " ".join([*words, last])
    if tokenizer.lengths([text]) != [tokens]:
        raise NotApplicable(f"{', '.join(WORDS)} are not words of one token each to this model's tokenizer")
    return text


def shuffled(count: int) -> Sequence[int]:
    """An order of `count` things that is not theirs, always the same."""
    return [(place * 7 + 3) % count for place in range(count)] if count % 7 else list(reversed(range(count)))
