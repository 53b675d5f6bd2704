"""Detects input formats: supported ones by file extension, unsupported ones by the first bytes."""

import codecs
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from embedry_cli.errors import InputError

Kind = Literal["text", "jsonl", "csv", "tsv", "parquet"]

STDIN = "-"

START = 4096
"""Number of bytes that `refuse_other_formats` checks."""

_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
}  # fmt: skip

_CONVERTED = (
    (rb"\x1f\x8b\x08", "gzip data, not text; decompress it", "gunzip -c FILE"),
    (rb"BZh[1-9]1AY&SY", "bzip2 data, not text; decompress it", "bunzip2 -c FILE"),
    (rb"\xfd7zXZ\0", "xz data, not text; decompress it", "xz -dc FILE"),
    (rb"\x28\xb5\x2f\xfd", "zstd data, not text; decompress it", "zstd -dc FILE"),
    (rb"%PDF-[12]\.", "a PDF document, not text; extract its text", "pdftotext FILE -"),
)
"""First bytes, a description, and a program that converts the format to text."""

_REFUSED = (
    (rb"PK\x03\x04|PK\x05\x06", "a zip archive, as .xlsx and .docx files are, not text; unpack an archive with unzip, save a spreadsheet as CSV in UTF-8 and a document as text"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document of the old form, not text; save a spreadsheet as CSV in UTF-8 and a document as text"),
    (rb"\x89PNG", "a PNG image, not text; pass a file of text"),
    (rb"\xff\xd8\xff", "a JPEG image, not text; pass a file of text"),
    (rb"PAR1.*[\x00-\x08]", "Parquet, not text; pass it as a file with --format parquet"),  # PAR1 alone may start a text
    (rb".{257}ustar", "a tar archive, not text; unpack it with tar -xf, and pass the files in it"),
)  # fmt: skip

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)

_WIDE = ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE")

_CONTROLS = bytes(set(range(32)) - set(b"\0\t\n\v\f\r\x1b"))
"""Bytes that occur in no text, whether in a single-byte or a multibyte encoding; NUL is checked separately."""


def kind_of(name: str) -> Kind:
    """The format for a file's extension; lines of text by default."""
    suffix = Path(name).suffix.lower()
    if suffix == ".json":
        raise InputError(f"{name}: a JSON document is not supported; if each line is an object, use --format jsonl")
    return _KINDS.get(suffix, "text")


def refuse_other_formats(start: bytes, name: str, command: str) -> None:
    """Checks the first bytes of an input that should be UTF-8 text.

    Args:
        start: the first `START` bytes.
        name: the file, or `STDIN`.
        command: the command that reads it, for the message.

    Raises:
        InputError: the input has another format or encoding; the message says how to convert it.
    """
    for signature, advice in _REFUSED:
        if re.match(signature, start, re.DOTALL):
            raise InputError(f"{name}: {advice}")
    for signature, advice, program in _CONVERTED:
        if re.match(signature, start):
            raise InputError(f"{name}: {advice}: {piped(program, name, command)}")
    encoding = other_encoding(start)
    if encoding:
        program = f"iconv -f {encoding} -t UTF-8 FILE"
        raise InputError(f"{name}: {encoding}, not UTF-8; convert it: {piped(program, name, command)}")


def has_signature(start: bytes) -> bool:
    """Whether the first bytes are those of a known binary format."""
    return any(re.match(signature, start, re.DOTALL) for signature, *_ in (*_REFUSED, *_CONVERTED))


def other_encoding(start: bytes) -> str | None:
    """UTF-16 or UTF-32, with the byte order if there is no byte order mark; None if the encoding is neither."""
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None) or _without_mark(start)


def piped(program: str, name: str, command: str) -> str:
    """The command line that pipes an input through another program.

    Args:
        program: the command line of the program, with FILE for its input.
        name: the file, or `STDIN`.
        command: the command of embedry that reads the result.
    """
    if name == STDIN:
        return f"... | {program.removesuffix(' < FILE').replace('FILE', '-')} | embedry {command} - ..."
    # A pipe has no extension, so derive the format from the file name; in.csv.gz has two extensions.
    kind = next((_KINDS[suffix] for suffix in map(str.lower, Path(name).suffixes[-2:]) if suffix in _KINDS), None)
    options = f" --format {kind}" if kind else ""
    return f"{program.replace('FILE', shlex.quote(name))} | embedry {command} -{options} ..."


def is_binary(data: bytes) -> bool:
    """Whether there are bytes that occur in no text, apart from NUL."""
    return len(data.translate(None, _CONTROLS)) < len(data)


def refuse_repeated(names: Sequence[str], place: str) -> None:
    """Rejects columns with the same name, because only one of them would be kept.

    Raises:
        InputError: a name occurs more than once; the message names the columns by number, from 1.
    """
    name = repeated(names)
    if name is not None:
        numbers = [str(number) for number, other in enumerate(names, 1) if other == name]
        shown, others = (numbers[:5], f"{len(numbers) - 5:,} more") if len(numbers) > 5 else (numbers[:-1], numbers[-1])
        listed = f"{', '.join(shown)} and {others}"
        raise InputError(f"{place}: the columns {listed} have the same name, {name!r}; give each its own")


def repeated(names: Iterable[str]) -> str | None:
    """The first repeated name; None if all are distinct."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _without_mark(start: bytes) -> str | None:
    """Detects UTF-16 or UTF-32 without a byte order mark."""
    nuls = start.count(0)
    if not nuls or (nuls * 4 < len(start) and not is_binary(start)):  # a few NULs in a text do not indicate an encoding
        return None
    best = max(_WIDE, key=lambda encoding: _likeness(start, encoding))
    return best if _likeness(start, best) else None


def _likeness(start: bytes, encoding: str) -> int:
    """The number of ASCII characters in this encoding; zero if the bytes are invalid. A wrong byte order gives few."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(start)  # the last character may be cut
    except UnicodeDecodeError:
        return 0
    if any(unicodedata.category(char) in ("Cc", "Cn", "Co") and not char.isspace() for char in text):
        return 0
    return sum(char.isascii() for char in text)
