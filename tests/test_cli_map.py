"""`embedry map`: texts that are alike are near each other, clusters have fitting names, and the page holds what was given."""

import base64
import contextlib
import csv
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
from embedry_cli.map_page import PALETTE, Groups, Scale
from embedry_cli.stages import notes

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


def data(page: Path) -> dict[str, Any]:
    """What the page shows."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    value: dict[str, Any] = json.loads(found)
    return value


def numbers(packed: str) -> NDArray[np.float32]:
    """Numbers as the page's script reads them."""
    return np.frombuffer(base64.b64decode(packed), dtype="<f4")


def points(page: Path) -> NDArray[np.float32]:
    """Where the texts are: float32 (n, 2)."""
    return numbers(data(page)["points"]).reshape(-1, 2)


def stages(err: str) -> list[str]:
    """The lines on stderr, without those that are about the progress inside a stage and appear on a slow machine."""
    return [line for line in err.splitlines() if not line.endswith("%")]


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
    assert stages(result.err) == ["embedding 40 texts", "projecting", "writing", f"40 texts -> {folder / 'map.html'}"]
    return folder / "map.html"


def test_subjects_are_apart_and_named(page: Path) -> None:
    found = data(page)
    assert found["texts"] == TEXTS
    assert (near(points(page)) % 2 == np.arange(40) % 2).all()
    groups = found["groups"]
    assert (groups["title"], groups["written"]) == ("Clusters", True)
    assert sorted(np.bincount(groups["labels"])) == [20, 20]
    assert [label % 2 for label in groups["labels"]] in ([0, 1] * 20, [1, 0] * 20)
    words = [set(name.split(", ")) for name in groups["names"]]
    cooking, space = sorted(words, key=lambda some: "orbit" in some or "telescope" in some)
    assert cooking <= {"kitchen", "butter", "recipe", "cook", "salt", "hour", "oven", "needs"}
    assert space <= {"orbit", "telescope", "astronomers", "measured", "watched"}
    assert [groups["labels"][middle] for middle in groups["middles"]] == [0, 1]


def test_the_page_needs_nothing_else_and_is_the_same_every_time(page: Path, tmp_path: Path) -> None:
    assert re.findall(r"(?:src|href|url|@import|import)\s*[=(]", page.read_text()) == []
    assert run("map", page.with_name("in.jsonl"), "--to", tmp_path / "again.html").code == 0
    assert (tmp_path / "again.html").read_text() == page.read_text()


@pytest.mark.parametrize("name", ["in.txt", "in.csv", "in.tsv", "in.parquet"])
def test_every_format_gives_the_same_map(name: str, page: Path, tmp_path: Path) -> None:
    assert run("map", write(tmp_path / name), "-o", tmp_path / "map.html").code == 0
    np.testing.assert_array_equal(points(tmp_path / "map.html"), points(page))
    if name != "in.txt":
        numbered = [str(number) for number in range(40)]
        assert data(tmp_path / "map.html")["columns"] == [["subject", ["cooking", "space"] * 20], ["number", numbered]]


def test_color_by_a_column(page: Path, tmp_path: Path) -> None:
    to = tmp_path / "map.html"
    assert run("map", page.with_name("in.jsonl"), "--to", to, "--color", "subject").code == 0
    groups = data(to)["groups"]
    assert (groups["title"], groups["names"], groups["written"]) == ("subject", ["cooking", "space"], False)
    assert groups["labels"] == [0, 1] * 20


def test_many_numbers_are_a_scale(page: Path, tmp_path: Path) -> None:
    to = tmp_path / "map.html"
    assert run("map", page.with_name("in.jsonl"), "--to", to, "--color", "number").code == 0
    scale = data(to)["scale"]
    np.testing.assert_array_equal(numbers(scale["values"]), np.arange(40.0))
    assert scale["name"] == "number"
    assert (scale["low"], scale["high"]) == (
        pytest.approx(0.39),
        pytest.approx(38.61),
    )  # percentiles 1 and 99 of 0 to 39
    assert "groups" not in data(to)


def test_the_groups_of_a_column() -> None:
    few = command._by_column("n", [1, 2, 1, None, True])
    assert isinstance(few, Groups)
    assert (few.title, few.names, few.labels.tolist(), few.rest) == ("n", ["1", "2", "True"], [0, 1, 0, -1, 2], "none")
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
    found = points(tmp_path / "map.html")
    assert found.shape == (count, 2)
    assert np.isfinite(found).all()
    assert len(np.unique(found, axis=0)) == count


