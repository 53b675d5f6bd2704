"""`embedry map`: texts that are alike are near each other, clusters have fitting names, and the page holds what was given."""

import base64
import contextlib
import csv
import gzip
import html
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet as pq

import embedry_cli
from command_line import run
from embedry.views import LazyEmbedder
from embedry_cli import map as command

# What umap says on import where Tensorflow is not installed; Python shows it to nobody by default.
pytestmark = pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning")

COOKING = ["soup", "bread", "stew", "curry", "pasta", "cake", "salad", "risotto", "pancakes", "omelette"]
SPACE = ["rocket", "comet", "planet", "satellite", "asteroid", "moon", "galaxy", "nebula", "star", "probe"]
TEXTS = [
    text
    for dish, body in zip(COOKING, SPACE, strict=True)
    for text in (
        f"How to cook {dish} in a kitchen with butter and salt.",
        f"Astronomers watched the {body} in its orbit through a telescope.",
        f"This recipe for {dish} needs butter, an oven and an hour in the kitchen.",
        f"The orbit of the {body} was measured by astronomers with a telescope.",
    )
]
"""Two subjects by turns."""


def write(path: Path, texts: list[str] = TEXTS) -> Path:
    """A file of the kind that its suffix tells, with a column of subjects and one of numbers beside the texts."""
    rows = [
        {"text": text, "subject": ("cooking", "space")[number % 2], "number": number}
        for number, text in enumerate(texts)
    ]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix in (".csv", ".tsv"):
        with open(path, "w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t")
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text("".join(f"{text}\n" for text in texts))
    return path


def models(page: Path, name: str) -> list[dict[str, Any]]:
    """The attributes of the Bokeh models of this name that the page holds."""
    (script,) = re.findall(r'<script type="application/json" id="[^"]+">(.*?)</script>', page.read_text(), re.DOTALL)
    found: list[dict[str, Any]] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("name") == name and "attributes" in value:
                found.append(value["attributes"])
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(json.loads(html.unescape(script)))
    return found


def columns(page: Path) -> dict[str, Any]:
    """The columns of the points."""
    (found,) = (
        source["data"]["entries"] for source in models(page, "ColumnDataSource") if source.get("name") == "texts"
    )
    return {name: array(value) if isinstance(value, dict) else value for name, value in found}


def array(value: dict[str, Any]) -> NDArray[Any]:
    """An array as Bokeh writes it."""
    content = gzip.decompress(base64.b64decode(value["array"]["data"]))
    return np.frombuffer(content, dtype=value["dtype"]).reshape(value["shape"])


def legend(page: Path) -> list[str]:
    """What the legend says, from above."""
    return [item["label"]["value"] for item in models(page, "LegendItem")]


