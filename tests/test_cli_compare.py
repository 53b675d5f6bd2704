"""`embedry compare`: the numbers are those of the vectors, and what is shown fits where it is shown."""

import base64
import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage, to_tree
from scipy.spatial.distance import squareform

from command_line import run
from embedry import resolve
from embedry.views import LazyEmbedder
from embedry_cli import heat_map, heat_page

TEXTS = ["A cat sat on the mat.", "A kitten lay on the rug.", "Interest rates rose again."]

MANY = [f"{subject} {number}" for number in range(1, 8) for subject in ("a cat named", "shares of company", "bus line")]


def numbers(out: str) -> list[list[float]]:
    """The cells of the first heat map: every line until a blank one, without its header and its names."""
    return [[float(cell) for cell in line.split()[1:]] for line in out.split("\n\n")[0].splitlines()[1:]]


def test_the_matrix_is_that_of_the_vectors(minilm: LazyEmbedder) -> None:
    vectors = minilm.encode_document(TEXTS)
    found = json.loads(run("compare", *TEXTS, "--json").out)
    np.testing.assert_allclose(found.pop("matrix"), vectors @ vectors.T, atol=1e-6)
    assert found == {"similarity": "cosine", "texts": TEXTS, "queries": None, "model": "all-MiniLM-L6-v2"}
    result = run("compare", *TEXTS)
    np.testing.assert_allclose(numbers(result.out), vectors @ vectors.T, atol=0.0051)
    listed = "".join(f"{number}  {text}\n" for number, text in enumerate(TEXTS, 1))
    (low, unlike), *_, (high, alike) = sorted(
        (vectors[one] @ vectors[two], f"{one + 1} and {two + 1}") for one, two in ((0, 1), (0, 2), (1, 2))
    )
    summary = f"cosine: least alike {unlike} ({low:.2f}), most alike {alike} ({high:.2f})"
    assert alike == "1 and 2"
    assert result.out.endswith(f"\n\n{listed}\n{summary}\n")


def test_texts_come_from_standard_input_and_two_are_enough() -> None:
    piped = run("compare", stdin="first\nsecond ☃\n".encode())
    assert piped.out == run("compare", "first", "second ☃").out
    assert "2  second ☃\n" in piped.out


def test_arguments_are_read_as_utf8_in_every_locale() -> None:
    undecoded = [text.encode().decode("ascii", "surrogateescape") for text in ("Straße", "für")]  # as in LC_ALL=C
    found = json.loads(run("compare", undecoded[0], "a", "--query", undecoded[1], "--json").out)
    assert (found["texts"], found["queries"]) == (["Straße", "a"], ["für"])


def test_blank_lines_are_skipped() -> None:
    piped = run("compare", "--json", stdin=b"first\n\nsecond\n  \n")
    assert json.loads(piped.out)["texts"] == ["first", "second"]
    assert piped.err == "skipped: 2 blank texts\n"


def test_of_many_texts_the_most_similar_pairs_are_shown(minilm: LazyEmbedder) -> None:
    vectors = minilm.encode_document(MANY)
    scores = vectors @ vectors.T
    pairs = sorted(((float(scores[a, b]), a, b) for a in range(21) for b in range(a + 1, 21)), reverse=True)
    lines = run("compare", *MANY).out.splitlines()
    values = [score for score, _, _ in pairs]
    spread = f"cosine {min(values):.2f} to {max(values):.2f}, median {np.median(values):.2f}"
    assert lines[0] == f"21 texts, 210 pairs, {spread}"
    assert lines[2] == "Most alike"
    expected = []
    for score, a, b in pairs[:10]:
        expected += [f"{score:.2f}  {a + 1:>2}  {MANY[a]}", f"      {b + 1:>2}  {MANY[b]}"]
    assert lines[3:23] == expected
    assert lines[-1] == "All pairs: --to heat.html draws them, --json prints them."
    assert run("compare", *MANY[:20]).out.split()[:20] == [str(number) for number in range(1, 21)]


