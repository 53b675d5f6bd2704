"""Writes vectors to .npy, .jsonl or .parquet files, block by block and atomically."""

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
"""Errors for values that JSON cannot represent, such as NaN and bytes, and for nesting that is too deep."""


class Writer(Protocol):
    """Writes blocks of rows, in order."""

    def write(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Adds rows with all their columns, and a vector for each."""
        ...

    def close(self) -> None:
        """Completes the output."""
        ...


class NpyWriter:
    """Writes only the vectors, as one array, and their space to a second file.

    The length of the array is known only at the end, and is then written into the header in place.
    """

    def __init__(self, file: BinaryIO, beside: BinaryIO, column: VectorColumn) -> None:
        self._file = file
        self._beside = beside
        self._column = column
        self._rows = 0
        self._write_header()

    def write(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Adds vectors. Ignores other columns."""
        assert isinstance(vectors, np.ndarray)  # noqa: S101  `opened` rejects the others
        self._rows += len(vectors)
        self._file.write(vectors.astype("<f4", order="C", copy=False).data)

    def close(self) -> None:
        """Updates the header, whose size does not change: NumPy reserves space for the first axis to grow."""
        self._file.seek(0)
        self._write_header()
        self._beside.write(json.dumps(self._column.about, indent=2).encode() + b"\n")

    def _write_header(self) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._rows, self._column.dims)}
        np.lib.format.write_array_header_1_0(self._file, header)


class JsonlWriter:
    """Writes one JSON object per line, with the vector in the form of `vectors.plain`."""

    def __init__(self, file: BinaryIO, column: str) -> None:
        self._file = file
        self._column = column

    def write(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Adds lines.

        Raises:
            InputError: JSON cannot represent a value.
        """
        for row, vector in zip(rows, plain(vectors), strict=True):
            # Escapes lone surrogates, which UTF-8 cannot encode, and control characters.
            self._file.write(shown(_line(row, {self._column: vector})).encode() + b"\n")

    def close(self) -> None:
        """Flushes the buffer."""
        self._file.flush()


@contextmanager
def opened(to: str, column: VectorColumn, *, overwrite: bool, parquet_inputs: Sequence[str]) -> Iterator[Writer]:
    """Opens the writer for a file name, or for JSON lines on standard output.

    Args:
        to: the file, or `STDOUT`.
        column: the column of the vectors.
        overwrite: whether to replace an existing file.
        parquet_inputs: files whose column types a Parquet output keeps.

    Raises:
        InputError: the extension is not supported, or the format does not support such vectors.
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
    """Opens a file that is renamed to `path` when the block succeeds. On errors, deletes it and keeps `path`.

    Raises:
        OutputError: the file exists and may not be replaced, or its folder does not exist.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; name another file, or replace it: --overwrite")
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent} to write {path.name} to")
    final = Path(os.path.realpath(path))  # follow a symbolic link instead of replacing it
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
