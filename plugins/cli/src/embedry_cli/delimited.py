"""Records of CSV and TSV, by the names of their columns."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from embedry_cli import formats
from embedry_cli.errors import InputError
from embedry_cli.lines import LONGEST, LONGEST_MB
from embedry_cli.terminal import counted

_FAULTS = (
    ("new-line character", r"a \r outside quotes; put the value that has it in quotes"),
    ("unexpected end of data", "unexpected end of data: a quote that opens in this record is not closed; close it"),
    ("expected after", "text after a closing quote; write a quote inside a value twice"),
)
"""What the parser says, and the same for readers of the file."""


def records(lines: Iterable[str], name: str, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record with its place: the line that it starts in, for a record may span lines.

    The first record that is not blank names the columns; a column without a name is called by its number: "column 3".

    Raises:
        InputError: a record cannot be read, is longer than a line may be or has too few or too many values, or names of
            columns are not distinct.
    """
    line = size = 0

    def bounded() -> Iterator[str]:
        nonlocal size
        for text in lines:
            size += len(text)
            if size > LONGEST:
                raise InputError(
                    f"{name}:{line}: a record of more than {LONGEST_MB} MB; close the quote that opens in it, or split it"
                )
            yield text

    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(bounded(), delimiter=delimiter, strict=True)
    names: list[str] = []
    names_line = 0
    while True:
        line, size = reader.line_num + 1, 0
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{name}:{line}: not CSV: {_in_words(error)}") from error
        if names and values:
            if len(values) != len(names):
                raise InputError(f"{name}:{line}: {_mismatch(values, names, names_line, delimiter)}")
            yield f"{name}:{line}", dict(zip(names, values, strict=True))
        elif any(value.strip() for value in values):
            names, names_line = _named(values), line
            formats.refuse_repeated(names, f"{name}:{line}")


def _named(values: list[str]) -> list[str]:
    return [value if value.strip() else f"column {number}" for number, value in enumerate(values, 1)]


def _mismatch(values: list[str], names: list[str], names_line: int, delimiter: str) -> str:
    counts = f"{counted(len(values), 'value')}, but line {names_line} names {counted(len(names), 'column')}"
    if len(values) < len(names):
        return f"{counts}; add a value for {names[len(values)]!r}, which may be empty"
    return f"{counts}; remove {values[len(names)][:40]!r}, or put a value that has {delimiter!r} in it in quotes"


def _in_words(error: csv.Error) -> str:
    return next((words for part, words in _FAULTS if part in str(error)), str(error))