def test_of_many_texts_the_best_are_shown_for_each_query(minilm: LazyEmbedder) -> None:
    queries = ["a pet", "money"]
    scores = minilm.encode_query(queries) @ minilm.encode_document(MANY).T
    lines = run("compare", *MANY, *(part for query in queries for part in ("--query", query))).out.splitlines()
    expected = []
    for number, query in enumerate(queries):
        best = np.argsort(-scores[number])[:3]
        expected += [
            f"Q{number + 1}  {query}",
            *(f"  {scores[number, at]:.2f}  {at + 1:>2}  {MANY[at]}" for at in best),
        ]
    assert lines[:8] == expected
    many = run("compare", TEXTS[0], *(part for text in MANY for part in ("--query", text)))
    assert "\nand 1 more\n" in many.out


def page_data(path: Path) -> dict[str, Any]:
    """What the page shows, with its numbers as an array: one row a text."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    data: dict[str, Any] = json.loads(found)
    values = np.frombuffer(base64.b64decode(data["values"]), dtype="<f4")
    return data | {"values": values.reshape(len(data["texts"]), -1)}


def test_the_page_has_all_numbers(tmp_path: Path, minilm: LazyEmbedder) -> None:
    result = run("compare", *TEXTS, "-o", tmp_path / "heat.html")
    assert (result.code, result.out, result.err) == (0, "", f"3 texts -> {tmp_path / 'heat.html'}\n")
    vectors = minilm.encode_document(TEXTS)
    data = page_data(tmp_path / "heat.html")
    np.testing.assert_allclose(data["values"], vectors @ vectors.T, atol=1e-6)
    assert (data["similarity"], data["texts"], data["queries"]) == ("cosine", TEXTS, None)
    assert sorted(data["order"]) == [0, 1, 2]
    assert data["order"][1] != 2  # the text about money is not between those about pets
    others = (vectors @ vectors.T)[np.triu_indices(3, 1)]
    assert (data["low"], data["high"]) == (pytest.approx(others.min()), pytest.approx(others.max()))


def test_the_page_of_queries(tmp_path: Path, minilm: LazyEmbedder) -> None:
    result = run("compare", *TEXTS, "--query", "a pet", "--query", "money", "--to", tmp_path / "heat.html", "--json")
    scores = minilm.encode_query(["a pet", "money"]) @ minilm.encode_document(TEXTS).T
    np.testing.assert_allclose(json.loads(result.out)["matrix"], scores, atol=1e-6)
    data = page_data(tmp_path / "heat.html")
    np.testing.assert_allclose(data["values"], scores.T, atol=1e-6)
    assert data["queries"] == ["a pet", "money"]
    assert data["order"] == np.argsort(-scores.max(axis=0)).tolist()


def test_similar_texts_are_neighbors_in_the_order() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    matrix = (vectors @ vectors.T).astype(np.float32)
    order = heat_page.alike_together(matrix).tolist()
    assert sorted(order) == list(range(60))
    distances = np.clip(1 - matrix.astype(np.float64), 0, None)
    np.fill_diagonal(distances, 0)
    _, nodes = to_tree(linkage(squareform(distances, checks=False), "average"), rd=True)
    for node in nodes:  # every group that is joined lies together
        places = [order.index(leaf) for leaf in node.pre_order()]
        assert max(places) - min(places) == len(places) - 1


def test_queries_and_texts_go_through_their_own_prompts(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("bert", prompts={"query": "query: ", "document": "passage: "})
    embedder = resolve(folder)
    documents, queries = embedder.encode_document(TEXTS), embedder.encode_query(["a pet", "money"])
    found = json.loads(run("compare", *TEXTS, "--model", folder, "--query", "a pet", "--query", "money", "--json").out)
    np.testing.assert_allclose(found["matrix"], queries @ documents.T, atol=1e-6)
    out = run("compare", TEXTS[0], "--model", folder, "--query", "a pet").out
    np.testing.assert_allclose(numbers(out), queries[:1] @ documents[:1].T, atol=0.0051)
    assert f"\nQ1  a pet\n 1  {TEXTS[0]}\n" in out
    asked = embedder.encode_query(TEXTS)
    found = json.loads(run("compare", *TEXTS, "--model", folder, "--role", "query", "--json").out)
    np.testing.assert_allclose(found["matrix"], asked @ asked.T, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alone"], "there is nothing to compare 1 text with; give two or more, or use --query"),
        ([], "there is nothing to compare 0 texts with"),
        (["--query", "alone"], "there is nothing to compare 0 texts with"),
        (["a", "b", "--role", "quarry"], "model 'all-MiniLM-L6-v2' has no role 'quarry'"),
        (["a", "b", "--threads", "0"], "threads must be a positive integer, got 0"),
        (["a", "b", "--to", "heat.pdf"], "heat.pdf must end in .html"),
        (
            ["a"] * 2001,
            "2,001 texts are too many, at most 2,000 are compared; draw more as a map: embedry map FILE --to map.html",
        ),
        (["a", "b", "--model", "no-such"], "no model is called 'no-such'"),
    ],
)
def test_what_cannot_be_compared(arguments: list[str], message: str) -> None:
    result = run("compare", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")


def test_a_page_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "heat.html").write_text("old")
    result = run("compare", "a", "b", "--to", tmp_path / "heat.html")
    assert (result.code, "heat.html exists; name another file, or replace it: --overwrite" in result.err) == (1, True)
    assert (tmp_path / "heat.html").read_text() == "old"
    assert run("compare", "a", "b", "--to", tmp_path / "heat.html", "--overwrite").code == 0
    assert page_data(tmp_path / "heat.html")["texts"] == ["a", "b"]


def on_a_terminal(texts: list[str], columns: int, **environment: str) -> str:
    """What `compare` shows on a terminal that is so wide."""
    ours, theirs = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": str(columns)} | environment
    subprocess.run(
        [sys.executable, "-m", "embedry_cli", "compare", *texts],
        stdout=theirs, env=os.environ | settings, check=True, timeout=120,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux tells that nobody writes any more
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


ESCAPES = re.compile(r"\x1b\[[\d;]*m")


def test_a_terminal_shows_colors_from_the_least_alike_to_the_most(minilm_folder: Path) -> None:
    shown = on_a_terminal(TEXTS, 80)
    cells = re.findall(r"\x1b\[([\d;]*)m +(-?\d\.\d\d) ", shown)
    looks = {value: look for look, value in cells}
    values = sorted(looks, key=float)
    assert looks.pop("1.00") == "2"  # its own likeness has no color
    assert looks[values[0]] == "38;2;255;255;255;48;2;68;1;84"  # white on the dark end of the scale
    assert looks[values[-2]] == "38;2;0;0;0;48;2;253;231;37"  # black on the bright end
    assert "\x1b[" not in run("compare", *TEXTS).out
    assert "48;" not in on_a_terminal(TEXTS, 80, NO_COLOR="1")


def test_a_narrow_terminal_gets_the_columns_below_each_other(minilm_folder: Path) -> None:
    texts = [f"the text that has the number {number} of them all" for number in range(1, 8)]
    lines = ESCAPES.sub("", on_a_terminal(texts, 30)).splitlines()
    assert max(map(len, lines)) <= 30
    headers = [line.split() for line in lines if re.fullmatch(r"[\d ]+", line)]
    assert headers == [["1", "2", "3", "4"], ["5", "6", "7"]]
    assert "1  the text that has the numb…" in lines
    cells = [cell for line in lines for cell in re.findall(r"\d\.\d\d ", line)]
    assert len(cells) == 49


def test_the_colors_of_two_texts_that_are_alike() -> None:
    (own, one), (other, _) = heat_map._styles(np.array([[np.nan, 0.9], [0.9, np.nan]], dtype=np.float32))
    assert own.bgcolor is None
    assert one == other
    assert one.bgcolor is not None
    assert one.bgcolor.triplet == (33, 145, 140)  # the middle: there is nothing to tell apart
