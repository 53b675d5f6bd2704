"""The columns beside the texts: each output holds a value unchanged, or names the row and the column that it cannot hold."""

import json
import math
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from command_line import run
from embedry_cli import terminal
from embedry_cli.errors import OutputError

pytestmark = pytest.mark.usefixtures("minilm_folder")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 2)


def jsonl(path: Path, values: Iterable[Any]) -> Path:
    """A file whose rows have a text and these values in the column x."""
    path.write_text("".join(json.dumps({"text": f"text {n}", "x": value}) + "\n" for n, value in enumerate(values)))
    return path


def refused(source: Path, output: str) -> str:
    """The one line that `embed` says when it refuses its input, of which it leaves no output."""
    before = sorted(source.parent.iterdir())
    result = run("embed", source, "--to", source.with_name(output))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert sorted(source.parent.iterdir()) == before
    return result.err.removeprefix("error: ").rstrip("\n")


def column(path: Path) -> list[Any]:
    values: list[Any] = pq.read_table(path).column("x").to_pylist()
    return values


SURROGATE = json.loads('"half \\ud800"')


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


LATER: list[tuple[list[Any], str, str]] = [
    ([1, 1, 0.5], "float 0.5", "int64"),
    ([0.5, 1, 2**53 + 1], "int 9007199254740993", "double"),
    ([0.5, 1, True], "bool True", "double"),
    ([1, 1, True], "bool True", "int64"),
    ([True, False, 1], "int 1", "bool"),
    ([1, 1, 2**63], "int 9223372036854775808", "int64"),
    ([1, 1, "1"], "str '1'", "int64"),
    (["a", "b", 1], "int 1", "string"),
    (["a", "b", SURROGATE], r"str 'half \ud800'", "string"),
    ([1, 1, math.nan], "float nan", "int64"),
    ([1, 1, [1]], "list [1]", "int64"),
    ([[1], [2], [3, 0.5]], "list [3, 0.5]", "list<item: int64>"),
    ([["a"], [], "ab"], "str 'ab'", "list<item: string>"),
    ([{"a": 1}, None, {"a": 1, "b": 2}], "dict {'a': 1, 'b': 2}", "struct<a: int64>"),
    ([{"a": {"b": 1}}, None, {"a": {"c": 1}}], "dict {'a': {'c': 1}}", "struct<a: struct<b: int64>>"),
    ([[{"a": 1}], [], [{"a": 1, "b": 2}]], "list [{'a': 1, 'b': 2}]", "list<item: struct<a: int64>>"),
    ([[], [], [1]], "list [1]", "list<item: null>"),
    ([None, None, 1], "int 1", ""),
]  # fmt: skip


@pytest.mark.parametrize(("values", "what", "kind"), LATER, ids=[f"{what} in {kind}" for _, what, kind in LATER])
def test_a_value_that_the_type_of_the_first_block_would_change_is_refused(
    values: list[Any], what: str, kind: str, tmp_path: Path, small_blocks: None
) -> None:
    source = jsonl(tmp_path / "in.jsonl", values)
    before = f", which has the type {kind} in the rows before" if kind else ""
    message = f"{source}:3: Parquet cannot hold {what} in the column 'x'{before}; write .jsonl"
    assert refused(source, "out.parquet") == message
    assert run("embed", source, "--to", tmp_path / "out.npy").code == 0


FIRST: list[tuple[list[Any], str, str]] = [
    ([1, "a"], "str 'a'", "int64"),
    (["a", 1], "int 1", "string"),
    ([1, True], "bool True", "int64"),
    ([True, 0.5], "float 0.5", "bool"),
    ([0.5, True], "bool True", "double"),
    ([2**53 + 1, 0.5], "float 0.5", "int64"),
    ([{"a": 1}, [1]], "list [1]", "struct<a: int64>"),
    ([None, 2**64], "int 18446744073709551616", ""),
    ([None, SURROGATE], r"str 'half \ud800'", ""),
    ([None, {SURROGATE: 1}], r"dict {'half \ud800': 1}", ""),
    ([None, {}], "dict {}", ""),
    ([{"a": 1}, {"a": 1, "b": [{}]}], "dict {'a': 1, 'b': [{}]}", "struct<a: int64>"),
    ([None, deep(60)], f"list {str(deep(60))[:55]}...", ""),
]  # fmt: skip


@pytest.mark.parametrize(("values", "what", "kind"), FIRST, ids=[f"{what} in {kind}" for _, what, kind in FIRST])
def test_values_of_the_first_block_that_no_type_holds_are_refused(
    values: list[Any], what: str, kind: str, tmp_path: Path
) -> None:
    source = jsonl(tmp_path / "in.jsonl", [values[0], *values])
    before = f", which has the type {kind} in the rows before" if kind else ""
    message = f"{source}:3: Parquet cannot hold {what} in the column 'x'{before}; write .jsonl"
    assert refused(source, "out.parquet") == message


