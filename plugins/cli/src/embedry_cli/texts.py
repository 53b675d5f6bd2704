"""Passes the texts of rows to a model, and reports problems by location in the input."""

import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from embedry import TextError, TextTooLongError, TruncationWarning
from embedry_cli import terminal
from embedry_cli.errors import InputError
from embedry_cli.row import Row
from embedry_cli.rows import STDIN

_MOST_PLACES = 5
"""The maximum number of locations in a message; further ones are counted."""


class Texts:
    """An iterable over the texts of rows. Keeps each row until its result is available."""

    def __init__(self, rows: Iterable[Row], vector_column: str | None = None) -> None:
        self._rows = rows
        self._vector_column = vector_column
        self._held: deque[Row] = deque()
        self.done = 0
        """The number of rows taken."""
        self.truncated = 0
        """The number of truncated texts."""
        self._cut: list[str] = []
        """The locations of the first truncated texts."""

    def __iter__(self) -> Iterator[str]:
        """Reads the rows and yields their texts.

        Raises:
            InputError: a row already has a column with the name of the vector column.
        """
        for row in self._rows:
            if self._vector_column in row.record:
                raise InputError(
                    f"{row.place}: there is a column {self._vector_column!r} already; name another with --vector-column"
                )
            self._held.append(row)
            yield row.text

    def taken(self, count: int) -> list[Row]:
        """Removes and returns the next rows."""
        self.done += count
        return [self._held.popleft() for _ in range(count)]

    def note_cut(self, positions: Sequence[int]) -> None:
        """Counts truncated texts, by their positions among all texts. Call this before `taken`."""
        self.truncated += len(positions)
        self._cut += [self._held[position - self.done].place for position in positions[: _MOST_PLACES - len(self._cut)]]

    def warn_of_cut(self, read: int) -> None:
        """Warns about texts longer than the `read` tokens that the model reads, with their number and locations."""
        if self.truncated:
            of_all = f"{self.truncated:,} of {terminal.counted(self.done, 'text')}"
            longer = f"longer than the {read} tokens that the model reads"
            where = _some(self._cut, self.truncated)
            terminal.warn(f"{of_all} {'is' if self.truncated == 1 else 'are'} {longer}, and cut: {where}")

    def places(self, positions: Sequence[int]) -> str:
        """The locations in the input of texts, given their positions among all texts."""
        return _some([self._held[position - self.done].place for position in positions[:_MOST_PLACES]], len(positions))


def named(inputs: Sequence[str] | None, command: str) -> Sequence[str]:
    """The inputs of a command; standard input by default.

    Raises:
        InputError: standard input is a terminal.
    """
    if inputs:
        return inputs
    if sys.stdin.isatty():
        raise InputError(f"nothing to {command}; pass files, or pipe text in")
    return [STDIN]


@contextmanager
def told_by_place(texts: Texts, read: int) -> Iterator[None]:
    """Reports invalid and truncated texts by their location in the input, not by their position in the stream.

    Args:
        texts: the texts that are encoded in the block.
        read: the maximum tokens of a text for the model.
    """
    length = f"the {read} tokens that the model reads"
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, *about: Any, **named: Any) -> None:
            if isinstance(message, TruncationWarning):
                terminal.warn(f"longer than {length}, and cut: {texts.places(message.positions)}")
            else:
                others(message, *about, **named)

        warnings.showwarning = show
        warnings.simplefilter("always", TruncationWarning)
        try:
            yield
        except TextTooLongError as error:
            where = texts.places(error.positions)
            raise InputError(f"longer than {length}: {where}; split them, or use --on-overflow truncate") from error
        except TextError as error:
            raise InputError(f"{texts.places(error.positions)}: {error}") from error


def _some(places: Sequence[str], count: int) -> str:
    """Formats the first of `count` locations."""
    shown = ", ".join(places)
    return f"{shown} and {count - len(places):,} more" if count > len(places) else shown
