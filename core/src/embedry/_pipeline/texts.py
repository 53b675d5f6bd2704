"""What may be embedded: any iterable of `str` that is text. Checked before anything is loaded or computed."""

from collections.abc import Iterable, Iterator

from embedry.errors import TextError, TextTypeError


def checked(texts: Iterable[str]) -> list[str]:
    """The texts as a list, each of them a `str` that is valid Unicode. An empty string is a text.

    Raises:
        TextTypeError: `texts` is a single string or no iterable, or one of them is not a `str`.
        TextError: one holds a lone surrogate, which no encoding of Unicode can represent.
    """
    return list(each_checked(texts))


def each_checked(texts: Iterable[str]) -> Iterator[str]:
    """The same one by one, for texts without end. What is no iterable of texts is refused by the call itself."""
    if isinstance(texts, str | bytes):
        raise TextTypeError(
            f"texts must be a list of str, got one {type(texts).__name__}; write [text] for a single text"
        )
    try:
        remaining = iter(texts)
    except TypeError as error:
        raise TextTypeError(f"texts must be an iterable of str, got {type(texts).__name__}") from error
    return (_checked(text, position) for position, text in enumerate(remaining))


def blocks(texts: Iterable[str], *, count: int, chars: int) -> Iterator[list[str]]:
    """The texts in lists: each ends at `count` texts, or with the text that brings it to `chars` characters."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if len(block) == count or size >= chars:
            yield block
            block, size = [], 0
    if block:
        yield block


def _checked(text: str, position: int) -> str:
    if not isinstance(text, str):
        raise TextTypeError(f"text {position} is not a str but {type(text).__name__}: {_shown(text)}")
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