def test_the_wrong_row_is_found_in_a_long_block(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{}, {"a": 1}, *[{"a": 1}] * 300, 5, *[{"a": 1}] * 300])
    assert refused(source, "out.parquet").startswith(f"{source}:303: Parquet cannot hold int 5 in the column 'x'")


def test_a_column_that_appears_later_or_has_no_valid_name_is_refused(tmp_path: Path, small_blocks: None) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n{"text": "d", "x": 1}\n')
    message = f"{source}:4: the column 'x' is not in the first rows, so Parquet cannot take it; write .jsonl"
    assert refused(source, "out.parquet") == message
    source.write_text('{"text": "a"}\n{"text": "b", "\\ud800": 1}\n')
    message = rf"{source}:2: Parquet cannot hold the name of the column '\ud800'; write .jsonl"
    assert refused(source, "out.parquet") == message


KEPT: list[list[Any]] = [
    [1, 2**53 + 1, -(2**63), 2**63 - 1],
    [1, 0.5, None, 3],
    [0.5, 1, 2**53, 0.1],
    [math.nan, math.inf, -math.inf, 1.0],
    [None, True, None, False],
    [{"a": 1}, {"b": [1]}, None, {"a": 2, "b": []}],
    [{}, {"a": None}, {"a": {"b": "c"}}, None],
    [[], [1, None], [0.5], None],
    [None, None, None, None],
    [deep(5), [], None, deep(6)],
]


@pytest.mark.parametrize("values", KEPT, ids=range(len(KEPT)))
def test_a_value_that_parquet_holds_comes_back(values: list[Any], tmp_path: Path) -> None:
    def without_nulls(value: Any) -> Any:
        """Parquet has no missing keys, only null ones."""
        return {k: without_nulls(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value

    source = jsonl(tmp_path / "in.jsonl", values)
    assert run("embed", source, "--to", tmp_path / "out.parquet").code == 0
    found = column(tmp_path / "out.parquet")
    assert repr([*map(without_nulls, found)]) == repr([*map(without_nulls, values)]) or found == values


NO_JSON: list[tuple[Any, str]] = [
    (math.nan, "float nan"),
    (math.inf, "float inf"),
    ({"deep": [1, -math.inf]}, "dict {'deep': [1, -inf]}"),
]


@pytest.mark.parametrize(("value", "what"), NO_JSON)
def test_a_number_that_json_lacks_is_refused_in_jsonl(value: Any, what: str, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1.5, value])
    message = f"{source}:2: JSON cannot represent {what} in the column 'x'; write .parquet"
    assert refused(source, "out.jsonl") == message
    result = run("embed", source, "--to", "-")
    assert (result.code, result.err) == (2, f"error: {message}\n")
    assert run("embed", source, "--to", tmp_path / "out.npy").code == 0


def test_a_number_beyond_floats_is_refused_when_it_is_read(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a", "x": 1e308}\n{"text": "b", "x": -1e309}\n')
    message = f"{source}:2: not JSON that can be read: the number -1e309 is too large for a float"
    assert refused(source, "out.parquet") == message


def test_jsonl_keeps_what_json_holds(tmp_path: Path) -> None:
    values = [
        10**30,
        2**53 + 1,
        0.1,
        -0.0,
        True,
        None,
        SURROGATE,
        {SURROGATE: [{}, []]},
        "\x1b\x7f\x9b\u202e\0\\u0041",
        deep(50),
    ]
    source = jsonl(tmp_path / "in.jsonl", values)
    assert run("embed", source, "--to", tmp_path / "out.jsonl").code == 0
    lines = (tmp_path / "out.jsonl").read_bytes().decode().splitlines()
    assert repr([json.loads(line)["x"] for line in lines]) == repr(values)


def test_a_result_that_is_no_json_is_an_error() -> None:
    with pytest.raises(OutputError, match="a number that JSON cannot represent"):
        terminal.show_json({"score": math.nan})


ODD: dict[str, tuple[pa.Array, str | None]] = {
    "a date after 9999": (pa.array([1, 10**7, None], pa.date32()), "date32[day]"),
    "a time after 9999": (pa.array([1, 10**18, None], pa.timestamp("us", "UTC")), "timestamp[us, tz=UTC]"),
    "inside a list": (pa.array([[1], [2, 10**7], []], pa.list_(pa.date32())), "list<element: date32[day]>"),
    "an unknown time zone": (pa.array([None, 1, None], pa.timestamp("us", "Mars/Olympus")), "timestamp[us, tz=Mars/Olympus]"),
    "no UTF-8": (pa.array([b"fine", b"\xff", None]).view(pa.string()), "string"),
    "nanoseconds of a day": (pa.array([1, 2, None], pa.time64("ns")), None),
    "nanoseconds": (pa.array([1, 2, None], pa.timestamp("ns")), None),
    "a map": (pa.array([[("a", 1), ("a", 2)], [], None], pa.map_(pa.string(), pa.int64())), None),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_parquet_passes_through_even_where_python_has_no_value(name: str, tmp_path: Path, small_blocks: None) -> None:
    values, kind = ODD[name]
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["a", "b", "c"], "x": values}), source)
    for output in ("out.npy", "out.parquet"):
        assert run("embed", source, "--to", tmp_path / output).code == 0
    found = pq.read_table(tmp_path / "out.parquet").drop_columns("embedding")
    assert found.equals(pq.read_table(source))
    if kind is not None:
        message = refused(source, "out.jsonl")
        assert message.startswith(f"{source}, row 2: Python has no value for the {kind} in the column 'x': ")
        assert message.endswith("; remove the column")


