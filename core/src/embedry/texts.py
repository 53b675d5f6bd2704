"""What may be embedded: any iterable of `str` that is text. Checked before anything is loaded."""

from collections.abc import Iterable

from embedry.errors import TextError, TextTypeError


def checked(texts: Iterable[str]) -> list[str]:
    """The texts as a list, each of them a `str` that is valid Unicode. An empty string is a text.

    Raises:
        TextTypeError: `texts` is a single string or no iterable, or one of them is not a `str`.
        TextError: one holds a lone surrogate, which no encoding of Unicode can represent.
    """
    if isinstance(texts, str | bytes):
        raise TextTypeError(
            f"texts must be a list of str, got one {type(texts).__name__}; write [text] for a single text"
        )
    try:
        remaining = iter(texts)
    except TypeError as error:
        raise TextTypeError(f"texts must be an iterable of str, got {type(texts).__name__}") from error
    found = list(remaining)
    for position, text in enumerate(found):
        if not isinstance(text, str):
            raise TextTypeError(f"text {position} is not a str but {type(text).__name__}: {_shown(text)}")
        if not text.isascii():
            _check_surrogates(text, position)
    return found


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
