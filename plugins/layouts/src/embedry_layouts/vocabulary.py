"""The tokens of a tokenizer.json, read without the tokenizers library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from embedry._files import parsing
from embedry_layouts import tokenizer_limits
from embedry_layouts.files import Files


class AddedToken(Struct):
    """A token that is matched before the text is split."""

    content: str
    id: int
    lstrip: bool = False
    """Whether it takes the spaces before it."""
    rstrip: bool = False
    """Whether it takes the spaces behind it."""
    normalized: bool = True
    """Whether it is looked for in the normalized text."""


class _Model(Struct):
    vocab: dict[str, int] | list[tuple[str, float]] = {}


class _File(Struct):
    model: _Model
    added_tokens: list[AddedToken] = []
    normalizer: Any = None


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a tokenizer."""

    ids: Mapping[str, int]
    added: Mapping[str, AddedToken]
    """Those of them that are found before anything splits a text."""
    normalizes: bool
    """Whether texts are normalized."""


def read(files: Files, file: str) -> Vocabulary:
    """Reads the tokens of a tokenizer.json.

    Raises:
        WeightsNotFoundError: the file does not exist.
        IntegrityError: it is not valid JSON or has the wrong structure.
    """
    files.check_present([file])
    found = parsing.read(files.folder, file, _File, tokenizer_limits.LARGEST)
    pieces = found.model.vocab
    ids = pieces if isinstance(pieces, dict) else {piece: number for number, (piece, _) in enumerate(pieces)}
    added = {token.content: token for token in found.added_tokens}
    return Vocabulary({**ids, **{name: token.id for name, token in added.items()}}, added, found.normalizer is not None)