def test_what_json_cannot_represent_of_parquet_is_refused_by_row_and_column(tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    for values, what in (
        ([None, b"ab"], "bytes b'ab'"),
        ([[], [b"ab"]], "list [b'ab']"),
        ([None, math.inf], "float inf"),
    ):
        pq.write_table(pa.table({"text": ["a", "b"], "x": values}), source)
        message = f"{source}, row 2: JSON cannot represent {what} in the column 'x'; write .parquet"
        assert refused(source, "out.jsonl") == message


def test_a_text_of_parquet_that_is_not_utf8_is_told_by_its_row(tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": pa.array([b"fine", b"\xff"]).view(pa.string())}), source)
    assert refused(source, "out.npy").startswith(
        f"{source}, row 2: Python has no value for the string in the column 'text': "
    )


def test_parquet_files_with_other_columns_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry_cli.parquet._BATCH", 2)  # batches and blocks end in different rows
    monkeypatch.setattr("embedry._pipeline.pipeline._BLOCK_TEXTS", 3)
    first = pa.table({"text": ["a", "b", "c"], "x": [1, 2, 3], "null": pa.nulls(3)})
    second = pa.table({"text": ["d", "e"], "null": ["f", "g"], "when": [date(2024, 5, 6), None]})
    pq.write_table(first, tmp_path / "1.parquet")
    pq.write_table(second, tmp_path / "2.parquet")
    result = run("embed", tmp_path / "1.parquet", tmp_path / "2.parquet", "--to", tmp_path / "out.parquet")
    assert result.code == 0, result.err
    assert pq.read_table(tmp_path / "out.parquet").drop_columns("embedding").to_pydict() == {
        "text": ["a", "b", "c", "d", "e"],
        "x": [1, 2, 3, None, None],
        "null": [None, None, None, "f", "g"],
        "when": [None, None, None, date(2024, 5, 6), None],
    }


def test_parquet_beside_jsonl_becomes_parquet(tmp_path: Path) -> None:
    when = datetime(2024, 5, 6, tzinfo=UTC)
    pq.write_table(pa.table({"text": ["a"], "x": [1], "when": [when]}), tmp_path / "1.parquet")
    jsonl(tmp_path / "2.jsonl", [2])
    assert run("embed", tmp_path / "1.parquet", tmp_path / "2.jsonl", "--to", tmp_path / "out.parquet").code == 0
    found = pq.read_table(tmp_path / "out.parquet")
    assert (found["x"].to_pylist(), found["when"].to_pylist()) == ([1, 2], [when, None])


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A Parquet file in which the column beside the texts cannot be read."""
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "x": [1, 2]}), source, compression=None, use_dictionary=False)
    place = pq.read_metadata(source).row_group(0).column(1).data_page_offset
    with open(source, "r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 16)
    return source


def test_only_the_columns_that_are_needed_are_read(damaged: Path) -> None:
    assert run("embed", damaged, "--to", damaged.with_name("out.npy")).code == 0
    for output in ("out.jsonl", "out.parquet"):
        message = refused(damaged, output)
        assert message.startswith(f"{damaged}: not Parquet that can be read after row 0: ")


@pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning")
def test_a_map_colors_by_numbers_of_any_size(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [10**400, 2, 3])
    assert run("map", source, "--to", tmp_path / "map.html", "--color", "x").code == 0
    assert str(10**400) in (tmp_path / "map.html").read_text()
