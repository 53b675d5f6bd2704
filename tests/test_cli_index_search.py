"""`embedry search` through an index: the answers of a search without one, kept fresh, while it is written and after a kill."""

import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import run
from embedry import LazyEmbedder, LazyReranker
from embedry.reranking import Ranked
from embedry_cli import folder_quick, folder_search, index_places
from embedry_cli.app import group
from embedry_cli.index_store import Index
from index_folders import library, moved, opened, other_model, recorded
from waiting import until

QUESTIONS = ["when do I need new brake pads?", "which giant world circles the sun?", "how do I cook vegetables?"]


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minilm: LazyEmbedder) -> Path:
    return moved(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return library(tmp_path)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return recorded(monkeypatch)


@pytest.fixture
def other(minilm: LazyEmbedder, minilm_folder: Path) -> str:
    return other_model(minilm, minilm_folder)


def hits(*arguments: object) -> list[dict[str, Any]]:
    """What `embedry search` finds."""
    result = run("search", *arguments, "--json")
    assert result.code == 0, result.err
    found: list[dict[str, Any]] = json.loads(result.out)
    return found


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Compares hits, and their scores to 1e-5: a text is embedded beside others."""
    np.testing.assert_allclose([hit.pop("score") for hit in found], [hit.pop("score") for hit in expected], atol=1e-5)
    assert found == expected


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("top", ["2", "100"])
def test_an_index_gives_the_hits_of_a_search_without_one(question: str, top: str, folder: Path) -> None:
    expected = hits(question, folder, "--top", top)
    assert len(expected) == min(int(top), 5)
    run("index", folder)
    assert_same(hits(question, folder, "--top", top), expected)


def test_nothing_is_embedded_by_a_search_through_an_index(folder: Path, embedded: list[str]) -> None:
    run("index", folder)
    embedded.clear()
    result = run("search", "planets", folder)
    assert result.code == 0
    assert embedded == []
    assert result.err == f"index of {folder} by all-MiniLM-L6-v2, 0 seconds old: up to date\n"


def test_a_part_of_the_folder_is_searched_and_called_as_it_was_named(
    folder: Path, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deeper").mkdir()
    (folder / "deeper" / "stars.txt").write_text("Saturn is the planet with rings.\n")
    run("index", folder)
    embedded.clear()
    assert [hit["file"] for hit in hits("planets", folder / "deep")] == [str(folder / "deep" / "stars.txt")]
    assert [hit["file"] for hit in hits("planets", folder / "soup.txt")] == [str(folder / "soup.txt")]
    monkeypatch.chdir(folder)
    assert {hit["file"] for hit in hits("planets", ".")} == {
        "manual.md",
        "soup.txt",
        "deep/stars.txt",
        "deeper/stars.txt",
    }
    assert [hit["file"] for hit in hits("planets", "deep/")] == ["deep/stars.txt"]
    monkeypatch.chdir("deep")
    assert [hit["file"] for hit in hits("planets")] == ["stars.txt"], "without a path, this folder"
    assert len(hits("planets", "..", ".", "--top", "100")) == 6, "each passage once"
    assert embedded == []


def test_what_is_not_in_an_index_is_embedded(folder: Path, tmp_path: Path, embedded: list[str]) -> None:
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.txt").write_text("Hidden planets.\n")
    (tmp_path / "other.txt").write_text("Other planets.\n")
    run("index", folder)
    embedded.clear()
    found = hits("planets", tmp_path / "other.txt", folder / "deep", folder / ".hidden", "--top", "9")
    assert sorted(embedded) == ["Hidden planets.", "Other planets."]
    assert len(found) == 3
    with opened(folder) as index:
        assert not index.rows(".hidden")


def test_a_search_updates_an_index_of_which_little_changed(folder: Path, embedded: list[str]) -> None:
    run("index", folder)
    embedded.clear()
    (folder / "new.txt").write_text("Saturn is the planet with rings.\n")
    (folder / "deep" / "stars.txt").unlink()
    result = run("search", "planets", folder, "--json")
    assert embedded == ["Saturn is the planet with rings."]
    assert result.err.endswith(" old: updated for 2 files that changed\n")
    assert json.loads(result.out)[0]["file"] == str(folder / "new.txt")
    assert "stars.txt" not in result.out
    embedded.clear()
    assert run("search", "planets", folder).err.endswith(": up to date\n")
    assert embedded == []


def test_a_search_of_a_part_updates_the_whole(folder: Path, embedded: list[str]) -> None:
    run("index", folder)
    embedded.clear()
    (folder / "deep" / "new.txt").write_text("Saturn is the planet with rings.\n")
    (folder / "soup.txt").write_text("Peel the potatoes.\n")
    result = run("search", "planets", folder / "deep", folder)
    assert result.err.endswith(": updated for 2 files that changed\n")
    assert sorted(embedded) == ["Peel the potatoes.", "Saturn is the planet with rings."]
    with opened(folder) as index:
        assert set(index.rows()) == {"deep/new.txt", "deep/stars.txt", "manual.md", "picture.png", "soup.txt"}


def test_a_search_says_when_too_much_changed(
    folder: Path, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("index", folder)
    embedded.clear()
    monkeypatch.chdir(folder.parent)
    (folder / "new.txt").write_text("Saturn is the planet with rings.\n" * 3000)
    result = run("search", "planets", "library")
    assert embedded == []
    assert result.err.endswith(" old: 1 file changed since; to update it: embedry index library\n")
    with opened(folder) as index:
        assert index.facts.bytes_per_second is None, "it was not measured"
    run("index", "library")
    embedded.clear()
    with opened(folder) as index:
        assert index.facts.bytes_per_second is not None
        index.save(replace(index.facts, bytes_per_second=1000))
    text = (folder / "new.txt").read_text()
    (folder / "new.txt").write_text(text + "\nUranus.\n")
    assert run("search", "planets", "library").err.endswith(": updated for 1 file that changed\n"), (
        "the file is long, the change short"
    )
    assert embedded == ["Uranus."]
    assert run("search", "planets", "library").err.endswith(": up to date\n")


def test_a_folder_that_is_away_is_not_taken_out_of_its_index(folder: Path, tmp_path: Path) -> None:
    run("index", folder)
    folder.rename(tmp_path / "away")
    folder.mkdir()
    result = run("search", "planets", folder)
    assert result.err.endswith(f" old: 4 files changed since; to update it: embedry index {folder}\n")
    assert result.out.startswith("0.")
    with opened(folder) as index:
        assert index.counts() == (3, 5)
    assert run("index", folder).out.startswith(f"{folder}: 0 files, 0 passages")


def test_an_index_that_may_only_be_read_is_searched_as_it_is(
    folder: Path, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedry_cli.errors import OutputError

    run("index", folder)
    embedded.clear()

    def write(*_: object) -> None:
        raise OutputError("attempt to write a readonly database")

    monkeypatch.setattr(Index, "_write", write)  # these tests may run as root, who may write everything
    (folder / "new.txt").write_text("Saturn is the planet with rings.\n")
    result = run("search", "planets", folder)
    assert result.code == 0
    assert result.err.endswith(f" old: 1 file changed since; to update it: embedry index {folder}\n")
    assert "new.txt" not in result.out


def test_the_model_is_that_of_the_index(folder: Path, other: str, embedded: list[str]) -> None:
    run("index", folder, "-m", other)
    embedded.clear()
    assert run("search", "planets", folder).err.startswith(f"index of {folder} by {other}, ")
    assert embedded == []
    run("search", "planets", folder, "-m", "all-MiniLM-L6-v2")
    assert len(embedded) == 5, "the index has no vectors of that model"
    run("index", folder, "-m", "all-MiniLM-L6-v2")
    embedded.clear()
    latest = run("search", "planets", folder)
    assert latest.err.startswith(f"index of {folder} by all-MiniLM-L6-v2, "), "without a model, the latest"
    assert latest.out == run("search", "planets", folder, "-m", "all-MiniLM-L6-v2").out
    assert latest.out != run("search", "planets", folder, "-m", other).out
    assert embedded == []


def test_an_index_elsewhere_is_named(folder: Path, tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "own.sqlite"
    expected = hits("planets", folder)
    run("index", folder, "--index", place)
    assert_same(hits("planets", "--index", place), expected)
    monkeypatch.chdir(folder)
    assert [hit["file"] for hit in hits("planets", "--index", place)] == [
        os.path.relpath(hit["file"], folder) for hit in expected
    ]
    assert [hit["file"] for hit in hits("planets", "deep", "--index", place)] == ["deep/stars.txt"]
    result = run("search", "planets", "..", "--index", place)
    assert (result.code, result.err) == (2, f"error: .. is not in {folder}, the folder of the index {place}\n")
    result = run("search", "planets", "--index", place, "-m", other)
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith("; use --model all-MiniLM-L6-v2\n")
    result = run("search", "planets", "--index", tmp_path / "missing")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"error: the index {tmp_path / 'missing'} cannot be used: unable to open database file\n"


def test_without_a_path_this_folder_needs_an_index(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = "error: this folder has no index; name what to search, or make one: embedry index ."
    result = run("search", "planets")
    assert (result.code, result.out, result.err) == (2, "", f"{error}\n")
    run("index", folder)
    assert run("search", "planets").err == f"{error}; there are indexes of {folder}\n"
    monkeypatch.chdir(folder)
    assert run("search", "planets", "-m", "bge-small-en-v1.5").err.startswith(
        "error: this folder has no index of 'bge-small-en-v1.5'; "
    )


def test_an_empty_index_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run("index", tmp_path / "empty")
    result = run("search", "planets", tmp_path / "empty")
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith(f"error: no text to search in {tmp_path / 'empty'}\n")


def test_hits_of_an_index_are_reranked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rank(self: LazyReranker, query: str, documents: list[str], *, top_k: int) -> list[Ranked]:
        """The shortest first; models are compared in the tests of reranking."""
        order = sorted(range(len(documents)), key=lambda position: len(documents[position]))
        return [Ranked(position, -float(len(documents[position]))) for position in order[:top_k]]

    monkeypatch.setattr(LazyReranker, "rank", rank)
    reranked = ("planets", folder, "--rerank", "ms-marco-MiniLM-L6-v2", "--candidates", "3", "--top", "2")
    expected = hits(*reranked)
    assert [hit["text"][:9] for hit in expected] == ["Jupiter i", "## Lights"]
    run("index", folder)
    assert hits(*reranked) == expected


SLOWLY = """
import sys, time
from pathlib import Path
from embedry import LazyEmbedder, LazyReranker
from embedry.reranking import Ranked
from embedry_cli import folder_encode, index_places
index_places._home = lambda: Path(sys.argv[1])
folder_encode._FIRST = folder_encode._FEWEST = folder_encode._MOST = 3
encode = LazyEmbedder.encode
def slowly(self, texts, *, role, **options):
    time.sleep(0.02)
    return encode(self, texts, role=role, **options)
LazyEmbedder.encode = slowly
from embedry_cli.app import main
main(["index", sys.argv[2]])
"""
"""Indexes with small blocks and a pause after each, so that there is time to look on, or to kill it."""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of 120 texts."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03}.txt").write_text(f"The planet of number {number}.\n")
    return folder


@contextmanager
def indexing(place: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that indexes a folder, when it has stored something; it is killed at the end."""
    command = [sys.executable, "-c", SLOWLY, str(place), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        before = stored(folder)
        try:
            until(lambda: stored(folder) > before or process.poll() is not None)
            yield process
        finally:
            process.kill()


def by_file(hit: dict[str, Any]) -> str:
    """Scores of such texts are near to each other, so their order may differ."""
    file: str = hit["file"]
    return file


def stored(folder: Path) -> int:
    """How many files the folder's index has."""
    for place in index_places.indexes(str(folder)):
        with Index(place) as index:
            return index.counts()[0]
    return 0


def test_a_killed_run_goes_on(many: Path, own_place: Path, embedded: list[str]) -> None:
    seen = []
    for _ in range(2):
        with indexing(own_place, many) as process:
            assert process.poll() is None, process.communicate()
            process.send_signal(signal.SIGKILL)
            process.wait()
        seen.append(stored(many))
    assert 0 < seen[0] < seen[1] < 120, "the second went on"
    with opened(many) as index:
        assert index.facts.updated is None
    result = run("search", "the planet of number 7", many, "--top", "200", "--json")
    assert result.code == 0
    assert ", unfinished: " in result.err
    embedded.clear()
    assert run("index", many).code == 0
    assert len(embedded) <= 120 - seen[1]
    found = hits("the planet of number 7", many, "--top", "200")
    run("index", many, "--remove")
    expected = hits("the planet of number 7", many, "--top", "200")
    assert_same(sorted(found, key=by_file), sorted(expected, key=by_file))


def test_searches_and_other_runs_meanwhile(many: Path, own_place: Path) -> None:
    counts = []
    with indexing(own_place, many) as process:
        while process.poll() is None:
            result = run("search", "the planet of number 7", many, "--top", "200", "--json")
            assert result.code == 0, result.err
            found = json.loads(result.out)
            assert all(hit["text"] == f"The planet of number {int(Path(hit['file']).stem)}." for hit in found)
            counts.append(len(found))
            if len(counts) == 1:
                others = [run("index", many), run("index", many, "--remove")]
                if process.poll() is None:
                    assert [other.code for other in others] == [1, 1]
                    assert others[0].err == (
                        f"error: another process is indexing {many}; wait until it ends, and search meanwhile\n"
                    )
                    assert others[1].err == f"error: another process is indexing {many}; wait until it ends\n"
        assert process.returncode == 0, process.communicate()
    assert counts == sorted(counts)
    assert len(set(counts)) > 3, "it was searched while it grew"
    assert run("search", "planets", many).err.endswith(": up to date\n")


def test_an_interrupt_keeps_what_was_done(many: Path, own_place: Path) -> None:
    with indexing(own_place, many) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert 0 < stored(many) < 120


def test_a_plain_search_is_read_as_typer_reads_it() -> None:
    command = group().commands["search"].load()  # type: ignore[attr-defined]
    options = {name: parameter for parameter in command.params for name in parameter.opts}
    expected = {name: options[name].name for name in options if name.startswith("-") and name != "--help"}
    assert {name: parameter for name, (parameter, _) in folder_quick.OPTIONS.items()} == expected
    for name, (_, kind) in folder_quick.OPTIONS.items():
        assert options[name].is_flag == (kind is None)
    given = folder_quick.parsed(["what?"])
    assert given is not None
    defaults = {parameter.name: parameter.default for parameter in command.params if parameter.name in given}
    assert given == defaults | {"question": "what?"}
    function = inspect.signature(folder_search.search).parameters
    assert set(given) - {"as_json"} == {name for name, each in function.items() if each.kind is not each.VAR_KEYWORD}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["q", "a", "b"], {"question": "q", "paths": ["a", "b"]}),
        (["-m", "x", "q"], {"question": "q", "paths": None, "model": "x"}),
        (["q", "--top=3", "--json", "a", "--threads", "2"], {"top": 3, "as_json": True, "threads": 2, "paths": ["a"]}),
        (["--index", "i", "--", "-q-"], {"question": "-q-", "index": Path("i")}),
    ],
)
def test_plain_arguments(arguments: list[str], expected: dict[str, object]) -> None:
    given = folder_quick.parsed(arguments)
    assert given is not None
    assert given | expected == given


@pytest.mark.parametrize(
    "arguments", [[], ["q", "--help"], ["q", "--top", "x"], ["q", "--top", "0"], ["q", "--candidates", "0"], ["q", "-m"], ["q", "--nonsense"], ["caf\udce9"]]
)  # fmt: skip
def test_other_arguments_are_left_to_typer(arguments: list[str]) -> None:
    assert folder_quick.parsed(arguments) is None
    assert not folder_quick.answered(["search", *arguments])
