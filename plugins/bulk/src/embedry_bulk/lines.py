"""Reads the lines of a file, compressed or not, from any offset."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pyarrow as pa

from embedry_bulk.errors import InputError, in_a_line
from embedry_bulk.inputs import COMPRESSED

Result = TypeVar("Result")

_CHUNK = 2**20
_LONGEST = 2**26
"""Bytes of a line. A longer one means that the file is of another kind, and would take all memory."""


class Lines:
    """A file whose lines are read from mostly increasing offsets. It stays open, because reaching an offset in a compressed
    file requires reading all bytes before it.

    Offsets are those of decompressed bytes.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._codec = COMPRESSED.get(Path(url).suffix.lower())
        self._file: Any = None
        self._start = 0
        self._buffer = b""
        """Bytes from `_start` on that were read and may be asked for again."""

    def read(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yields each line with its offset, without its line feed, starting with the line at `offset`.

        Raises:
            InputError: the file cannot be read to its end, or has lines of more than 64 MiB.
        """
        self._seek(offset)
        while True:
            block = self._complete_lines()
            if not block:
                return
            offset = self._start
            for line in block.removesuffix(b"\n").split(b"\n"):
                yield offset, line
                offset += len(line) + 1
            self._start += len(block)
            self._buffer = self._buffer[len(block) :]

    def _complete_lines(self) -> bytes:
        """The buffer up to its last line break, or the rest of the file."""
        while (end := self._buffer.rfind(b"\n") + 1) == 0:
            if len(self._buffer) > _LONGEST:
                raise InputError(
                    f"{self._url} has no line break in the {_LONGEST:,} bytes after byte {self._start:,}; it is not a file of lines"
                )
            chunk = self._read(_CHUNK)
            if not chunk:
                return self._buffer
            self._buffer += chunk
        return self._buffer[:end]

    def _seek(self, offset: int) -> None:
        if self._file is None or offset < self._start:
            self._open()
        within = offset - self._start
        if within <= len(self._buffer):
            self._start, self._buffer = offset, self._buffer[within:]
            return
        within -= len(self._buffer)
        self._start, self._buffer = offset, b""
        if self._codec is None:
            self._tried(lambda: self._file.seek(offset))
            return
        while within:
            skipped = len(self._read(min(within, _CHUNK)))
            if not skipped:
                raise InputError(f"{self._url} ends before byte {offset:,}, where a shard begins")
            within -= skipped

    def _open(self) -> None:
        self.close()
        self._start, self._buffer = 0, b""
        self._file = self._tried(fsspec.open(self._url, "rb").open)
        if self._codec is not None:
            source = pa.PythonFile(self._file, mode="r")
            self._file = self._tried(lambda: pa.CompressedInputStream(source, self._codec))

    def _read(self, size: int) -> bytes:
        return bytes(self._tried(lambda: self._file.read(size)))

    def _tried(self, request: Callable[[], Result]) -> Result:
        """The result of a request to the file. After a failure the file is reopened, because its position is unknown."""
        try:
            return request()
        except (OSError, EOFError, ValueError, pa.ArrowException) as error:
            at = self._start + len(self._buffer)
            self.close()
            raise InputError(f"{self._url} cannot be read after byte {at:,}: {in_a_line(error)}") from error

    def close(self) -> None:
        """Closes the file; reading it again reopens it."""
        if self._file is not None:
            self._file.close()
            self._file = None
