"""Reads texts from lines, JSONL, CSV, TSV or Parquet, each with its location and the other columns of its row."""

import json
import math
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from embedry_cli import delimited, formats
from embedry_cli.errors import InputError
from embedry_cli.formats import STDIN, Kind, kind_of
from embedry_cli.lines import lines
from embedry_cli.row import Row, in_short

__all__ = ["STDIN", "Kind", "Row", "Rows", "kind_of"]


class Rows:
    """The rows of all inputs in order, read lazily.

    Args:
        inputs: files, or `STDIN`.
        kind: the format of the inputs; None to use each file's extension.
        column: the column of the texts.
        command: the command that reads the inputs, for messages.
        others: whether the other columns are needed; if not, Parquet files are read without them.

    Raises:
        InputError: an input does not exist, has another format, or has no valid text in its first row.
    """

    def __init__(
        self, inputs: Sequence[str], kind: Kind | None, column: str, command: str = "...", *, others: bool = True
    ) -> None:
        self._sources = [(name, kind or kind_of(name)) for name in inputs]
        self._column = column
        self._command = command
        self._others = others
        self.read = 0
        """Bytes read so far."""
        sizes = [_size(name) for name in inputs if name != STDIN]
        self.size = sum(sizes) if len(sizes) == len(inputs) else None
        """Bytes of all inputs; None if they include standard input."""
        self._try_starts()

    def __iter__(self) -> Iterator[Row]:
        """Reads the inputs.

        Raises:
            InputError: a row has no valid text; the message starts with its location.
        """
        for name, kind in self._sources:
            yield from self._rows(name, kind)

    def text(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Reads every line as a text, including blank ones, so that row and line numbers match."""
        for number, line in self._lines(name):
            yield f"{name}:{number}", {self._column: line.removesuffix("\n").removesuffix("\r")}

    def jsonl(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Reads a JSON object from every nonblank line."""
        for number, line in self._lines(name):
            if line.isspace():
                continue
            place = f"{name}:{number}"
            try:
                record = json.loads(line.rstrip("\r\n"), object_pairs_hook=_object, parse_float=_number)
            except json.JSONDecodeError as error:
                raise InputError(f"{place}: not JSON: {error.msg} at column {error.colno}") from error
            except (ValueError, RecursionError) as error:
                raise InputError(f"{place}: not JSON that can be read: {error}") from error
            if not isinstance(record, dict):
                raise InputError(f"{place}: must be a JSON object, got {in_short(record)}")
            yield place, record

    def csv(self, name: str, delimiter: str = ",") -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Reads CSV. The first nonblank record names the columns."""
        return delimited.records((line for _, line in self._lines(name)), name, delimiter)

    def tsv(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Reads CSV with tabs as separators."""
        return self.csv(name, "\t")

    def parquet(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Reads Parquet. Rows are numbered from 1."""
        from embedry_cli import parquet

        before = self.read
        number = 0
        for batch, part in parquet.batches(name, None if self._others else self._column):
            self.read = before + int(part * _size(name))
            for index in range(len(batch)):
                number += 1
                place = f"{name}, row {number}"
                yield place, parquet.ParquetRow(batch, index, place)

    def _rows(self, name: str, kind: Kind) -> Generator[Row, None, None]:
        for place, record in _READERS[kind](self, name):
            yield Row(_text_of(record, self._column, place), place, record)

    def _lines(self, name: str) -> Iterator[tuple[int, str]]:
        with nullcontext(sys.stdin.buffer) if name == STDIN else open(name, "rb") as file:
            for number, (line, size) in enumerate(lines(file, name, self._command), 1):
                self.read += size
                yield number, line

    def _try_starts(self) -> None:
        """Reads the start of every input that can be read twice, to raise errors before any work."""
        for name, kind in self._sources:
            if kind == "parquet":
                _refuse_parquet(name)
            elif name != STDIN and Path(name).is_file():  # a pipe can have a name too
                with closing(self._rows(name, kind)) as rows:
                    next(rows, None)
        self.read = 0


_READERS: dict[Kind, Callable[[Rows, str], Iterator[tuple[str, Mapping[str, Any]]]]] = {
    "text": Rows.text, "jsonl": Rows.jsonl, "csv": Rows.csv, "tsv": Rows.tsv, "parquet": Rows.parquet,
}  # fmt: skip


def _size(name: str) -> int:
    path = Path(name)
    if path.is_dir():
        raise InputError(f"{name} is a folder; pass the files in it")
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"there is no file {name}") from None


def _refuse_parquet(name: str) -> None:
    if name == STDIN or not Path(name).is_file():
        raise InputError(
            f"{name}: Parquet cannot be read from standard input or a pipe, because its index is at the end; pass a file"
        )
    from embedry_cli import parquet

    formats.refuse_repeated(parquet.columns(name), name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = formats.repeated(key for key, _ in pairs)
        raise ValueError(f"the key {key!r} occurs twice in an object; rename one")
    return found


def _number(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is too large for a float")
    return number


def _text_of(record: Mapping[str, Any], column: str, place: str) -> str:
    if column not in record:
        raise InputError(f"{place}: no column {column!r}; choose one with --column: {', '.join(map(repr, record))}")
    text = record[column]
    if not isinstance(text, str):
        raise InputError(f"{place}: the column {column!r} must be a string, got {in_short(text)}")
    return text
