"""Provides English texts of various lengths from Python's language reference, as `help()` shows it."""

import re
from pydoc_data.topics import topics

_FEWEST_LETTERS = 0.7
"""The minimum share of letters in prose, to exclude examples and tables."""

_DOCUMENT_WORDS = 400
"""Length of a long document; more than most models read."""


def by_length() -> dict[str, list[str]]:
    """Distinct short texts, paragraphs and long documents; the same for the same version of Python."""
    blocks = (" ".join(block.split()) for name in sorted(topics) for block in re.split(r"\n\s*\n", topics[name]))
    paragraphs = [block for block in dict.fromkeys(blocks) if _is_prose(block)]
    sentences = dict.fromkeys(sentence for block in paragraphs for sentence in re.split(r"(?<=[.:]) ", block))
    words = " ".join(paragraphs).split()
    starts = range(0, len(words) - _DOCUMENT_WORDS, _DOCUMENT_WORDS)
    return {
        "short texts": [sentence for sentence in sentences if 5 <= _words(sentence) <= 12],
        "paragraphs": [block for block in paragraphs if 25 <= _words(block) <= 100],
        "long documents": [" ".join(words[start : start + _DOCUMENT_WORDS]) for start in starts],
    }


def _is_prose(text: str) -> bool:
    return sum(map(str.isalpha, text)) > _FEWEST_LETTERS * len(text)


def _words(text: str) -> int:
    return len(text.split())
