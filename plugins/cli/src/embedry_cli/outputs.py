"""Writing vectors to .npy, .jsonl or .parquet, block by block and atomically."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import date, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from embedry_cli.errors import InputError, OutputError
from embedry_cli.parts import part_of
from embedry_cli.row import Row, in_short
from embedry_cli.terminal import shown
from embedry_cli.vectors import VectorColumn, Vectors, plain

STDOUT = "-"

_SUFFIXES = (".npy", ".jsonl", ".parquet")

_NOT_JSON = (TypeError, ValueError, RecursionError)
"""Raised for values without a representation in JSON, as NaN and bytes, and for nesting that is too deep."""


class Writer(Protocol):
    """Takes blocks of rows, in order."""

    def write(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Adds rows: all their columns, and a vector each."""
        ...

    def close(self) -> None:
        """Writes what is only known at the end."""
        ...


class NpyWriter:
    """The vectors alone, as one array, and their space in a file beside it.

    The length of the array is known last, and written into the header in place.
    """

    def __init__(self, file: BinaryIO, beside: BinaryIO, column: VectorColumn) -> None:
        self._file = file
        self._beside = beside
        self._column = column
        self._rows = 0
        self._write_header()

    def write(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Adds vectors; an array has no room for columns."""
        assert isinstance(vectors, np.ndarray)  # noqa: S101  `opened` refuses the others
        self._rows += len(vectors)
        self._file.write(vectors.astype("<f4", order="C", copy=False).data)

    def close(self) -> None:
        """Corrects the header. It has the same size as before: numpy leaves room in it for the first axis to grow."""
        self._file.seek(0)
        self._write_header()
        self._beside.write(json.dumps(self._column.about(), indent=2).encode() + b"\n")

    def _write_header(self) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._rows, self._column.dims)}
        np.lib.format.write_array_header_1_0(self._file, header)


class JsonlWriter:
    """One JSON object a line, with the vector as `plain` gives it."""

    def __init__(self, file: BinaryIO, column: str) -> None:
        self._file = file
        self._column = column

    def write(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Adds lines.

        Raises:
            InputError: JSON has nothing for a value.
        """
        for row, vector in zip(rows, plain(vectors), strict=True):
            # Escapes what UTF-8 cannot encode, a lone surrogate, and what a terminal would act on.
            self._file.write(shown(_line(row, {self._column: vector})).encode() + b"\n")

    def close(self) -> None:
        """Flushes the buffer."""
        self._file.flush()


@contextmanager
def opened(to: str, column: VectorColumn, *, overwrite: bool, parquet_inputs: Sequence[str]) -> Iterator[Writer]:
    """The writer for a file's name, or for JSON lines on standard output.

    Args:
        to: the file, or `STDOUT`.
        column: that of the vectors.
        overwrite: whether a file of this name may be replaced.
        parquet_inputs: files whose column types the output takes over, if it is Parquet.

    Raises:
        InputError: the extension is not one of a format that can be written, or the format has no place for such vectors.
        OutputError: the file exists, or its folder does not.
    """
    if to == STDOUT:
        with closing(JsonlWriter(sys.stdout.buffer, column.name)) as lines:
            yield lines
        return
    path = Path(to)
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{to} must end in {', '.join(_SUFFIXES)}; or write JSON lines to standard output: --to -")
    if path.suffix.lower() == ".npy" and column.kind != "dense":
        raise InputError(
            f"{to}: .npy holds vectors of one length, and not those of a {column.kind} model; write .jsonl or .parquet"
        )
    with ExitStack() as stack:
        file = stack.enter_context(whole(path, overwrite=overwrite))
        writer: Writer
        if path.suffix.lower() == ".npy":
            beside = stack.enter_context(whole(path.with_name(f"{path.name}.json"), overwrite=overwrite))
            writer = NpyWriter(file, beside, column)
        elif path.suffix.lower() == ".jsonl":
            writer = JsonlWriter(file, column.name)
        else:
            from embedry_cli.parquet import ParquetWriter

            writer = ParquetWriter(file, column, parquet_inputs)
        yield stack.enter_context(closing(writer))


@contextmanager
def whole(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file that is renamed to `path` when the block succeeds; otherwise it is deleted, and the old file stays.

    Raises:
        OutputError: the file exists and may not be replaced, or its folder does not exist.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; name another file, or replace it: --overwrite")
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent} to write {path.name} to")
    final = Path(os.path.realpath(path))  # a link is followed, not replaced
    with part_of(final) as part:
        with open(part, "xb") as file:
            yield file
        part.replace(final)


def _line(row: Row, vector: dict[str, Any]) -> str:
    try:
        return _json({**row.record, **vector})
    except _NOT_JSON:
        for name, value in row.record.items():
            try:
                _json(value)
            except _NOT_JSON as error:
                what = f"JSON cannot represent {in_short(value)} in the column {name!r}"
                raise InputError(f"{row.place}: {what}; write .parquet") from error
        raise


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_as_json)


def _as_json(value: object) -> str:
    if isinstance(value, date | datetime | time_of_day):
        return value.isoformat()
    raise TypeError(type(value))
