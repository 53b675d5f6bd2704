"""The workloads: real texts that come with Python, the docstrings and comments of its standard library."""

import ast
import random
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contenders import COMPLETE, MAX_TOKENS

NOT_LIBRARY = {"test", "tests", "idle_test", "idlelib", "lib2to3", "pydoc_data", "site-packages", "turtledemo"}
COMMENT = re.compile(r"(?:^[ \t]*#[ \t].*\n){2,}", re.MULTILINE)
FEWEST_LETTERS = 0.6  # the share that separates prose from tables and rulers
SHORT = range(5, 16)
"""Tokens of a query."""
PARAGRAPH = 20
"""Tokens of a paragraph, at least: with them the mean is about 50."""
COPIES = 10
LARGEST = 1000
"""Characters of a text in a large call."""


@dataclass(frozen=True)
class Load:
    """Texts, and how many tokens the model reads of each, special tokens included."""

    name: str
    texts: list[str]
    lengths: list[int]

    @property
    def tokens(self) -> int:
        """Tokens of all texts, without the padding or repetition of a contender."""
        return sum(self.lengths)

    @property
    def described(self) -> str:
        """The load in a few words, for the tables."""
        mean = self.tokens / len(self.lengths)
        return f"{len(self.texts):,} texts, {mean:.0f} tokens on average, {max(self.lengths)} at most"


def collect(scale: float) -> dict[str, Load]:
    """Queries, paragraphs, documents and duplicates; the same on every machine with the same Python.

    Args:
        scale: 1 for the whole load, less for a part of it.
    """
    documents = list(dict.fromkeys(_docstrings()))
    paragraphs = {" ".join(part.split()) for text in documents for part in re.split(r"\n\s*\n", text)}
    paragraphs |= {" ".join(line.strip("# \t") for line in block.splitlines()) for block in _comments()}
    prose = sorted(text for text in paragraphs if _is_prose(text))
    chance = random.Random(0)
    chance.shuffle(prose)
    chance.shuffle(documents)

    lengths = dict(zip(prose, _lengths(prose), strict=True))
    short = [text for text in prose if lengths[text] in SHORT]
    mixed = [text for text in prose if lengths[text] >= PARAGRAPH]
    at_the_limit = [text for text, length in zip(documents, _lengths(documents), strict=True) if length == MAX_TOKENS]
    repeated = short[-round(64 * scale) :] * COPIES
    chance.shuffle(repeated)
    texts = {
        "queries": short[: round(1000 * scale)],
        "paragraphs": mixed[: round(256 * scale)],
        "documents": at_the_limit[: round(32 * scale)],
        "duplicates": repeated,
    }
    return {name: Load(name, some, _lengths(some)) for name, some in texts.items()}


def beside(loads: dict[str, Load], count: int) -> dict[str, list[str]]:
    """Small calls to be made beside a large one, and that one, under "large": so many texts, all different."""
    chance = random.Random(0)
    words = " ".join(loads["paragraphs"].texts).split()
    small = [" ".join(chance.sample(words, chance.randint(3, 40))) for _ in range(40)]
    paragraphs = [text for load in loads.values() for text in load.texts if len(text) < LARGEST]
    large = [f"{number} {paragraphs[number % len(paragraphs)]}" for number in range(count)]
    return {"one query": loads["queries"].texts[:1], "40 texts of 3 to 40 words": small, "large": large}


def sample(loads: dict[str, Load]) -> list[str]:
    """A mixed sample, for comparing vectors: the first texts of every load, and the empty text."""
    return ["", *(text for load in loads.values() for text in load.texts[:25])]


def _sources() -> Iterator[str]:
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if not NOT_LIBRARY.intersection(path.relative_to(library).parts):
            yield path.read_text(encoding="utf-8", errors="replace")


def _docstrings() -> Iterator[str]:
    for source in _sources():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text


def _comments() -> Iterator[str]:
    for source in _sources():
        yield from COMMENT.findall(source)


def _is_prose(text: str) -> bool:
    return sum(map(str.isalpha, text)) > FEWEST_LETTERS * len(text) and ">>>" not in text


def _lengths(texts: list[str]) -> list[int]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(COMPLETE / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return [len(read.ids) for read in tokenizer.encode_batch(texts)]
