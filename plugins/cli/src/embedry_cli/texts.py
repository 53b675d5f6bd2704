"""The texts of rows on their way to a model, and messages that name their places in the input."""

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
"""Locations that a message names; of the others it gives the number."""


class Texts:
    """The texts of rows, one after the other. Each row is held until its result is there."""

    def __init__(self, rows: Iterable[Row], vector_column: str | None = None) -> None:
        self._rows = rows
        self._vector_column = vector_column
        self._held: deque[Row] = deque()
        self.done = 0
        """Rows that were taken."""
        self.truncated = 0
        """Texts that were cut."""
        self._cut: list[str] = []
        """The locations of the first of them."""

    def __iter__(self) -> Iterator[str]:
        """Reads the next rows.

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
        """The next rows, which are then released."""
        self.done += count
        return [self._held.popleft() for _ in range(count)]

    def note_cut(self, positions: Sequence[int]) -> None:
        """Counts texts that were cut, by their positions among all texts, before they are taken."""
        self.truncated += len(positions)
        self._cut += [self._held[position - self.done].place for position in positions[: _MOST_PLACES - len(self._cut)]]

    def warn_of_cut(self, read: int) -> None:
        """Says how many texts have more than the tokens that the model reads, and where they are, if there are any."""
        if self.truncated:
            of_all = f"{self.truncated:,} of {terminal.counted(self.done, 'text')}"
            longer = f"longer than the {read} tokens that the model reads"
            where = _some(self._cut, self.truncated)
            terminal.warn(f"{of_all} {'is' if self.truncated == 1 else 'are'} {longer}, and cut: {where}")

    def places(self, positions: Sequence[int]) -> str:
        """Locations of texts in the input, by their positions among all texts."""
        return _some([self._held[position - self.done].place for position in positions[:_MOST_PLACES]], len(positions))


def named(inputs: Sequence[str] | None, command: str) -> Sequence[str]:
    """The inputs of a command, which are standard input if none is named.

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
        texts: which are read meanwhile.
        read: tokens that the model reads of a text.
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
    """The first locations of so many."""
    shown = ", ".join(places)
    return f"{shown} and {count - len(places):,} more" if count > len(places) else shown
