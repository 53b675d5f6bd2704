"""`embedry embed`: every format in and out gives the vectors of `encode`, in order; what is wrong is told by its place."""

import contextlib
import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet as pq

import embedry_cli
from command_line import run
from embedry import EmbedryWarning, Space
from embedry._files import makers
from embedry.views import LazyEmbedder
from embedry_cli import embed, outputs
from embedry_cli.row import Row
from embedry_cli.rows import Rows

TEXTS = [
    "a short text",
    "",
    "naïve façade ☃ 日本語",
    'with "quotes", commas,\tand tabs',
    "a short text",
    "  spaces around  ",
]


def write(path: Path, texts: list[str]) -> Path:
    """An input file of the kind that its suffix tells, with a column of numbers beside the texts."""
    rows = [{"id": number, "text": text} for number, text in enumerate(texts)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix in (".csv", ".tsv"):
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, ["id", "text"], delimiter="," if path.suffix == ".csv" else "\t")
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


def read(path: Path) -> tuple[list[dict[str, object]], NDArray[np.float32]]:
    """The columns and the vectors of an output file."""
    if path.suffix == ".npy":
        return [], np.load(path)
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    vectors = np.array([row.pop("embedding") for row in rows], dtype=np.float32)
    return rows, vectors


@pytest.mark.parametrize("output", ["out.npy", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("source", ["in.txt", "in.jsonl", "in.csv", "in.tsv", "in.parquet"])
def test_every_format_gives_the_vectors_of_encode(
    source: str, output: str, tmp_path: Path, minilm: LazyEmbedder
) -> None:
    result = run("embed", write(tmp_path / source, TEXTS), "--to", tmp_path / output)
    assert result.code == 0, result.err
    assert result.out == ""
    assert result.err.startswith("6 texts -> ")
    rows, vectors = read(tmp_path / output)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, minilm.encode_document(TEXTS), atol=1e-6)
    if rows:
        assert [row["text"] for row in rows] == TEXTS
        if source != "in.txt":
            assert [int(str(row["id"])) for row in rows] == list(range(6))


def about(path: Path) -> dict[str, Any]:
    """What an output says about its vectors."""
    if path.suffix == ".npy":
        found: dict[str, Any] = json.loads(path.with_name(f"{path.name}.json").read_text())
        return found
    metadata = pq.read_schema(path).metadata
    return {"space": json.loads(metadata[b"embedry.space"]), "role": metadata[b"embedry.role"].decode()}


@pytest.mark.parametrize("output", ["out.npy", "out.parquet"])
@pytest.mark.parametrize("source", ["in.txt", "in.parquet"])
def test_the_space_of_the_vectors_is_kept_with_them(
    source: str, output: str, tmp_path: Path, minilm: LazyEmbedder
) -> None:
    command = ("embed", write(tmp_path / source, TEXTS), "--to", tmp_path / output, "--role", "query")
    assert run(*command).code == 0
    found = about(tmp_path / output)
    assert found["role"] == "query"
    assert Space.from_dict(found["space"]) == Space.of(minilm)


def test_a_file_beside_the_array_is_not_replaced_unasked(tmp_path: Path) -> None:
    beside = write(tmp_path / "out.npy.json", ["mine"])
    command = ("embed", write(tmp_path / "in.txt", TEXTS), "--to", tmp_path / "out.npy")
    result = run(*command)
    assert (result.code, beside.read_text()) == (1, "mine\n")
    assert result.err == f"error: {beside} exists; name another file, or replace it: --overwrite\n"
    assert not (tmp_path / "out.npy").exists()
    assert run(*command, "--overwrite").code == 0
    assert about(tmp_path / "out.npy")["space"]["model"] == "all-MiniLM-L6-v2"


def test_blocks_keep_the_order_and_the_header_tells_the_length(
    tmp_path: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 7)
    texts = [f"number {n} " + "word " * (n % 5) for n in range(23)]
    assert run("embed", write(tmp_path / "in.txt", texts), "--to", tmp_path / "out.npy").code == 0
    vectors = np.load(tmp_path / "out.npy", mmap_mode="r")
    assert vectors.shape == (23, 384)
    np.testing.assert_allclose(vectors, minilm.encode_document(texts), atol=1e-6)
    assert run("embed", tmp_path / "in.txt", "--to", tmp_path / "out.parquet").code == 0
    np.testing.assert_array_equal(read(tmp_path / "out.parquet")[1], vectors)


def test_no_rows_give_an_empty_array(tmp_path: Path) -> None:
    result = run("embed", write(tmp_path / "in.txt", []), "--to", tmp_path / "out.npy")
    assert (result.code, result.err.partition(" -> ")[0]) == (0, "0 texts")
    assert np.load(tmp_path / "out.npy").shape == (0, 384)
    assert run("embed", tmp_path / "in.txt", "--to", tmp_path / "out.parquet").code == 0
    assert pq.read_table(tmp_path / "out.parquet").schema.field("embedding").type == pa.list_(pa.float32(), 384)


def test_standard_input_to_standard_output(minilm: LazyEmbedder) -> None:
    for arguments in ([], ["-"]):
        result = run("embed", *arguments, "--to", "-", stdin="first\r\n\nthird ☃".encode())
        rows = [json.loads(line) for line in result.out.splitlines()]
        assert [row["text"] for row in rows] == ["first", "", "third ☃"]
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
        np.testing.assert_allclose(vectors, minilm.encode_document(["first", "", "third ☃"]), atol=1e-6)
    result = run(
        "embed", "--format", "jsonl", "--column", "body", "--to", "-", stdin=b'{"body": "x", "n": [1, null]}\n'
    )
    assert json.loads(result.out) | {"embedding": 0} == {"body": "x", "n": [1, None], "embedding": 0}


def test_files_follow_each_other_as_named(tmp_path: Path, minilm: LazyEmbedder) -> None:
    second, first = write(tmp_path / "a.jsonl", TEXTS[:3]), write(tmp_path / "b.txt", TEXTS[3:])
    assert run("embed", first, second, "--to", tmp_path / "out.npy").code == 0
    expected = minilm.encode_document(TEXTS[3:] + TEXTS[:3])
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-6)


