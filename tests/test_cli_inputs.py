"""What `embedry embed` reads and refuses: other formats and encodings, odd CSV, and columns of one name."""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from command_line import run
from embedry.views import LazyEmbedder
from embedry_cli import formats, rows
from embedry_cli.errors import InputError
from embedry_cli.lines import lines
from embedry_cli.row import Row
from embedry_cli.rows import Rows

pytestmark = pytest.mark.usefixtures("minilm_folder")

TABLE = "id,text\n1,a text\n2,naïve ☃\n"
RUSSIAN = "привет мир\nкак дела\n"
CHINESE = "你好，世界。今天的天气很好。\n我们去公园散步吧\n"


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before anything is embedded."""
    monkeypatch.setattr(LazyEmbedder, "encode_stream", None)


def refused(*arguments: object, stdin: bytes = b"") -> str:
    """The one line that a command says when it refuses its input."""
    result = run(*arguments, "--to", "-", stdin=stdin)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    return result.err.removeprefix("error: ").rstrip("\n")


def embedded(*arguments: object, stdin: bytes = b"") -> list[dict[str, Any]]:
    """The columns of the rows that were embedded, the vectors left out."""
    result = run("embed", *arguments, "--to", "-", stdin=stdin)
    assert result.code == 0, result.err
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert all(len(row.pop("embedding")) == 384 for row in rows)
    return rows


def followed(advice: str, folder: Path) -> list[dict[str, Any]]:
    """What is embedded if the command of a message is followed."""
    program, command = advice.split(" | embedry embed ")
    text = subprocess.run(program, shell=True, cwd=folder, capture_output=True, check=True).stdout
    return embedded(*command.removesuffix(" ...").split(), stdin=text)


CONVERTED: list[tuple[str, bytes, str, str]] = [
    ("in.csv.gz", gzip.compress(TABLE.encode()), "gzip data, not text; decompress it", "gunzip -c in.csv.gz"),
    ("in.csv.bz2", bz2.compress(TABLE.encode()), "bzip2 data, not text; decompress it", "bunzip2 -c in.csv.bz2"),
    ("in.csv.xz", lzma.compress(TABLE.encode()), "xz data, not text; decompress it", "xz -dc in.csv.xz"),
    ("in.csv.zst", pa.compress(TABLE.encode(), "zstd", asbytes=True), "zstd data, not text; decompress it", "zstd -dc in.csv.zst"),
    ("in.csv", TABLE.encode("utf-16"), "UTF-16, not UTF-8; convert it", "iconv -f UTF-16 -t UTF-8 in.csv"),
    ("in.csv", b"\xfe\xff" + TABLE.encode("utf-16-be"), "UTF-16, not UTF-8; convert it", "iconv -f UTF-16 -t UTF-8 in.csv"),
    ("in.csv", TABLE.encode("utf-32"), "UTF-32, not UTF-8; convert it", "iconv -f UTF-32 -t UTF-8 in.csv"),
    ("in.csv", b"\0\0\xfe\xff" + TABLE.encode("utf-32-be"), "UTF-32, not UTF-8; convert it", "iconv -f UTF-32 -t UTF-8 in.csv"),
    ("in.csv", TABLE.encode("utf-16-le"), "UTF-16LE, not UTF-8; convert it", "iconv -f UTF-16LE -t UTF-8 in.csv"),
    ("in.csv", TABLE.encode("utf-16-be"), "UTF-16BE, not UTF-8; convert it", "iconv -f UTF-16BE -t UTF-8 in.csv"),
    ("in.csv", TABLE.encode("utf-32-le"), "UTF-32LE, not UTF-8; convert it", "iconv -f UTF-32LE -t UTF-8 in.csv"),
    ("in.csv", TABLE.encode("utf-32-be"), "UTF-32BE, not UTF-8; convert it", "iconv -f UTF-32BE -t UTF-8 in.csv"),
    ("in.csv", TABLE.replace("\n", "\r").encode(), r"its lines end in \r alone, as on old Macs; convert them", r"tr '\r' '\n' < in.csv"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "what", "program"),
    CONVERTED,
    ids=[f"{program}-{number}" for number, (*_, program) in enumerate(CONVERTED)],
)
def test_the_message_names_a_command_that_makes_text_of_the_file(
    name: str, content: bytes, what: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr(LazyEmbedder, "encode_stream", None)
        message = refused("embed", name)
    assert message == f"{name}: {what}: {program} | embedry embed - --format csv ..."
    if not shutil.which(program.split()[0]):
        pytest.skip(f"{program.split()[0]} is not installed")
    assert followed(message.removeprefix(f"{name}: {what}: "), tmp_path) == [
        {"id": "1", "text": "a text"},
        {"id": "2", "text": "naïve ☃"},
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", [RUSSIAN, CHINESE, RUSSIAN * 300, CHINESE * 300, "short\n", "🙂 ok\n" * 2000])
def test_other_scripts_without_a_mark_are_named_with_the_order_of_their_bytes(text: str, encoding: str) -> None:
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    message = refused("embed", stdin=text.encode(encoding))
    assert message == f"-: {name}, not UTF-8; convert it: ... | iconv -f {name} -t UTF-8 - | embedry embed - ..."


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("in.txt"))
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return file.getvalue()


def parquet_file() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["a text"]}), file)
    return file.getvalue()


OFFICE = "save a spreadsheet as CSV in UTF-8 and a document as text"
REFUSED: list[tuple[str, bytes, str]] = [
    ("in.xlsx", zipped(), f"a zip archive, as .xlsx and .docx files are, not text; unpack an archive with unzip, {OFFICE}"),
    ("in.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", f"an Office document of the old form, not text; {OFFICE}"),
    ("in.pdf", b"%PDF-1.4\nall of it is ASCII\n", "a PDF document, not text; extract its text: pdftotext in.pdf - | embedry embed - ..."),
    ("in.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image, not text; pass a file of text"),
    ("in.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image, not text; pass a file of text"),
    ("in.txt", parquet_file(), "Parquet, not text; pass it as a file with --format parquet"),
    ("in.tar", tar(), "a tar archive, not text; unpack it with tar -xf, and pass the files in it"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "what"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_what_no_pipe_makes_text_of_is_refused_by_name(
    name: str, content: bytes, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_work: None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    assert refused("embed", name) == f"{name}: {what}"
    if name == "in.txt":
        monkeypatch.undo()
        assert embedded(tmp_path / name, "--format", "parquet") == [{"text": "a text"}]


BINARY = "not text: byte 0x{} at offset {}; pass a file of text, or what a program for its format exports as text"
BYTES: list[tuple[bytes, str]] = [
    (b"fine\nbad \xe9\n", "2: not UTF-8: byte 0xe9 at offset 9; if it is Windows-1252 or Latin-1, convert it: iconv -f CP1252 -t UTF-8 'in put.txt' | embedry embed - ..."),
    (b"fine\none\0two\n", r"2: NUL, which no text has: byte 0x00 at offset 8; remove it: tr -d '\000' < 'in put.txt' | embedry embed - ..."),
    (b"\x7fELF\x02\x01\x01\0", "1: " + BINARY.format("00", 7)),
    (b"line\n\x02\x80\x03", "2: " + BINARY.format("80", 6)),
    (b"a line that is long enough\n" * 1000 + b"\0", r"1001: NUL, which no text has: byte 0x00 at offset 27000; remove it: tr -d '\000' < 'in put.txt' | embedry embed - ..."),
]  # fmt: skip


@pytest.mark.parametrize(("content", "what"), BYTES, ids=range(len(BYTES)))
def test_other_bytes_are_reported_by_their_place_and_only_text_gets_a_command(
    content: bytes, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in put.txt").write_bytes(content)
    assert refused("embed", "in put.txt") == f"in put.txt:{what}"


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv", "tsv"])
@pytest.mark.parametrize("piped", [False, True])
def test_every_text_format_is_looked_at(suffix: str, piped: bool, tmp_path: Path) -> None:
    (tmp_path / f"in.{suffix}").write_bytes(content := '{"text": "a text"}\n'.encode("utf-16"))
    kind = "text" if suffix == "txt" else suffix
    arguments = ["-", "--format", kind] if piped else [tmp_path / f"in.{suffix}"]
    message = refused("embed", *arguments, stdin=content if piped else b"")
    assert "UTF-16, not UTF-8; convert it: " in message


def test_a_map_looks_too(tmp_path: Path, no_work: None) -> None:
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(TABLE.encode()))
    result = run("map", tmp_path / "in.csv.gz", "--to", tmp_path / "map.html")
    assert result.code == 2
    start = f"error: {tmp_path}/in.csv.gz: gzip data, not text; decompress it: gunzip -c {tmp_path}/in.csv.gz | "
    assert result.err.startswith(start)
    assert result.err.endswith(" - --format csv ...\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv.gz"]


def test_what_only_looks_like_another_format_is_embedded(tmp_path: Path) -> None:
    lines = [
        "PAR1 is a gene",
        "PK and GB are words",
        "BZh is no word",
        "%PDF is how one begins",
        "\x1b[1mbold\x1b[0m",
        '"\\u0000"',
    ]
    assert [row["text"] for row in embedded(stdin="\n".join(lines).encode())] == lines
    rows = embedded("--format", "jsonl", stdin=b'{"text": "an escaped \\u0000"}')
    assert rows == [{"text": "an escaped \0"}]


def test_every_file_is_looked_at_before_the_first_is_embedded(tmp_path: Path, no_work: None) -> None:
    (tmp_path / "good.txt").write_text("fine\n")
    wrong = {
        "in.gz": (gzip.compress(b"text"), "gzip data, not text"),
        "in.csv": (b"text,text\nx,y\n", "the columns 1 and 2 have the same name"),
        "in.jsonl": (b'{"body": "x"}\n', "no column 'text'"),
    }
    for name, (content, what) in wrong.items():
        (tmp_path / name).write_bytes(content)
        assert what in refused("embed", tmp_path / "good.txt", tmp_path / name)


def test_a_named_pipe_is_read_once(tmp_path: Path, minilm: LazyEmbedder) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "embedry_cli", "embed", "pipe", "--to", "out.npy"]
    with subprocess.Popen(["sh", "-c", "printf 'one\\ntwo\\n' > pipe"], cwd=tmp_path):
        # In a process, for one that opened the pipe again would wait for ever.
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), minilm.encode_document(["one", "two"]), atol=1e-6)


def test_a_pipe_cannot_be_parquet(tmp_path: Path, no_work: None) -> None:
    os.mkfifo(tmp_path / "in.parquet")
    message = "Parquet cannot be read from standard input or a pipe, because its index is at the end; pass a file"
    command = [sys.executable, "-m", "embedry_cli", "embed", "in.parquet", "--to", "-"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (2, f"error: in.parquet: {message}\n")
    assert refused("embed", "-", "--format", "parquet") == f"-: {message}"


def test_a_file_that_is_missing_is_told_beside_standard_input(no_work: None) -> None:
    assert refused("embed", "-", "missing.parquet") == "there is no file missing.parquet"


LONG = "z" * 997
ENDLESS = {
    "text": (f"yes {LONG} | tr -d '\\n'", "-:1: a line of more than 64 MB; split it into several texts"),
    "jsonl": (f"printf '{{\"text\": \"'; yes {LONG} | tr -d '\\n'", "-:1: a line of more than 64 MB; split it into several texts"),
    "csv": (f"printf 'text\\nfine\\n\"'; yes {LONG}", "-:3: a record of more than 64 MB; close the quote that opens in it, or split it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_row_without_end_is_refused(kind: str, tmp_path: Path) -> None:
    program, message = ENDLESS[kind]
    command = f"({program}) | {sys.executable} -m embedry_cli embed - --format {kind} --to out.npy"
    result = subprocess.run(["sh", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (2, f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_end_is_refused() -> None:
    assert refused("embed", "/dev/zero") == "/dev/zero:1: a line of more than 64 MB; split it into several texts"


@pytest.mark.parametrize(
    ("kind", "start", "end"), [("text", "", ""), ("jsonl", '{"text": "', '"}'), ("csv", "text\n", "")]
)
def test_the_longest_line_is_read(kind: str, start: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry_cli.lines.LONGEST", 100)
    monkeypatch.setattr("embedry_cli.delimited.LONGEST", 100)
    text = "x" * (100 - len((start + end).removeprefix("text\n")) - 1)
    assert embedded("--format", kind, stdin=f"{start}{text}{end}\n".encode()) == [{"text": text}]
    line = 1 + start.count("\n")
    message = refused("embed", "--format", kind, stdin=f"{start}x{text}{end}\n".encode())
    assert message == f"-:{line}: a line of more than 64 MB; split it into several texts"


def test_a_record_of_many_lines_is_bounded_and_many_records_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry_cli.delimited.LONGEST", 100)
    text = "x\n" * 48 + "x"  # 97 characters, two quotes and the line's end
    content = f'text\n"{text}"\n"{text}"\n'
    assert embedded("--format", "csv", stdin=content.encode()) == [{"text": text}, {"text": text}]
    message = refused("embed", "--format", "csv", stdin=f'{content}"{text}x"\n'.encode())
    assert message == "-:100: a record of more than 64 MB; close the quote that opens in it, or split it"


def cut_while_read(source: Path, output: str, size: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `embed` says when a file is cut to this size after its first rows were read."""

    class Cut(Rows):
        def __iter__(self) -> Iterator[Row]:
            for number, row in enumerate(super().__iter__()):
                if number == 10:
                    os.truncate(source, size)
                yield row

    monkeypatch.setattr("embedry_cli.embed.Rows", Cut)
    result = run("embed", source, "--to", source.with_name(output))
    assert (result.code, result.out) == (2, "")
    assert [path.name for path in source.parent.iterdir()] == [source.name]
    return result.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv", "tsv"])