def test_equal_texts_are_one_point_and_blank_ones_none(tmp_path: Path) -> None:
    texts = [TEXTS[0], "", TEXTS[1], TEXTS[0], "  ", TEXTS[2]]
    result = run("map", write(tmp_path / "in.csv", texts), "--to", tmp_path / "map.html")
    assert stages(result.err)[:2] == ["skipped: 2 blank texts", "embedding 3 texts"]
    assert stages(result.err)[-1] == f"4 texts -> {tmp_path / 'map.html'}"
    found = data(tmp_path / "map.html")
    assert found["texts"] == [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2]]
    assert dict(found["columns"])["number"] == ["0", "2", "3", "5"]
    places = [tuple(place) for place in points(tmp_path / "map.html").tolist()]
    assert places[0] == places[2]
    assert len(set(places)) == 3


def test_far_points_do_not_take_the_room_of_the_others() -> None:
    from embedry_cli.projection import _closed

    random = np.random.default_rng(0)
    body = random.uniform(size=(900, 2))
    far = random.uniform(size=(100, 2)) * 0.1 + [5, -2]
    placed = np.vstack([body, far, [[0.5, 40]]]).astype(np.float32)
    closed = _closed(placed)
    for axis in (0, 1):  # nothing changes sides
        np.testing.assert_array_equal(np.argsort(closed[:, axis]), np.argsort(placed[:, axis]))
    for part in (slice(900), slice(900, 1000)):  # and groups stay as they are
        before, after = placed[part] - placed[part][0], closed[part] - closed[part][0]
        np.testing.assert_allclose(after, before, atol=1e-4)
    assert (np.ptp(closed[:900], axis=0) / np.ptp(closed, axis=0) > 0.6).all()
    assert (np.ptp(placed[:900], axis=0) / np.ptp(placed, axis=0) < 0.2).all()


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
        {"text": f"<b>{text}</b> </script><script>alert(1)</script> &amp; {{title}}", "<i>{data}": f"{text}\ud800"}
        for text in TEXTS[:4]
    ]
    (tmp_path / "<u>&.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("map", tmp_path / "<u>&.jsonl", "--to", tmp_path / "map.html").code == 0
    written = (tmp_path / "map.html").read_text()
    for harmful in ("alert(1)</script>", "<script>alert", "<u>&", "<i>"):
        assert harmful not in written
    assert written.count("&lt;u&gt;&amp;.jsonl") == 2
    found = data(tmp_path / "map.html")
    assert found["texts"] == [row["text"] for row in rows]
    assert found["columns"] == [["<i>{data}", [row["<i>{data}"] for row in rows]]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.txt", "--to", "map.pdf"], "map.pdf must end in .html"),
        (["in.txt", "--to", "old.html"], "old.html exists; name another file, or replace it: --overwrite"),
        (["in.txt", "--to", "no/map.html"], "there is no folder no to write map.html to"),
        (["none.txt", "--to", "map.html"], "there is no file none.txt"),
        (["in.txt", "--to", "map.html", "--role", "quarry"], "model 'all-MiniLM-L6-v2' has no role 'quarry'"),
        (["in.txt", "--to", "map.html", "--threads", "0"], "threads must be a positive integer, got 0"),
        (["in.jsonl", "--to", "map.html", "--column", "body"], "in.jsonl:1: no column 'body'; choose one with --column: "),
        (["in.jsonl", "--to", "map.html", "--color", "hue"], "in.jsonl has no column 'hue' to color by; choose one of text, subject, number"),
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
    told = [line for line in stages(result.err) if not line.startswith(("skipped: ", "embedding "))]
    assert len(told) == 1
    assert sorted(tmp_path.iterdir()) == before
    assert Path("old.html").read_text() == "old"


def test_a_page_is_replaced_when_asked(tmp_path: Path) -> None:
    (tmp_path / "map.html").write_text("old")
    assert run("map", write(tmp_path / "in.txt", TEXTS[:4]), "--to", tmp_path / "map.html", "--overwrite").code == 0
    assert data(tmp_path / "map.html")["texts"] == TEXTS[:4]


def test_without_the_extra_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.delitem(sys.modules, "embedry_cli.projection", raising=False)
    monkeypatch.delattr(embedry_cli, "projection", raising=False)
    monkeypatch.setattr(LazyEmbedder, "encode_stream", None)  # it is told before anything is embedded
    result = run("map", write(tmp_path / "in.txt"), "--to", tmp_path / "map.html")
    assert (result.code, result.err) == (1, 'error: a map needs umap-learn; try: pip install "embedry[map]"\n')
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_a_stage_that_takes_long_is_noted_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("embedry_cli.stages.time.monotonic", lambda: clock[0])
    note = notes()
    for clock[0], text in (
        (1, "one"),
        (2, "one: 10%"),
        (12, "one: 40%"),
        (13, "two"),
        (14, "two: 1%"),
        (23.5, "two: 99%"),
    ):
        note(text)
    assert capsys.readouterr().err.splitlines() == ["one", "one: 40%", "two", "two: 99%"]


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
    write(tmp_path / "in.txt", TEXTS[:12])  # too few for UMAP, which takes long to compile
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
    for step in (b"12 texts", b"projecting", b"12 texts -> map.html"):
        assert step in shown
