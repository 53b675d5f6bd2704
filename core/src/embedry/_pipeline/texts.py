"""Validates texts and pairs: iterables of valid `str`, or of pairs of them, before anything is loaded or computed."""

from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence, Set
from typing import Any, NamedTuple, TypeAlias, TypeVar

from embedry.errors import TextError, TextTypeError

Item = TypeVar("Item", str, tuple[str, str])
"""A text, or a pair of them."""


def checked(texts: Iterable[str]) -> list[str]:
    """The texts as a list, each of them a `str` that is valid Unicode. An empty string is a text.

    Raises:
        TextTypeError: `texts` is a single string or no iterable, or one of them is not a `str`.
        TextError: one holds a lone surrogate, which no encoding of Unicode can represent.
    """
    return list(each_checked(texts))


def each_checked(texts: Iterable[str]) -> Iterator[str]:
    """The same one by one, for any number of texts. What is not an iterable of texts is refused by the call itself."""
    if isinstance(texts, str | bytes):
        raise TextTypeError(
            f"texts must be a list of str, got one {type(texts).__name__}; write [text] for a single text"
        )
    advice = _not_a_sequence_of_texts(texts)
    if advice:
        raise TextTypeError(f"texts must be an iterable of str, got {type(texts).__name__}; {advice}")
    try:
        remaining = iter(texts)
    except TypeError as error:
        raise TextTypeError(f"texts must be an iterable of str, got {type(texts).__name__}") from error
    return (_checked(text, position) for position, text in enumerate(remaining))


def each_checked_pair(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Pairs of a query and a document one by one, for any number of them.

    Raises:
        TextTypeError: `pairs` is no iterable of pairs of `str`.
        TextError: one of the two is not valid Unicode.
    """
    if isinstance(pairs, str | bytes | Mapping | Set) or hasattr(pairs, "columns") or not isinstance(pairs, Iterable):
        raise TextTypeError(f"pairs must be an iterable of (query, document), got {type(pairs).__name__}")
    return (_checked_pair(pair, position) for position, pair in enumerate(pairs))


def _checked_pair(pair: tuple[str, str], position: int) -> tuple[str, str]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TextTypeError(f"pair {position} must be a (query, document), got {_shown(pair)}", [position])
    return _checked(pair[0], position), _checked(pair[1], position)


def _not_a_sequence_of_texts(texts: object) -> str:
    """What to write instead of something that iterates over anything but its texts, or in no order; empty for all else."""
    if isinstance(texts, Mapping):
        return "iterating over it gives its keys; pass d.values() for the values, or list(d) for the keys"
    if isinstance(texts, Set) and not isinstance(texts, KeysView):
        return "it has no order, so vectors could not be matched with texts; pass sorted(texts) or a list"
    if hasattr(texts, "columns"):  # a table of pandas, polars, pyarrow
        return 'iterating over it gives its columns; pass one column, such as table["text"]'
    return ""


class Part(NamedTuple):
    """Where texts that are read together, each once, stand in a call or in a stream."""

    first: int
    """Different texts before these."""
    total: int
    """Different texts of the whole call, or of this block of a stream."""
    inverse: list[int]
    """For each of the caller's texts, which of the different ones it is."""
    start: int
    """The position of the first of the caller's texts."""

    def positions(self, places: Sequence[int]) -> list[int]:
        """The positions of the caller's texts that are the ones at these places of the part."""
        chosen = {self.first + place for place in places}
        return (
            [self.start + position for position, which in enumerate(self.inverse) if which in chosen] if chosen else []
        )

    @property
    def repeats(self) -> list[int] | None:
        """`inverse`, or None where all of the caller's texts are different."""
        return None if self.total == len(self.inverse) else self.inverse


Parts: TypeAlias = Callable[..., Iterator[tuple[list[Any], Part]]]
"""How texts are cut into parts: `parts_of_call` or `parts_of_stream`."""


def parts_of_call(texts: Iterable[Item], *, count: int, chars: int) -> Iterator[tuple[list[Item], Part]]:
    """The different texts of a call in parts; see `blocks`."""
    different, inverse = _distinct(texts)
    first = 0
    for block in blocks(different, count=count, chars=chars):
        yield block, Part(first, len(different), inverse, 0)
        first += len(block)


def parts_of_stream(texts: Iterable[Item], *, count: int, chars: int) -> Iterator[tuple[list[Item], Part]]:
    """The texts of a stream in parts, each with its different texts; see `blocks`."""
    start = 0
    for block in blocks(texts, count=count, chars=chars):
        different, inverse = _distinct(block)
        yield different, Part(0, len(different), inverse, start)
        start += len(block)


def _distinct(texts: Iterable[Item]) -> tuple[list[Item], list[int]]:
    places: dict[Item, int] = {}
    inverse = [places.setdefault(text, len(places)) for text in texts]
    return list(places), inverse


def blocks(texts: Iterable[Item], *, count: int, chars: int) -> Iterator[list[Item]]:
    """The texts in lists: each ends at `count` texts, or with the text that brings it to `chars` characters."""
    block: list[Item] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
        if len(block) == count or size >= chars:
            yield block
            block, size = [], 0
    if block:
        yield block


def _checked(text: str, position: int) -> str:
    if not isinstance(text, str):
        raise TextTypeError(f"text {position} must be a str, got {type(text).__name__}: {_shown(text)}", [position])
    if not text.isascii():
        _check_surrogates(text, position)
    return text


def _check_surrogates(text: str, position: int) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextError(
            f"text {position} has a lone surrogate, {text[error.start]!a} at character {error.start}; it was likely decoded "
            'wrongly: decode bytes with errors="replace"',
            [position],
        ) from error


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "..."