def near(points: NDArray[np.float32]) -> NDArray[np.intp]:
    """The nearest other point of each."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest: NDArray[np.intp] = distances.argmin(axis=1)
    return nearest


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, minilm: LazyEmbedder) -> Path:
    """The map of the two subjects."""
    folder = tmp_path_factory.mktemp("map")
    result = run("map", write(folder / "in.jsonl"), "--to", folder / "map.html")
    assert (result.code, result.out) == (0, ""), result.err
    assert result.err == f"40 texts -> {folder / 'map.html'}\n"
    return folder / "map.html"


def test_subjects_are_apart_and_named(page: Path) -> None:
    found = columns(page)
    assert found["text"] == TEXTS
    points = np.column_stack([found["x"], found["y"]])
    assert (near(points) % 2 == np.arange(40) % 2).all()
    names = legend(page)
    assert len(names) == 2
    assert sorted(name.split("  ")[1] for name in names) == ["(20)", "(20)"]
    words = [set(name.split("  ")[0].split(", ")) for name in names]
    cooking, space = sorted(words, key=lambda some: "orbit" in some or "telescope" in some)
    assert cooking <= {"kitchen", "butter", "recipe", "cook", "salt", "hour", "oven", "needs"}
    assert space <= {"orbit", "telescope", "astronomers", "measured", "watched"}


def test_the_page_needs_nothing_else_and_is_the_same_every_time(page: Path, tmp_path: Path) -> None:
    assert re.findall(r"<(?:script|link)[^>]+(?:src|href)=", page.read_text()) == []
    assert run("map", page.with_name("in.jsonl"), "--to", tmp_path / "again.html").code == 0
    first, second = columns(page), columns(tmp_path / "again.html")
    assert first.keys() == second.keys() == {"x", "y", "text", "column0", "column1"}
    for axis in "xy":
        np.testing.assert_array_equal(first[axis], second[axis])


@pytest.mark.parametrize("name", ["in.txt", "in.csv", "in.tsv", "in.parquet"])
def test_every_format_gives_the_same_map(name: str, page: Path, tmp_path: Path) -> None:
    assert run("map", write(tmp_path / name), "--to", tmp_path / "map.html").code == 0
    found, expected = columns(tmp_path / "map.html"), columns(page)
    for axis in "xy":
        np.testing.assert_array_equal(found[axis], expected[axis])
    if name != "in.txt":
        assert found["column0"] == ["cooking", "space"] * 20
        assert found["column1"] == [str(number) for number in range(40)]


def test_colour_by_a_column(page: Path, tmp_path: Path) -> None:
    for option in ("--colour", "--color"):
        to = tmp_path / f"{option}.html"
        assert run("map", page.with_name("in.jsonl"), "--to", to, option, "subject").code == 0
        assert legend(to) == ["cooking  (20)", "space  (20)"]
    (cooking, space) = (np.array(found["indices"]) for found in models(to, "IndexFilter"))
    assert cooking.tolist() == list(range(0, 40, 2))
    assert space.tolist() == list(range(1, 40, 2))


def test_many_numbers_are_a_scale(page: Path, tmp_path: Path) -> None:
    to = tmp_path / "map.html"
    assert run("map", page.with_name("in.jsonl"), "--to", to, "--colour", "number").code == 0
    np.testing.assert_array_equal(columns(to)["number"], np.arange(40.0))
    (bar,) = models(to, "ColorBar")
    assert bar["title"] == "number"
    assert legend(to) == []


def test_the_groups_of_a_column() -> None:
    from embedry_cli.page import PALETTE, Groups, Scale

    few = command._by_column("n", [1, 2, 1, None, True])
    assert isinstance(few, Groups)
    assert (few.names, few.labels.tolist(), few.rest) == (["1", "2", "True"], [0, 1, 0, -1, 2], "none")
    values = [f"value {number}" for number in range(len(PALETTE) + 3)]
    many = command._by_column("n", [values[-1], *values])
    assert isinstance(many, Groups)
    assert many.names == [values[-1], *values[: len(PALETTE) - 1]]
    assert (many.labels == -1).sum() == 3
    assert many.rest == "3 others"
    scale = command._by_column("n", ["", "inf", *(str(number) for number in range(13))])
    assert isinstance(scale, Scale)
    np.testing.assert_array_equal(scale.values, [np.nan, np.nan, *range(13)])
    assert isinstance(command._by_column("n", ["x", *range(99)]), Groups)


@pytest.mark.parametrize("count", [3, 4, 15, 16, 17])
def test_few_texts(count: int, tmp_path: Path) -> None:
    assert run("map", write(tmp_path / "in.txt", TEXTS[:count]), "--to", tmp_path / "map.html").code == 0
    found = columns(tmp_path / "map.html")
    points = np.column_stack([found["x"], found["y"]])
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert len(np.unique(points, axis=0)) == count


def test_equal_texts_are_one_point_and_blank_ones_none(tmp_path: Path) -> None:
    texts = [TEXTS[0], "", TEXTS[1], TEXTS[0], "  ", TEXTS[2]]
    result = run("map", write(tmp_path / "in.csv", texts), "--to", tmp_path / "map.html")
    assert result.err == f"left out: 2 blank texts\n4 texts -> {tmp_path / 'map.html'}\n"
    found = columns(tmp_path / "map.html")
    assert found["text"] == [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2]]
    assert found["column1"] == ["0", "2", "3", "5"]
    assert found["x"][0] == found["x"][2]
    assert len(set(found["x"].tolist())) == 3


def test_clusters_are_numbered_by_size() -> None:
    from embedry_cli.projection import clusters

    places = np.repeat([[0, 0], [50, 0], [0, 50]], [6, 14, 10], axis=0)  # 30 points make 2 clusters
    points = (places + np.random.default_rng(0).normal(size=(30, 2))).astype(np.float32)
    labels = clusters(points)
    assert sorted(set(labels.tolist())) == [0, 1]
    assert (labels == 0).sum() > (labels == 1).sum()
    assert all(len(set(labels[part].tolist())) == 1 for part in (slice(6), slice(6, 20), slice(20, 30)))
    assert set(clusters(np.array([[0, 0], [1, 1], [2, 2]], dtype=np.float32)).tolist()) == {0, 1}


def test_names_of_clusters() -> None:
    from embedry_cli.projection import names

    texts = ["The cat and a cats' toy", "a cat of mine", "dog dog dog x", "a dog, the toy", "12 34", "5 !"]
    assert names(texts, np.array([0, 0, 1, 1, 2, 2])) == ["cat, toy", "dog, toy", "cluster 3"]
    everywhere = ["a cat, an animal", "animal: cat", "animal dog", "the dog is an animal"]
    assert names(everywhere, np.array([0, 0, 1, 1])) == ["cat, animal", "dog, animal"]
    assert names(["1", "2"], np.array([0, 1])) == ["cluster 1", "cluster 2"]


def test_the_metric_is_the_models() -> None:
    from embedry_cli import projection

    # Two directions, so near to each other that equally long vectors of both are nearer than other lengths of one.
    lengths = np.tile(np.arange(1, 21), 2)
    directions = np.repeat([[1, 0, 0], [1, 0.02, 0]], 20, axis=0) + np.random.default_rng(0).normal(0, 5e-4, (40, 3))
    vectors = (directions * lengths[:, None]).astype(np.float32)
    shown: list[str] = []
    by_angle = near(projection.plane(vectors, "dot", shown.append))
    assert (by_angle // 20 == np.arange(40) // 20).all()
    assert shown[-1] == "projecting: 100%"
    by_distance = near(projection.plane(vectors, "euclidean", shown.append))
    assert np.abs(lengths[by_distance] - lengths).max() < np.abs(lengths[by_angle] - lengths).max()
    assert (by_distance // 20 != np.arange(40) // 20).any()


def test_what_is_in_a_text_or_a_name_is_no_html(tmp_path: Path) -> None:
    rows = [
        {"text": f"<b>{text}</b> </script><script>alert(1)</script> &amp;", "a@b <i>$x": text} for text in TEXTS[:4]
    ]
    (tmp_path / "<u>&.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("map", tmp_path / "<u>&.jsonl", "--to", tmp_path / "map.html").code == 0
    written = (tmp_path / "map.html").read_text()
    for harmful in ("alert(1)</script>", "<script>alert", "<u>&", "<i>$x"):
        assert harmful not in written
    assert "<title>&lt;u&gt;&amp;.jsonl</title>" in written
    assert columns(tmp_path / "map.html")["text"] == [row["text"] for row in rows]
    (hover,) = models(tmp_path / "map.html", "HoverTool")
    assert "<b>a&#64;b &lt;i&gt;&#36;x</b> @column0" in hover["tooltips"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.txt", "--to", "map.pdf"], "map.pdf must end in .html"),
        (["in.txt", "--to", "old.html"], "old.html exists; name another file, or replace it: --overwrite"),
        (["in.txt", "--to", "no/map.html"], "there is no folder no to write map.html to"),
        (["none.txt", "--to", "map.html"], "there is no file none.txt"),
        (["in.txt", "--to", "map.html", "--role", "quarry"], "model 'all-MiniLM-L6-v2' has no role 'quarry'"),
        (["in.jsonl", "--to", "map.html", "--column", "body"], "in.jsonl:1: no column 'body'; choose one with --column: "),
        (["in.jsonl", "--to", "map.html", "--colour", "hue"], "in.jsonl has no column 'hue' to colour by; choose one of text, subject, number"),
        (["two.txt", "--to", "map.html"], "two.txt has 2 different texts; a map needs 3 or more"),
        (["half.jsonl", "--to", "map.html"], "half.jsonl:3: text 2 has a lone surrogate"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("in.txt"))
    write(Path("in.jsonl"))
    write(Path("two.txt"), ["one", "two", "one", ""])
    Path("half.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a", "b", "\ud800", "c")))
    Path("old.html").write_text("old")
    before = sorted(tmp_path.iterdir())
    result = run("map", *arguments)
    assert result.code in (1, 2)
    assert f"error: {message}" in result.err
    assert len(result.err.replace("left out: 1 blank text\n", "").splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before
    assert Path("old.html").read_text() == "old"


def test_a_page_is_replaced_when_asked(tmp_path: Path) -> None:
    (tmp_path / "map.html").write_text("old")
    assert run("map", write(tmp_path / "in.txt", TEXTS[:4]), "--to", tmp_path / "map.html", "--overwrite").code == 0
    assert columns(tmp_path / "map.html")["text"] == TEXTS[:4]


@pytest.mark.parametrize(
    ("package", "module", "what"), [("umap", "projection", "umap-learn"), ("bokeh.embed", "page", "Bokeh")]
)
def test_without_the_extra_the_error_says_how_to_get_it(
    package: str, module: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"embedry_cli.{module}", raising=False)
    monkeypatch.delattr(embedry_cli, module, raising=False)
    monkeypatch.setattr(LazyEmbedder, "encode_stream", None)  # it is told before anything is embedded
    result = run("map", write(tmp_path / "in.txt"), "--to", tmp_path / "map.html")
    assert (result.code, result.err) == (1, f"error: a map needs {what}; try: pip install 'embedry-cli[map]'\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background may have inherited another


def test_interrupted_it_leaves_nothing(tmp_path: Path, minilm_folder: Path) -> None:
    write(tmp_path / "in.txt", [f"line {number} of a file that takes a while" for number in range(50_000)])
    command = [sys.executable, "-m", "embedry_cli", "map", "in.txt", "--to", "map.html"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=_default_interrupt
    ) as process:
        deadline = time.monotonic() + 120
        while not any(tmp_path.glob(".map.html.*.part")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_progress_is_shown_on_a_terminal(tmp_path: Path, minilm_folder: Path) -> None:
    write(tmp_path / "in.txt")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "embedry_cli", "map", "in.txt", "--to", "map.html"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}
    subprocess.run(command, stderr=theirs, env=environment, cwd=tmp_path, check=True, timeout=120)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux tells that nobody writes any more
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    for step in (b"40 texts", b"finding neighbours", b"40 texts -> map.html"):
        assert step in shown