def test_a_byte_order_mark_is_no_part_of_the_first_text(tmp_path: Path) -> None:
    for name, content in (("in.txt", "first\n"), ("in.csv", "text\nfirst\n"), ("in.jsonl", '{"text": "first"}\n')):
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
        assert json.loads(run("embed", tmp_path / name, "--to", "-").out)["text"] == "first"


def test_a_csv_record_may_span_lines(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('text,id\n"two\nlines",1\n\nthree,2\n', encoding="utf-8")
    rows = [json.loads(line) for line in run("embed", tmp_path / "in.csv", "--to", "-").out.splitlines()]
    assert [(row["text"], row["id"]) for row in rows] == [("two\nlines", "1"), ("three", "2")]


def test_the_role_reaches_the_embedder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roles: list[str] = []
    real = LazyEmbedder.encode_blocks

    def encode_blocks(self: LazyEmbedder, texts: Iterable[str], *, role: str) -> object:
        roles.append(role)
        return real(self, texts, role=role)

    monkeypatch.setattr(LazyEmbedder, "encode_blocks", encode_blocks)
    source = write(tmp_path / "in.txt", TEXTS)
    for options in ([], ["--role", "query"]):
        assert run("embed", source, "--to", "-", *options).code == 0
    assert roles == ["document", "query"]


def test_other_columns_go_through_json_unchanged() -> None:
    line = '{"text": "x", "ünï": "☃", "half": "\\ud800", "deep": {"a": [1.5, true, null]}}'
    out = run("embed", "--format", "jsonl", "--to", "-", stdin=line.encode()).out
    expected = {"text": "x", "ünï": "☃", "half": "\ud800", "deep": {"a": [1.5, True, None]}}
    assert {name: value for name, value in json.loads(out).items() if name != "embedding"} == expected


def test_options_and_model_reach_the_embedder(tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    from embedry import resolve

    folder = checkpoint("bert")
    write(tmp_path / "in.txt", TEXTS)
    assert run("embed", tmp_path / "in.txt", "--to", tmp_path / "o.npy", "--model", folder, "--role", "query").code == 0
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), resolve(folder).encode_query(TEXTS), atol=1e-6)
    wrong = {
        "--role": "quarry",
        "--dims": 100,
        "--model": "no-such",
        "--backend": "abacus",
        "--precision": "fp3",
        "--threads": 0,
    }
    for option in wrong.items():
        result = run("embed", tmp_path / "in.txt", "--to", tmp_path / "x.npy", *option)
        assert result.code == 2
        assert result.err.startswith("error: ")
        assert not (tmp_path / "x.npy").exists()


