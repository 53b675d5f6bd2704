"""Rows of formats without types: JSON lines, CSV and TSV."""

import codecs
import csv
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from embedry_bulk.errors import InputError, in_a_line
from embedry_bulk.inputs import Kind, is_unicode
from embedry_bulk.lines import Lines
from embedry_bulk.rows import BLOCK_ROWS, Rejection, Rows, Scan, spread

_START = 100
"""Rows by which a file is judged."""

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
        self._names: dict[str, None] = {}
        self._header: Sequence[str] | None = None

    @property
    def names(self) -> Sequence[str]:
        """See `Reader`."""
        return list(self._names)

    @property
    def schema(self) -> pa.Schema:
        """See `Reader`. CSV columns are strings; JSON columns have types that hold all values unchanged."""
        return self._schema

    def count(self) -> int | None:
        """See `Reader`."""
        return None

    def scan(self, column: str, only: Container[str], sample: int) -> Iterator[Scan]:
        """See `Reader`."""
        first = 0
        records = self._records(0)
        while block := list(islice(records, BLOCK_ROWS)):
            if first == 0:
                self._check_start(block[:_START], column)
            if self._header is None:
                self._schema = self._widened(block, first, column, only)
            texts = [(each.values or {}).get(column) for each in block]
            chosen = [texts[place] for place in spread(len(texts), sample)]
            yield Scan(
                lengths=np.asarray([_length(text) for text in texts], dtype=np.int64),
                texts=[text for text in chosen if isinstance(text, str) and is_unicode(text)],
                offsets=[each.offset for each in block],
            )
            first += len(block)
        if self._header:
            self._check_column(column, self._header)
            self._names = dict.fromkeys(self._header)
            self._schema = pa.schema([(name, pa.string()) for name in self._header if name in only])

    def rows(self, first: int, count: int, offset: int, schema: pa.Schema) -> Iterator[Rows]:
        """See `Reader`."""
        records = self._records(offset)
        while count:
            block = list(islice(records, min(count, BLOCK_ROWS)))
            if not block:
                raise InputError(f"{self._url} ends {count:,} rows early: it has changed since the job was planned")
            yield _rows(block, first, schema)
            first, count = first + len(block), count - len(block)

    def close(self) -> None:
        """See `Reader`."""
        self._lines.close()

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

    def _checked_header(self, names: Sequence[str] | str) -> Sequence[str]:
        if isinstance(names, str):
            raise InputError(f"{self._url}: the names of the columns cannot be read: {names}")
        if len(set(names)) < len(names):
            raise InputError(f"{self._url}: two columns have the same name: {', '.join(names)}; give each its own")
        if not all(map(is_unicode, names)):
            raise InputError(f"{self._url}: the names of the columns are not UTF-8; convert the file")
        return names

    def _check_start(self, start: Sequence[Record], column: str) -> None:
        """Checks the format, encoding and columns of a file by its first rows."""
        readable = [each.values for each in start if each.values is not None]
        if not readable:
            raise InputError(f"{self._url}: none of the first {len(start)} rows can be read: {start[0].fault}")
        self._check_column(column, dict.fromkeys(name for values in readable for name in values))
        values = [value for each in readable if (value := each.get(column)) is not None]
        if values and not any(isinstance(value, str) for value in values):
            raise InputError(
                f"{self._url}: the column {column!r} must hold strings, and holds {type(values[0]).__name__} in all of the "
                f"first {len(start)} rows; choose another with --column"
            )

    def _check_column(self, column: str, names: Iterable[str]) -> None:
        if column not in names:
            raise InputError(f"{self._url} has no column {column!r}; choose one with --column: {', '.join(names)}")

    def _widened(self, block: Sequence[Record], first: int, column: str, only: Container[str]) -> pa.Schema:
        """The types widened to hold these rows. A text that is not a string is rejected with its row."""
        records = [each.values for each in block if each.values is not None]
        names = dict.fromkeys(name for record in records for name in record)
        self._names |= names
        types = []
        for name in names:
            if name not in only:
                continue
            try:
                kind = pa.string() if name == column else _type_of([record.get(name) for record in records])
                types.append((name, kind))
                pa.unify_schemas([self._schema, pa.schema(types[-1:])], promote_options="permissive")
            except _NO_VALUE as error:
                raise InputError(
                    f"{self._url}: no type holds all values of the column {name!r} unchanged, in or before rows {first:,} to "
                    f"{first + len(block):,}: {in_a_line(error)}; leave it out: --keep OTHER,COLUMNS"
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


def _csv_fields(lines: Iterator[tuple[int, bytes]], delimiter: str, url: str) -> Iterator[tuple[int, list[str] | str]]:
    """Records that are not blank, each with the offset of its first line: their fields, or why a line has none."""
    starts: list[int] = []

    def decoded() -> Iterator[str]:
        for offset, line in lines:
            starts.append(offset)
            text = line.removeprefix(codecs.BOM_UTF8) if offset == 0 else line
            yield text.decode(errors="surrogateescape") + "\n"

    records = csv.reader(decoded(), delimiter=delimiter, strict=True)
    while True:
        starts.clear()
        try:
            fields = next(records, None)
        except csv.Error as error:
            if len(starts) > 1:  # the start of the next record is unknown
                raise InputError(
                    f"{url}: the {len(starts):,} lines from byte {starts[0]:,} on are not CSV: {error}"
                ) from error
            yield starts[0], f"not CSV: {error}"
            continue
        if fields is None:
            return
        if fields:
            yield starts[0], fields


def _csv_record(start: int, fields: Sequence[str] | str, header: Sequence[str]) -> Record:
    if isinstance(fields, str):
        return Record(start, None, fields)
    if len(fields) != len(header):
        return Record(start, None, f"has {len(fields)} fields, and the header has {len(header)}")
    if not all(map(is_unicode, fields)):
        return Record(start, None, "not UTF-8")
    return Record(start, dict(zip(header, fields, strict=True)))


def _rows(block: Sequence[Record], first: int, schema: pa.Schema) -> Rows:
    """Records as a table. Only records that do not fit the types are rejected."""
    readable = [(first + place, each.values) for place, each in enumerate(block) if each.values is not None]
    rejected = [Rejection(first + place, each.fault) for place, each in enumerate(block) if each.values is None]
    try:
        table = _table([values for _, values in readable], schema)
    except _NO_VALUE:
        faults = [Rejection(number, _fault(values, schema)) for number, values in readable]
        rejected += [fault for fault in faults if fault.reason]
        readable = [each for each, fault in zip(readable, faults, strict=True) if not fault.reason]
        table = _table([values for _, values in readable], schema)
    return Rows(table, np.asarray([number for number, _ in readable], dtype=np.int64), sorted(rejected))


def _table(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    arrays = [pa.array([record.get(field.name) for record in records], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _fault(record: Mapping[str, Any], schema: pa.Schema) -> str:
    """Why a table with these types cannot hold a record; empty if it can."""
    for field in schema:
        try:
            pa.array([record.get(field.name)], field.type)
        except _NO_VALUE as error:
            return f"the column {field.name!r} holds {field.type}: {in_a_line(error)}"
    return ""


def _type_of(values: Sequence[Any]) -> pa.DataType:
    """The type that holds JSON values unchanged; values that are not Unicode are rejected with their rows.

    Raises:
        ArrowException, TypeError, ValueError, OverflowError: there is no such type.
    """
    try:
        kind = pa.array(values).type
    except UnicodeEncodeError:
        kind = pa.array([value for value in values if _can_be_written(value)]).type
    if _hides_bools(values, kind):
        raise TypeError("some are true or false, others are numbers")
    return kind


def _can_be_written(value: object) -> bool:
    try:
        pa.array([value])
    except UnicodeEncodeError:
        return False
    return True


def _hides_bools(values: Iterable[Any], kind: pa.DataType) -> bool:
    """Whether Arrow would convert true to 1.0, as it does after a number with a fraction."""
    if pa.types.is_floating(kind):
        return any(isinstance(value, bool) for value in values)
    if pa.types.is_list(kind):
        return _hides_bools((item for value in values if value is not None for item in value), kind.value_type)
    if pa.types.is_struct(kind):
        objects = [value for value in values if value is not None]
        return any(_hides_bools((each.get(field.name) for each in objects), field.type) for field in kind)
    return False


def _length(text: object) -> int:
    """The approximate size in UTF-8 bytes."""
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
