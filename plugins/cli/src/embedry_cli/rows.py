"""The texts of input files: lines, JSONL, CSV, TSV or Parquet, each with its place and the other columns of its row."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

from embedry_cli.errors import InputError

Kind = Literal["text", "jsonl", "csv", "tsv", "parquet"]

STDIN = "-"

_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
}  # fmt: skip
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """One text."""

    text: str
    place: str
    """Where it stands, for messages: "notes.txt:12"."""
    record: dict[str, Any]
    """All columns of its row, the text's among them."""


class Rows:
    """The rows of all inputs, one input after the other, read only as they are asked for."""

    def __init__(self, inputs: Sequence[str], kind: Kind | None, column: str) -> None:
        self._sources = [(name, kind or kind_of(name)) for name in inputs]
        self._column = column
        self.read = 0
        """Bytes read so far."""
        self.size = None if STDIN in inputs else sum(_size(name) for name in inputs)
        """Bytes of all inputs; None where standard input is one of them."""

    def __iter__(self) -> Iterator[Row]:
        """Goes through the inputs.

        Raises:
            InputError: something in them is no text; the message begins with its place.
        """
        for name, kind in self._sources:
            for place, record in _READERS[kind](self, name):
                yield Row(_text_of(record, self._column, place), place, record)

    def text(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every line is a text, a blank one too, so that rows and lines keep the same numbers."""
        for number, line in self._lines(name):
            yield f"{name}:{number}", {self._column: line.removesuffix("\n").removesuffix("\r")}

    def jsonl(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every line that is not blank is a JSON object."""
        for number, line in self._lines(name):
            if line.isspace():
                continue
            place = f"{name}:{number}"
            try:
                record = json.loads(line.rstrip("\r\n"))
            except json.JSONDecodeError as error:
                raise InputError(f"{place}: not JSON: {error.msg} at column {error.colno}") from error
            except (ValueError, RecursionError) as error:
                raise InputError(f"{place}: not JSON that can be read: {error}") from error
            if not isinstance(record, dict):
                raise InputError(f"{place}: not a JSON object but {_shown(record)}")
            yield place, record

    def csv(self, name: str, delimiter: str = ",") -> Iterator[tuple[str, dict[str, Any]]]:
        """The first record names the columns; a record may span lines, and its place is its first line."""
        csv.field_size_limit(2**31 - 1)
        lines = csv.reader((line for _, line in self._lines(name)), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            place = f"{name}:{lines.line_num + 1}"
            try:
                values = next(lines)
            except StopIteration:
                break
            except csv.Error as error:
                raise InputError(f"{place}: not CSV: {error}") from error
            if header is None:
                header = _header(values, place)
            elif values:
                if len(values) != len(header):
                    raise InputError(f"{place}: {len(values)} values, but the first line names {len(header)} columns")
                yield place, dict(zip(header, values, strict=True))

    def tsv(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """CSV with tabs."""
        return self.csv(name, "\t")

    def parquet(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Rows are counted from 1."""
        from embedry_cli import parquet

        if name == STDIN:
            raise InputError("Parquet cannot be read from standard input, its end comes first; name a file")
        before = self.read
        number = 0
        for records, part in parquet.batches(name):
            self.read = before + int(part * _size(name))
            for record in records:
                number += 1
                yield f"{name}, row {number}", record

    def _lines(self, name: str) -> Iterator[tuple[int, str]]:
        offset = 0
        with nullcontext(sys.stdin.buffer) if name == STDIN else open(name, "rb") as file:
            for number, line in enumerate(file, 1):
                self.read += len(line)
                try:
                    yield number, (line.removeprefix(_BOM) if number == 1 else line).decode()
                except UnicodeDecodeError as error:
                    byte = error.object[error.start]
                    raise InputError(
                        f"{name}:{number}: not UTF-8: byte 0x{byte:02x} at offset {offset + error.start}; "
                        "if the encoding is known, convert it: iconv -f LATIN1 -t UTF-8"
                    ) from error
                offset += len(line)


_READERS: dict[Kind, Callable[[Rows, str], Iterator[tuple[str, dict[str, Any]]]]] = {
    "text": Rows.text, "jsonl": Rows.jsonl, "csv": Rows.csv, "tsv": Rows.tsv, "parquet": Rows.parquet,
}  # fmt: skip


def kind_of(name: str) -> Kind:
    """The format that a file's name tells; lines of text where it tells none."""
    suffix = Path(name).suffix.lower()
    if suffix == ".json":
        raise InputError(f"{name}: one JSON document is no list of texts; if each line is an object: --format jsonl")
    return _KINDS.get(suffix, "text")


def _size(name: str) -> int:
    path = Path(name)
    if path.is_dir():
        raise InputError(f"{name} is a folder; name the files in it")
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"there is no file {name}") from None


def _header(names: list[str], place: str) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{place}: the first line names the column {twice[0]!r} twice")
    return names


def _text_of(record: dict[str, Any], column: str, place: str) -> str:
    if column not in record:
        raise InputError(f"{place}: no column {column!r}; choose one with --column: {', '.join(map(repr, record))}")
    text = record[column]
    if not isinstance(text, str):
        raise InputError(f"{place}: the column {column!r} must hold a string, not {_shown(text)}")
    return text


def _shown(value: object) -> str:
    shown = f"{type(value).__name__} {value!r}"
    return shown if len(shown) <= 60 else shown[:60] + "..."