def test_columns_keep_their_parquet_types(tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["x", "y"]).dictionary_encode(),
        "when": pa.array([datetime(2024, 5, 6), None], pa.timestamp("ms", tz="UTC")),
        "small": pa.array([1, None], pa.int8()),
        "tags": pa.array([["a"], []], pa.list_(pa.string())),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    assert run("embed", tmp_path / "in.parquet", "--to", tmp_path / "out.parquet", "--vector-column", "v").code == 0
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.field("v").type == pa.list_(pa.float32(), 384)
    assert table.drop_columns("v").equals(pq.read_table(tmp_path / "in.parquet"))
    row = json.loads(run("embed", tmp_path / "in.parquet", "--to", "-").out.splitlines()[0])
    assert row["when"] == "2024-05-06T00:00:00+00:00"


WRONG = [
    ("in.jsonl", b'{"text": "x"}\n{"text": \n', "in.jsonl:2: not JSON: Expecting value at column 10"),
    ("in.jsonl", b'{"text": "x"}\n\n["x"]\n', "in.jsonl:3: must be a JSON object, got list ['x']"),
    ("in.jsonl", b'{"text": "x"}\n{"body": "x", "id": 1}\n', "in.jsonl:2: no column 'text'; choose one with --column: 'body', 'id'"),
    ("in.jsonl", b'{"text": 3}\n', "in.jsonl:1: the column 'text' must be a string, got int 3"),
    ("in.jsonl", b'{"text": "x"}\n{"text": "\\ud800"}\n', "in.jsonl:2: text 1 has a lone surrogate"),
    ("in.jsonl", b'{"text": "x", "embedding": 1}\n', "in.jsonl:1: there is a column 'embedding' already"),
    ("in.txt", b"fine\nalso fine\nbad \xe9\n", "in.txt:3: not UTF-8: byte 0xe9 at offset 19"),
    ("in.csv", b"id,body\n1,x\n", "in.csv:2: no column 'text'; choose one with --column: 'id', 'body'"),
    ("in.csv", b'text,id\n"a\nb",1\nc\n', "in.csv:4: 1 value, but line 1 names 2 columns; add a value for 'id', which may be empty"),
    ("in.csv", b"text,text\n", "in.csv:1: the columns 1 and 2 have the same name, 'text'; give each its own"),
    ("in.csv", b'text\nx\n"never closed\n', "in.csv:3: not CSV: unexpected end of data"),
    ("in.parquet", b"no parquet at all", "in.parquet: not Parquet that can be read"),
    ("in.json", b'["x"]', "in.json: a JSON document is not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), WRONG, ids=[message[:30] for *_, message in WRONG])
def test_what_is_wrong_is_told_by_its_place(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    result = run("embed", tmp_path / name, "--to", tmp_path / "out.jsonl")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {tmp_path}/{message}")
    assert len(result.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_null_in_parquet_is_told_by_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x", None]}), tmp_path / "in.parquet")
    result = run("embed", tmp_path / "in.parquet", "--to", tmp_path / "out.npy")
    assert "in.parquet, row 2: the column 'text' must be a string, got NoneType None" in result.err


def test_what_one_parquet_column_cannot_hold_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 1)
    for second in ('{"text": "y", "n": "one"}', '{"text": "y", "n": 1, "more": 2}'):
        (tmp_path / "in.jsonl").write_text('{"text": "x", "n": 1}\n' + second + "\n")
        result = run("embed", tmp_path / "in.jsonl", "--to", tmp_path / "out.parquet")
        assert result.code == 2
        assert "write .jsonl" in result.err
        assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_texts_that_are_too_long(tmp_path: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 2)  # so that a place in the block is not the line
    long = "word " * 300
    source = write(tmp_path / "in.txt", ["short", "short too", "short as well", long, "last", "but one", long, long])
    result = run("embed", source, "--to", tmp_path / "out.npy", "--on-overflow", "error")
    assert result.code == 2
    assert result.err.startswith(f"error: longer than the 256 tokens that the model reads: {source}:4; split them")
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]
    result = run("embed", source, "--to", tmp_path / "out.npy", "--on-overflow", "warn")
    assert result.code == 0
    cut = "warning: longer than the 256 tokens that the model reads, and cut:"
    assert result.err.splitlines()[:-1] == [f"{cut} {source}:4", f"{cut} {source}:7, {source}:8"]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy")[3], minilm.encode_document([long])[0], atol=1e-6)


def test_a_run_that_cut_texts_says_so_once(
    tmp_path: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 2)
    long = "word " * 300
    source = write(tmp_path / "in.txt", ["short", long, "third", *[f"{n} {long}" for n in range(6)]])
    err = run("embed", source, "--to", tmp_path / "out.npy").err.splitlines()
    places = ", ".join(f"{source}:{line}" for line in (2, 4, 5, 6, 7))
    assert err[:-1] == [
        f"warning: 7 of 9 texts are longer than the 256 tokens that the model reads, and cut: {places} and 2 more"
    ]
    one = write(tmp_path / "one.txt", [long])
    err = run("embed", one, "--to", tmp_path / "one.npy").err.splitlines()
    assert err[0] == f"warning: 1 of 1 text is longer than the 256 tokens that the model reads, and cut: {one}:1"


def test_stats_are_a_histogram_of_tokens_and_the_texts_that_were_cut(tmp_path: Path, minilm: LazyEmbedder) -> None:
    words = [1, 1, 1, 2, 2, 7, 30, 300]  # and two special tokens each
    source = write(tmp_path / "in.txt", [f"{'word ' * count}" for count in words])
    result = run("embed", source, "--to", tmp_path / "out.npy", "--stats")
    assert result.code == 0
    assert result.err.splitlines()[1:-1] == [
        "tokens of 8 texts, with prompt and special tokens:",
        "          3-4            5 ########################################",
        "          5-8            0",
        "         9-16            1 ########",
        "        17-32            1 ########",
        "        33-64            0",
        "       65-128            0",
        "      129-256            1 ########",
        "median 4, 95% of the texts have at most 256, 314 tokens in all",
        "1 text (12.5%) cut at 256 tokens",
    ]
    (tmp_path / "none.txt").write_text("")
    err = run("embed", tmp_path / "none.txt", "--to", tmp_path / "none.npy", "--stats").err
    assert "there are no texts, or the engine reads them in its own way" in err


@pytest.mark.filterwarnings("default:something else")
def test_many_places_are_counted_and_other_warnings_are_still_shown(
    tmp_path: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(Rows):
        def __iter__(self) -> Iterator[Row]:
            warnings.warn(EmbedryWarning("something else"), stacklevel=1)
            return super().__iter__()

    monkeypatch.setattr("embedry_cli.embed.Rows", Odd)
    source = write(tmp_path / "in.txt", [f"{number} " + "word " * 300 for number in range(7)])
    err = run("embed", source, "--to", tmp_path / "out.npy", "--on-overflow", "warn").err
    assert "warning: something else\n" in err
    assert f"and cut: {source}:1, {source}:2, {source}:3, {source}:4, {source}:5 and 2 more\n" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "half \\ud800"}', "in.jsonl:48: text 47 has a lone surrogate"),
        ('{"text": "x", "embedding": 1}', "in.jsonl:48: there is a column 'embedding' already"),
        ('{"text": 3}', "in.jsonl:48: the column 'text' must be a string"),
    ],
)
def test_after_blocks_that_were_written_a_wrong_row_is_told_by_its_place_and_nothing_stays(
    line: str, message: str, tmp_path: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 7)
    rows = [json.dumps({"text": f"number {number}"}) for number in range(60)]
    (tmp_path / "in.jsonl").write_text("\n".join([*rows[:47], line, *rows[48:]]))
    result = run("embed", tmp_path / "in.jsonl", "--to", tmp_path / "out.jsonl")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {tmp_path}/{message}")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    shown = run("embed", tmp_path / "in.jsonl", "--to", "-").out.splitlines()
    assert [json.loads(row)["text"] for row in shown] == [f"number {number}" for number in range(42)]


