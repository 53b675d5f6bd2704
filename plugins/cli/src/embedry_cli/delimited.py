"""Reads records of CSV and TSV as mappings from column names to values."""

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
"""Messages of the parser, and clearer ones for users."""


def records(lines: Iterable[str], name: str, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each record with its location: the line where it starts, because a record may span lines.

    The first nonblank record names the columns. A column without a name is named after its number: "column 3".

    Raises:
        InputError: a record cannot be read, is too long, or has too few or too many values, or column names are not
            distinct.
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