def test_a_file_that_is_cut_while_it_is_read_is_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / f"in.{suffix}"
    row = '{"text": "a text"}\n' if suffix == "jsonl" else "text\n"
    source.write_text(row * 50_000)  # more than is read ahead
    size = 45_000 * len(row)  # between two lines, where nothing else is wrong
    message = cut_while_read(source, "out.npy", size, monkeypatch)
    assert message == (
        f"{source}: it had {50_000 * len(row):,} bytes and ended after {size:,}, because another program "
        "wrote to it while it was read; run the command again"
    )


def test_a_parquet_file_that_is_cut_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.parquet"
    table = pa.table({"text": ["text"] * 600, "x": ["x" * 100_000] * 600})  # more than is read ahead
    pq.write_table(table, source, row_group_size=50, compression=None, use_dictionary=False)
    monkeypatch.setattr("embedry_cli.parquet._BATCH", 10)
    message = cut_while_read(source, "out.parquet", source.stat().st_size // 2, monkeypatch)
    assert message.startswith(f"{source}: not Parquet that can be read after row ")


def test_what_is_left_of_standard_input_is_expected_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("first\n" + "other\n" * 50_000)
    with open(tmp_path / "in.txt", "rb") as file:
        file.readline()  # as another program may have, before this one
        assert [text for text, _ in lines(file, "-", "embed")] == ["other\n"] * 50_000
        file.seek(6)
        rest = lines(file, "-", "embed")
        next(rest)
        os.truncate(tmp_path / "in.txt", 240_000)
        with pytest.raises(InputError, match="it had 300,000 bytes and ended after 239,994, "):
            list(rest)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("\n\ntext,id\nx,1\n", [{"text": "x", "id": "1"}]),
        (" , \n,,\r\ntext,id\nx,1\n", [{"text": "x", "id": "1"}]),
        (",text,\n0,x,\n", [{"column 1": "0", "text": "x", "column 3": ""}]),
        (",text\n0,x\n", [{"column 1": "0", "text": "x"}]),
        ("text,id\n\nx,1\n\n", [{"text": "x", "id": "1"}]),
    ],
)
def test_csv_of_spreadsheets(content: str, rows: list[dict[str, str]]) -> None:
    assert embedded("--format", "csv", stdin=content.encode()) == rows