def test_only_rows_whose_vectors_are_not_there_yet_are_held(
    tmp_path: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 7)
    held: list[int] = []
    real = embed.Texts.taken

    def taken(self: embed.Texts, count: int) -> list[Row]:
        held.append(len(self._held))
        return real(self, count)

    monkeypatch.setattr(embed.Texts, "taken", taken)
    source = write(tmp_path / "in.txt", [f"number {number}" for number in range(70)])
    assert run("embed", source, "--to", tmp_path / "out.npy").code == 0
    assert held == [14] * 9 + [7]


def test_an_output_is_only_replaced_when_asked(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.txt", ["x"]), tmp_path / "out.npy"
    output.write_text("precious")
    result = run("embed", source, "--to", output)
    assert result.code == 1
    assert result.err == f"error: {output} exists; name another file, or replace it: --overwrite\n"
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    assert run("embed", source, tmp_path / "bad.txt", "--to", output, "--overwrite").code == 2
    assert output.read_text() == "precious"
    result = run("embed", source, "--to", output, "--overwrite")
    assert (result.code, result.err.partition(" -> ")[0]) == (0, "1 text")
    assert np.load(output).shape == (1, 384)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "in.txt", "out.npy", "out.npy.json"]


def test_an_output_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    source = write(tmp_path / "in.txt", ["x"])
    assert run("embed", source, "--to", tmp_path / "out.npy").code == 0
    assert (tmp_path / "out.npy").stat().st_mode == source.stat().st_mode


