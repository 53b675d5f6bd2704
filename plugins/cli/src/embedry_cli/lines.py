"""Lines of UTF-8 text. What is not UTF-8 is refused, with what makes UTF-8 of it."""

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from embedry_cli import formats
from embedry_cli.errors import InputError

_BOM = b"\xef\xbb\xbf"


def lines(file: BinaryIO, name: str, command: str) -> Iterator[tuple[str, int]]:
    """The lines with their line ends, and the size of each in bytes.

    Args:
        file: what is read.
        name: its name for messages, or `formats.STDIN`.
        command: the command that reads it, for messages.

    Raises:
        InputError: it is not UTF-8 text with line ends of today.
    """
    first = _first(file)
    start = b"".join(line[: formats.START] for line in first)[: formats.START]
    formats.refuse_other_formats(start, name, command)
    if len(first) == 1 and b"\n" not in first[0] and b"\r" in first[0].rstrip(b"\r"):
        pipe = formats.piped(r"tr '\r' '\n' < FILE", name, command)
        raise InputError(rf"{name}: its lines end in \r alone, as on old Macs; convert them: {pipe}")
    offset = 0
    for number, line in enumerate(chain(first, file), 1):
        try:
            if b"\0" in line:
                raise _refused_nul(line, start, f"{name}:{number}", offset, name, command)
            text = (line.removeprefix(_BOM) if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            raise _not_utf8(line, start, f"{name}:{number}", offset, name, command) from error
        yield text, len(line)
        offset += len(line)


def _first(file: BinaryIO) -> list[bytes]:
    """The lines that the first bytes are in. A pipe cannot be opened a second time to look at them."""
    found: list[bytes] = []
    size = 0
    while size < formats.START and (line := file.readline()):
        found.append(line)
        size += len(line)
    return found