QUOTES = "put a value that has ',' in it in quotes"
CSV: list[tuple[bytes, str]] = [
    (b"\nid,text,id,id\n", "2: the columns 1, 3 and 4 have the same name, 'id'; give each its own"),
    (b",column 1,text\n", "1: the columns 1 and 2 have the same name, 'column 1'; give each its own"),
    (b"\ntext,id\nx\n", "3: 1 value, but line 2 names 2 columns; add a value for 'id', which may be empty"),
    (b"text\na, b\n", f"2: 2 values, but line 1 names 1 column; remove ' b', or {QUOTES}"),
    (b"text,id\n" b"x\ry,1\n", r"2: not CSV: a \r outside quotes; put the value that has it in quotes"),
    (b'text\n"x" y\n', "2: not CSV: text after a closing quote; write a quote inside a value twice"),
    (b'text\nx\n"y\n', "3: not CSV: unexpected end of data: a quote that opens in this record is not closed; close it"),
    (b",,\nx,,\n1,2,3\n", "3: no column 'text'; choose one with --column: 'x', 'column 2', 'column 3'"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "what"), CSV)
def test_a_csv_that_cannot_be_read_is_reported_by_line_and_column(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    assert refused("embed", tmp_path / "in.csv") == f"{tmp_path}/in.csv:{what}"


@pytest.fixture
def double(tmp_path: Path) -> Path:
    columns = [pa.array(["x"]), pa.array([1]), pa.array(["y"])]
    pq.write_table(pa.table(columns, names=["text", "id", "text"]), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


@pytest.mark.parametrize("output", ["out.npy", "out.jsonl", "out.parquet"])
def test_parquet_with_two_columns_of_one_name_is_refused(double: Path, output: str, no_work: None) -> None:
    result = run("embed", double, "--to", double.with_name(output))
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {double}: the columns 1 and 3 have the same name, 'text'; give each its own\n"
    assert [path.name for path in double.parent.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize("line", ['{"text": "x", "id": 1, "id": 2}', '{"text": "x", "deep": [{"id": 1, "id": 2}]}'])
def test_json_with_a_key_twice_is_refused(line: str) -> None:
    message = refused("embed", "--format", "jsonl", stdin=f'{{"text": "x"}}\n{line}\n'.encode())
    assert message == "-:2: not JSON that can be read: the key 'id' occurs twice in an object; rename one"


class Compared(str):
    """A name that counts how often it is compared."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_names_are_not_compared_pairwise() -> None:
    names = [Compared(number) for number in range(1000)]
    formats.refuse_repeated(names, "in.csv:1")
    with pytest.raises(InputError, match="the columns 6 and 1001 have the same name, '5'"):
        formats.refuse_repeated([*names, Compared(5)], "in.csv:1")
    with pytest.raises(ValueError, match="the key '5' occurs twice"):
        rows._object([(name, 1) for name in (*names, Compared(5))])
    assert Compared.times < 5000


def test_a_name_that_many_columns_have_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(",".join(["same"] * 200_000) + "\n")
    assert refused("embed", tmp_path / "in.csv") == (
        f"{tmp_path}/in.csv:1: the columns 1, 2, 3, 4, 5 and 199,995 more have the same name, 'same'; give each its own"
    )