def test_impossible_inputs_and_outputs(tmp_path: Path) -> None:
    source = write(tmp_path / "in.txt", ["x"])
    for arguments, message in [
        ([source, "--to", tmp_path / "out.txt"], "must end in .npy, .jsonl, .parquet"),
        ([source, "--to", tmp_path / "no" / "out.npy"], "there is no folder"),
        ([tmp_path / "missing.txt", "--to", tmp_path / "out.npy"], "there is no file"),
        ([tmp_path, "--to", tmp_path / "out.npy"], "is a folder"),
        (["-", "--format", "parquet", "--to", "-"], "cannot be read from standard input"),
    ]:
        result = run("embed", *arguments)
        assert result.code in (1, 2)
        assert message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


@pytest.mark.parametrize(("source", "output"), [("in.txt", "out.parquet"), ("in.parquet", "out.npy")])
def test_without_pyarrow_the_error_says_how_to_get_it(
    source: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / source, ["x"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "embedry_cli.parquet", raising=False)
    monkeypatch.delattr(embedry_cli, "parquet", raising=False)
    result = run("embed", tmp_path / source, "--to", tmp_path / output)
    assert result.code == 1
    assert result.err == 'error: Parquet needs pyarrow; try: pip install "embedry[parquet]"\n'
    assert [path.name for path in tmp_path.iterdir()] == [source]


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # a test run in the background may have inherited another


@pytest.mark.parametrize(
    ("output", "number"),
    [
        ("out.npy", signal.SIGINT),
        ("out.jsonl", signal.SIGINT),
        ("out.parquet", signal.SIGINT),
        ("out.npy", signal.SIGTERM),
        ("out.parquet", signal.SIGTERM),
        ("out.npy", signal.SIGHUP),
    ],
)
def test_stopped_midway_it_leaves_nothing(
    output: str, number: signal.Signals, tmp_path: Path, minilm_folder: Path
) -> None:
    source = tmp_path / "in.txt"
    source.write_text("".join(f"line {n} of a file that takes a while\n" for n in range(100_000)))
    command = [sys.executable, "-m", "embedry_cli", "embed", str(source), "--to", str(tmp_path / output)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=_default_signals) as process:
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size > 1000 for path in tmp_path.glob(f".{output}.*.part")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert "Error" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_only_the_first_signal_interrupts_and_one_that_is_ignored_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    done = []

    def work() -> None:
        signal.raise_signal(signal.SIGHUP)
        try:
            signal.raise_signal(signal.SIGTERM)
            done.append("work")
        finally:
            signal.raise_signal(signal.SIGTERM)
            done.append("removal")

    monkeypatch.setattr("embedry_cli.app.group", lambda: SimpleNamespace(main=lambda *_, **__: work()))
    try:
        result = run("models")
        assert (result, done) == ((143, "", ""), ["removal"])
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path, minilm_folder: Path) -> None:
    long, short, output = tmp_path / "long.txt", write(tmp_path / "short.txt", ["x"]), tmp_path / "out.npy"
    long.write_text("".join(f"line {n} of a file that takes a while\n" for n in range(100_000)))
    command = [sys.executable, "-m", "embedry_cli", "embed", str(long), "--to", str(output)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 120
            while not (found := list(tmp_path.glob(".out.npy.*.part"))):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert run("embed", short, "--to", output).code == 0
            assert list(tmp_path.glob(".out.npy.*.part")) == found  # its process lives
        finally:
            process.kill()
    assert list(tmp_path.glob(".out.npy.*.part")) == found
    assert run("embed", short, "--to", output, "--overwrite").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.txt", "out.npy", "out.npy.json", "short.txt"]


NOBODYS = 999_999_999
"""A process id above the highest that systems give."""

WEEK = 7 * 24 * 3600


def left(folder: Path, name: str, *, age: float = 0) -> Path:
    """What a process of this name left."""
    path = folder / name
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_only_what_embedry_left_for_the_same_output_is_removed(tmp_path: Path, minilm_folder: Path) -> None:
    here = f"{makers.place()}-{NOBODYS}"
    dead = [
        left(tmp_path, f".out.npy.{here}-00000001.part"),
        left(tmp_path, f".out.npy.00000000-{os.getpid()}-00000002.part", age=WEEK + 60),
        left(tmp_path, f".out.npy.{makers.place()}-{os.getpid()}-00000003.part"),  # an earlier process had this id
    ]
    kept = [
        left(tmp_path, f".out.npy.00000000-{NOBODYS}-00000004.part", age=WEEK - 60),  # on another machine
        left(tmp_path, f".out.npy.{makers.place()}-{os.getppid()}-00000005.part", age=WEEK + 60),
        left(tmp_path, f".other.npy.{here}-00000006.part"),
        left(tmp_path, f"out.npy.{here}-00000007.part"),
        left(tmp_path, f".out.npy.{here}-00000008.part.old"),
        left(tmp_path, ".out.npy.part", age=WEEK + 60),
    ]
    folder = tmp_path / f".out.npy.{here}-00000009.part"
    folder.mkdir()
    link = tmp_path / f".out.npy.{here}-0000000a.part"
    link.symlink_to(left(tmp_path, "precious"))
    with outputs.whole(tmp_path / "out.npy", overwrite=False) as file:
        file.write(b"first")
        own = list(tmp_path.glob(f".out.npy.{makers.place()}-{os.getpid()}-*.part"))
        assert run("embed", write(tmp_path / "in.txt", ["x"]), "--to", tmp_path / "out.npy").code == 0
        assert list(tmp_path.glob(f".out.npy.{makers.place()}-{os.getpid()}-*.part")) == own  # of a thread, say
    assert (tmp_path / "out.npy").read_bytes() == b"first"
    assert not any(path.exists() for path in dead)
    assert all(path.read_text() == "half" for path in kept)
    assert folder.is_dir()
    assert link.is_symlink()
    assert (tmp_path / "precious").read_text() == "half"


def test_what_the_process_of_another_user_writes_is_not_removed(
    tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: int, signal: int) -> None:
        raise PermissionError

    part = left(tmp_path, f".out.npy.{makers.place()}-{NOBODYS}-00000001.part")
    monkeypatch.setattr(os, "kill", refuse)
    assert run("embed", write(tmp_path / "in.txt", ["x"]), "--to", tmp_path / "out.npy").code == 0
    assert part.exists()


def test_what_was_left_beside_the_file_that_a_link_leads_to_is_removed(tmp_path: Path, minilm_folder: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "out.npy").symlink_to(tmp_path / "deep" / "vectors.npy")
    dead = left(tmp_path / "deep", f".vectors.npy.{makers.place()}-{NOBODYS}-00000001.part")
    assert run("embed", write(tmp_path / "in.txt", ["x"]), "--to", tmp_path / "out.npy").code == 0
    assert not dead.exists()
    assert (tmp_path / "out.npy").is_symlink()
    assert np.load(tmp_path / "deep" / "vectors.npy").shape == (1, 384)


def test_an_output_that_is_a_link_to_itself_is_replaced(tmp_path: Path, minilm_folder: Path) -> None:
    (tmp_path / "out.npy").symlink_to("out.npy")
    assert run("embed", write(tmp_path / "in.txt", ["x"]), "--to", tmp_path / "out.npy").code == 0
    assert np.load(tmp_path / "out.npy").shape == (1, 384)


def test_an_output_may_have_the_longest_name_of_a_file_system(tmp_path: Path, minilm_folder: Path) -> None:
    name = "日" * 81 + ".npy"  # 247 bytes, and 252 of the file beside it
    assert run("embed", write(tmp_path / "in.txt", ["x"]), "--to", tmp_path / name).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", name, f"{name}.json"]


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path, minilm_folder: Path) -> None:
    source = write(tmp_path / "in.txt", TEXTS)
    assert len(run("embed", source, "--to", tmp_path / "a.npy").err.splitlines()) == 1
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "embedry_cli", "embed", str(source), "--to", str(tmp_path / "b.npy")]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}
    subprocess.run(command, stderr=theirs, env=environment, check=True, timeout=120)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux tells that nobody writes any more
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert b"100%" in shown
    assert b"6 texts" in shown
    assert b"/s" in shown
