"""Rows of formats without types: JSON lines, CSV and TSV."""

import codecs
import csv
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from embedry_bulk.errors import InputError
from embedry_bulk.inputs import Kind
from embedry_bulk.lines import Lines
from embedry_bulk.rows import BLOCK_ROWS, Rejection, Rows, Scan, spread

_SAMPLE = 8

_NO_VALUE = (pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError)
"""Raised for values that a column cannot hold."""


csv.field_size_limit(max(csv.field_size_limit(), 2**27))  # the module's default of 128 KiB is less than a long document


class Record(NamedTuple):
    """One row as it was read."""

    offset: int
    """Where it begins in the decompressed file."""
    values: Mapping[str, Any] | None
    """Its columns; None if it cannot be read."""
    fault: str = ""
    """Why it cannot be read."""


class RecordReader:
    """Reads one file."""

    def __init__(self, url: str, kind: Kind) -> None:
        self._url = url
        self._kind = kind
        self._lines = Lines(url)
        self._schema = pa.schema([])
        self._header: list[str] | None = None

    @property
    def schema(self) -> pa.Schema:
        """See `Reader`. Those of CSV are strings, those of JSON the types that hold all values unchanged."""
        return self._schema

    def count(self) -> int | None:
        """See `Reader`."""
        return None

    def scan(self, column: str, only: Container[str]) -> Iterator[Scan]:
        """See `Reader`."""
        first = 0
        records = self._records(0)
        while block := list(islice(records, BLOCK_ROWS)):
            rejected = [Rejection(first + place, each.fault) for place, each in enumerate(block) if each.values is None]
            readable = [each.values for each in block if each.values is not None]
            if first == 0:
                self._check_start(block, column)
            self._schema = self._widened(readable, first, column, only)
            texts = [each.values.get(column) if each.values is not None else None for each in block]
            lengths = np.asarray([_length(text) for text in texts], dtype=np.int64)
            sample = [texts[place] for place in spread(len(texts), _SAMPLE)]
            yield Scan(
                lengths, [each for each in sample if isinstance(each, str)], [each.offset for each in block], rejected
            )
            first += len(block)

    def rows(self, first: int, count: int, offset: int, schema: pa.Schema) -> Iterator[Rows]:
        """See `Reader`."""
        records = self._records(offset)
        while count:
            block = list(islice(records, min(count, BLOCK_ROWS)))
            if not block:
                raise InputError(f"{self._url} ends {count:,} rows early: it has changed since the job was planned")
            yield _rows(block, first, schema)
            first, count = first + len(block), count - len(block)

    def _records(self, offset: int) -> Iterator[Record]:
        """The rows from an offset on; from 0 on, those of the whole file."""
        if self._kind == "jsonl":
            return _json_records(self._lines.read(offset))
        return self._csv_records(offset, "\t" if self._kind == "tsv" else ",")

    def _csv_records(self, offset: int, delimiter: str) -> Iterator[Record]:
        """Every record that is not blank is a row; the first of the file names the columns."""
        if offset == 0 or self._header is None:
            records = _csv_fields(self._lines.read(0), delimiter, self._url)
            self._header = self._checked_header(next(records, (0, []))[1])
        if offset:
            records = _csv_fields(self._lines.read(offset), delimiter, self._url)
        for start, fields in records:
            yield _csv_record(start, fields, self._header)

    def _checked_header(self, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise InputError(f"{self._url}: two columns have the same name: {', '.join(names)}; give each its own")
        if not all(map(_is_unicode, names)):
            raise InputError(f"{self._url}: the names of the columns are not UTF-8; convert the file")
        return names

    def _check_start(self, block: Sequence[Record], column: str) -> None:
        """Refuses a file of which no row of the first ones has a text: another format, encoding or column."""
        start = block[:100]
        if all(each.values is None for each in start):
            raise InputError(f"{self._url}: none of the first {len(start)} rows can be read: {start[0].fault}")
        if not any(isinstance((each.values or {}).get(column), str) for each in start):
            names = dict.fromkeys(name for each in start for name in each.values or ())
            raise InputError(
                f"{self._url}: none of the first {len(start)} rows has a text in the column {column!r}; choose one with "
                f"--column: {', '.join(names)}"
            )

    def _widened(
        self, records: Sequence[Mapping[str, Any]], first: int, column: str, only: Container[str]
    ) -> pa.Schema:
        """The types that hold the rows before and these. A text that is no string is a fault of its row."""
        types = []
        for name in dict.fromkeys(name for record in records for name in record if name in only):
            try:
                values = [record.get(name) for record in records]
                types.append((name, pa.string() if name == column else pa.array(values).type))
                pa.unify_schemas([self._schema, pa.schema(types[-1:])], promote_options="permissive")
            except _NO_VALUE as error:
                raise InputError(
                    f"{self._url}: the column {name!r} has values of several types in rows {first:,} to "
                    f"{first + len(records):,}: {' '.join(str(error).split())}; leave it out: --keep OTHER,COLUMNS"
                ) from error
        return pa.unify_schemas([self._schema, pa.schema(types)], promote_options="permissive")


def _json_records(lines: Iterator[tuple[int, bytes]]) -> Iterator[Record]:
    """Every line that is not blank is a row."""
    for offset, line in lines:
        text = line.removeprefix(codecs.BOM_UTF8) if offset == 0 else line
        if not text.strip():
            continue
        try:
            values = json.loads(text.decode())
        except UnicodeDecodeError as error:
            yield Record(offset, None, f"not UTF-8: {error.reason} at byte {error.start}")
        except (ValueError, RecursionError) as error:
            yield Record(offset, None, f"not JSON: {error}")
        else:
            is_object = isinstance(values, dict)
            fault = "" if is_object else f"must be a JSON object, is {type(values).__name__}"
            yield Record(offset, values if is_object else None, fault)


def _csv_fields(lines: Iterator[tuple[int, bytes]], delimiter: str, url: str) -> Iterator[tuple[int, list[str]]]:
    """Records that are not blank, each with the offset of its first line."""
    starts: list[int] = []

    def decoded() -> Iterator[str]:
        for offset, line in lines:
            starts.append(offset)
            text = line.removeprefix(codecs.BOM_UTF8) if offset == 0 else line
            yield text.decode(errors="surrogateescape") + "\n"

    try:
        for fields in csv.reader(decoded(), delimiter=delimiter, strict=True):
            if fields:
                yield starts[0], fields
            starts.clear()
    except csv.Error as error:
        raise InputError(f"{url}: the record at byte {starts[0] if starts else 0:,} is not CSV: {error}") from error


def _csv_record(start: int, fields: Sequence[str], header: Sequence[str]) -> Record:
    if len(fields) != len(header):
        return Record(start, None, f"has {len(fields)} fields, and the header has {len(header)}")
    if not all(map(_is_unicode, fields)):
        return Record(start, None, "not UTF-8")
    return Record(start, dict(zip(header, fields, strict=True)))


def _rows(block: Sequence[Record], first: int, schema: pa.Schema) -> Rows:
    """Records as a table. One that does not fit the types is rejected alone."""
    readable = [(first + place, each.values) for place, each in enumerate(block) if each.values is not None]
    faults = [Rejection(first + place, each.fault) for place, each in enumerate(block) if each.values is None]
    try:
        table = _table([values for _, values in readable], schema)
    except _NO_VALUE:
        good: list[tuple[int, Mapping[str, Any]]] = []
        for number, values in readable:
            try:
                _table([values], schema)
            except _NO_VALUE as error:
                faults.append(
                    Rejection(number, f"has a value that its column cannot hold: {' '.join(str(error).split())}")
                )
            else:
                good.append((number, values))
        readable, table = good, _table([values for _, values in good], schema)
    return Rows(table, np.asarray([number for number, _ in readable], dtype=np.int64), sorted(faults))


def _table(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    arrays = [pa.array([record.get(field.name) for record in records], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _length(text: object) -> int:
    """Bytes in UTF-8, or about as many."""
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
