"""Reads lines of UTF-8 text. Rejects other encodings with advice on how to convert them."""

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import BinaryIO, NamedTuple

from embedry_cli import formats
from embedry_cli.errors import InputError

LONGEST_MB = 64
LONGEST = LONGEST_MB * 1_000_000
"""Maximum bytes of a line, including its end, so that a file without line ends does not fill the memory."""


class _Fault(NamedTuple):
    what: str
    advice: str
    program: str | None = None


_BINARY = _Fault("not text", "pass a file of text, or what a program for its format exports as text")
_NUL = _Fault("NUL, which no text has", "remove it", r"tr -d '\000' < FILE")
_ENCODING = _Fault("not UTF-8", "if it is Windows-1252 or Latin-1, convert it", "iconv -f CP1252 -t UTF-8 FILE")


def lines(file: BinaryIO, name: str, command: str) -> Iterator[tuple[str, int]]:
    """Yields the lines with their line ends, and the size of each in bytes.

    Args:
        file: the input.
        name: the name of the input for messages, or `formats.STDIN`.
        command: the command that reads the input, for messages.

    Raises:
        InputError: the input is not UTF-8 text, uses only carriage returns as line ends, has a line longer than
            `LONGEST`, or became shorter while it was read.
    """
    expected = _remaining(file)
    read = partial(file.readline, LONGEST + 1)
    first = _first(read)
    start = b"".join(line[: formats.START] for line in first)[: formats.START]
    formats.refuse_other_formats(start, name, command)
    if len(first) == 1 and b"\n" not in first[0] and b"\r" in first[0].rstrip(b"\r"):
        pipe = formats.piped(r"tr '\r' '\n' < FILE", name, command)
        raise InputError(rf"{name}: its lines end in \r alone, as on old Macs; convert them: {pipe}")
    offset = 0
    for number, line in enumerate(chain(first, iter(read, b"")), 1):
        if len(line) > LONGEST:
            raise InputError(f"{name}:{number}: a line of more than {LONGEST_MB} MB; split it into several texts")
        try:
            text = _decoded(line)
        except UnicodeDecodeError as error:
            byte = line[error.start]
            fault = _fault(byte, start + line)
            where = f"{name}:{number}: {fault.what}: byte 0x{byte:02x} at offset {offset + error.start}"
            pipe = f": {formats.piped(fault.program, name, command)}" if fault.program else ""
            raise InputError(f"{where}; {fault.advice}{pipe}") from error
        yield text.removeprefix("\ufeff") if number == 1 else text, len(line)
        offset += len(line)
    if offset < expected:
        raise InputError(
            f"{name}: it had {expected:,} bytes and ended after {offset:,}, because another program wrote to it "
            "while it was read; run the command again"
        )


def _remaining(file: BinaryIO) -> int:
    """The remaining bytes of a regular file; 0 for a pipe, whose length is unknown."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # not a file of the operating system
        return 0
    return status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else 0


def _first(read: Callable[[], bytes]) -> list[bytes]:
    """The lines that contain the first `formats.START` bytes. A pipe cannot be opened twice to check them."""
    found: list[bytes] = []
    size = 0
    while size < formats.START and (line := read()):
        found.append(line)
        size += len(line)
    return found


def _decoded(line: bytes) -> str:
    nul = line.find(0)
    if nul >= 0:  # valid UTF-8, but a sign of UTF-16 or a binary format
        raise UnicodeDecodeError("utf-8", line, nul, nul + 1, "NUL")
    return line.decode()


def _fault(byte: int, around: bytes) -> _Fault:
    if formats.is_binary(around):
        return _BINARY
    return _ENCODING if byte else _NUL
