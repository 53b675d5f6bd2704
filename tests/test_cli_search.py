"""`embedry search`: the right passage comes first, with its file and line; what is no text is left out and counted."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import run
from embedry.views import LazyEmbedder
from embedry_cli.passages import Passage, split

MANUAL = """# Bicycle manual

## Tyres

Pump the tyres to four bar before every long ride.

## Brakes

Replace the pads when less than two millimetres of rubber are left, and see that the cable runs freely from the lever
to the caliper. A squeal is no danger; a lever that touches the handlebar is. Never put oil anywhere near the disc,
for the pads soak it up and have to be thrown away. After a change ride slowly and brake often for some minutes.

## Lights

Charge the lamp with the cable that came with it.
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with texts and with files that are none."""
    folder = tmp_path / "library"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "manual.md").write_text(MANUAL, encoding="utf-8")
    (folder / "deep" / "er" / "soup.txt").write_text("Boil the leeks for ten minutes.\n", encoding="utf-8")
    (folder / "deep" / "stars.txt").write_text("Jupiter is the largest planet of them all.\n", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG\0\0")
    (folder / "latin.txt").write_bytes("gar\u00e7on".encode("latin-1"))
    (folder / ".secret.txt").write_text("Jupiter, the biggest of the planets\n", encoding="utf-8")
    (folder / ".git").mkdir()
    (folder / ".git" / "notes.txt").write_text("Jupiter, the biggest of the planets\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("question", "file", "line"),
    [
        ("when do I need new brake pads?", "manual.md", 7),
        ("which giant world circles the sun?", "deep/stars.txt", 1),
        ("how do I cook vegetables?", "deep/er/soup.txt", 1),
    ],
)
def test_the_right_passage_comes_first(question: str, file: str, line: int, library: Path) -> None:
    result = run("search", question, library, "--json", "--top", "2")
    assert result.code == 0, result.err
    hits = json.loads(result.out)
    assert (hits[0]["file"], hits[0]["line"]) == (str(library / file), line)
    assert len(hits) == 2
    assert hits[0]["score"] >= hits[1]["score"]
    shown = run("search", question, library).out.splitlines()
    assert shown[0] == f"{hits[0]['score']:.3f}  {library / file}:{line}"


@pytest.mark.parametrize(
    ("question", "file"),
    [
        ("When do I get my money back?", "returns.txt"),
        ("can I come on a weekend?", "opening-hours.txt"),
        ("present for a friend", "gift-cards.txt"),
    ],
)
def test_the_examples_answer_questions_in_other_words(question: str, file: str) -> None:
    examples = Path(__file__).parents[1] / "docs" / "examples"
    hits = json.loads(run("search", question, examples, "--json").out)
    assert Path(hits[0]["file"]) == examples / file
    assert hits[0]["score"] > hits[1]["score"] + 0.1


def test_a_terminal_shows_the_same_in_color(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run("search", "planets", library).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    colored = run("search", "planets", library).out
    assert "\x1b[36m0." in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == plain
    monkeypatch.setenv("COLUMNS", "40")
    lines = re.sub(r"\x1b\[[\d;]*m", "", run("search", "brakes", library / "manual.md").out).splitlines()
    assert any(line.endswith("\u2026") and len(line) == 40 for line in lines), (
        "what is too long for the terminal is cut"
    )


def test_a_question_is_understood_in_the_c_locale(library: Path) -> None:
    question = "plan\u00e8tes"
    decoded = question.encode().decode("ascii", "surrogateescape")
    assert run("search", decoded, library).out == run("search", question, library).out
    wrong = run("search", "caf\udce9", library)
    assert (wrong.code, wrong.out, wrong.err.count("is not UTF-8")) == (2, "", 1)


def test_scores_are_those_of_query_and_document(library: Path, minilm: LazyEmbedder) -> None:
    hit = json.loads(run("search", "planets", library, "--json", "--top", "1").out)[0]
    expected = minilm.encode_query(["planets"])[0] @ minilm.encode_document([hit["text"]])[0]
    np.testing.assert_allclose(hit["score"], expected, atol=1e-6)


def test_each_side_takes_its_own_role(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, list[str]] = {"query": [], "document": []}
    real = LazyEmbedder.encode

    def encode(self: LazyEmbedder, texts: list[str], *, role: str, **options: Any) -> object:
        asked[role] += texts
        return real(self, texts, role=role, **options)

    monkeypatch.setattr(LazyEmbedder, "encode", encode)
    run("search", "what?", library / "deep")
    assert asked == {
        "query": ["what?"],
        "document": ["Jupiter is the largest planet of them all.", "Boil the leeks for ten minutes."],
    }


def test_what_is_no_text_is_counted_by_its_reason(library: Path) -> None:
    result = run("search", "planets", library)
    assert result.err == "skipped: 1 binary, 2 hidden, 1 not UTF-8\n"
    assert "secret" not in result.out
    named = run("search", "planets", library / ".secret.txt", library / ".secret.txt")
    assert (named.code, named.err) == (0, "")
    assert named.out.count(".secret.txt:1") == 1


def test_text_in_another_encoding_is_not_counted_as_binary(tmp_path: Path) -> None:
    (tmp_path / "stars.txt").write_text("Jupiter is the largest planet.\n", encoding="utf-8")
    (tmp_path / "wide.txt").write_text("Jupiter is the largest planet.\n", encoding="utf-16")
    (tmp_path / "unmarked.txt").write_text("Jupiter is the largest planet.\n", encoding="utf-16-le")
    (tmp_path / "ascii.pdf").write_bytes(b"%PDF-1.4\nJupiter is the largest planet.\n")
    (tmp_path / "late.bin").write_bytes(b"Jupiter is the largest planet.\n" * 1000 + b"\0")
    result = run("search", "planets", tmp_path)
    assert result.code == 0
    assert result.err == "skipped: 2 binary, 2 not UTF-8\n"
    assert result.out.count(".txt:1") == 1


def test_what_may_go_on_for_ever_is_skipped_unless_it_is_named(library: Path) -> None:
    os.mkfifo(library / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(library / "socket"))
    (library / "loop.txt").symlink_to("loop.txt")
    (library / "again").symlink_to(library)
    command = [sys.executable, "-m", "embedry_cli", "search", "planets"]  # which is stopped if it waits
    result = subprocess.run([*command, library], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0
    assert result.stderr == (
        "skipped: 1 binary, 2 hidden, 1 not UTF-8, 2 not a regular file, "
        "1 not readable (Too many levels of symbolic links)\n"
    )
    with subprocess.Popen(["sh", "-c", f"cat {library}/deep/stars.txt > {library}/pipe"]):
        result = subprocess.run([*command, library / "pipe"], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Jupiter" in result.stdout
    named = run("search", "planets", library / "loop.txt")
    assert (named.code, named.err) == (2, f"error: there is no file or folder {library}/loop.txt\n")


def test_a_large_file_is_skipped(library: Path) -> None:
    (library / "large.txt").write_bytes(b"planets\n" * 1_250_001)
    assert "1 larger than 10 MB" in run("search", "planets", library).err


def test_a_file_that_is_too_large_for_the_memory_is_skipped_even_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_bytes(b"planets\n" * 8_125_000)
    assert run("search", "planets", tmp_path / "large.txt").err.startswith("skipped: 1 larger than 64 MB\n")
    assert run("search", "planets", "/dev/zero").err.startswith("skipped: 1 binary\n")


def test_blocks_do_not_change_the_answer(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(run("search", "planets", library, "--json").out)
    monkeypatch.setattr("embedry_cli.folder_encode._FIRST", 1)
    monkeypatch.setattr("embedry_cli.folder_encode._MOST", 1)
    monkeypatch.setattr("embedry_cli.folder_encode._FEWEST", 1)
    single = json.loads(run("search", "planets", library, "--json").out)
    assert [hit["text"] for hit in single] == [hit["text"] for hit in whole]
    np.testing.assert_allclose([hit["score"] for hit in single], [hit["score"] for hit in whole], atol=1e-5)


def test_nothing_to_search_is_an_error(tmp_path: Path, library: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", library / "picture.png"):
        result = run("search", "anything", path)
        assert (result.code, result.out) == (2, "")
        assert result.err.endswith(f"error: no text to search in {path}\n")
    result = run("search", "anything", tmp_path / "missing")
    assert (result.code, result.err) == (2, f"error: there is no file or folder {tmp_path / 'missing'}\n")


def test_it_says_how_long_a_search_will_take_and_how_to_keep_its_vectors(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedry_cli.folder_encode._LONG", 0)
    monkeypatch.setattr("embedry_cli.folder_encode._FIRST", 1)
    said = run("search", "planets", library).err.splitlines()
    assert re.fullmatch(
        rf"embedding \d+ B of text will take about \d+ seconds?; to keep the vectors for other searches: "
        rf"embedry index {re.escape(str(library))}",
        said[0],
    )
    assert re.fullmatch(r"embedding: \d+%", said[1]), "a log shows the progress"
    assert "embedry index" not in run("search", "planets", library / "manual.md").err, "only a folder can be indexed"


def test_short_paragraphs_are_merged_and_keep_their_first_line() -> None:
    text = "\n\nTitle\n\nA short paragraph.\n\n\n" + "x" * 40 + "\n\nNext.\n"
    assert list(split("f", text, 60)) == [
        Passage("f", 3, "Title\n\nA short paragraph."),
        Passage("f", 8, "x" * 40),
        Passage("f", 10, "Next."),
    ]


def test_a_heading_goes_with_what_follows_it() -> None:
    starts = [(passage.line, passage.text.splitlines()[0]) for passage in split("f", MANUAL, 768)]
    assert starts == [(1, "# Bicycle manual"), (7, "## Brakes"), (13, "## Lights")]


def test_long_paragraphs_are_cut_between_lines_and_long_lines_between_words() -> None:
    lines = "\n".join(f"line {number} of many" for number in range(1, 11))
    found = list(split("f", lines, 60))
    assert [(passage.line, len(passage.text.splitlines())) for passage in found] == [(1, 4), (5, 4), (9, 2)]
    long = "first\n" + "word " * 50
    pieces = list(split("f", long, 60))
    assert {piece.line for piece in pieces[1:]} == {2}
    assert all(len(piece.text) <= 60 for piece in pieces)
    assert " ".join(piece.text.replace("\n", " ") for piece in pieces).split() == long.split()


@pytest.mark.parametrize("most", [10, 60, 768])
def test_no_text_is_lost_between_passages(most: int) -> None:
    found = list(split("f", MANUAL, most))
    assert "".join("".join(passage.text for passage in found).split()) == "".join(MANUAL.split())
    assert all(len(passage.text) <= most for passage in found)
    assert all(passage.text.split()[0] in MANUAL.splitlines()[passage.line - 1] for passage in found)
