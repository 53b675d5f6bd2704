"""`embedry index`: what is read and what is skipped, and that only what changed is embedded."""

import os
import stat
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from command_line import run
from embedry.views import LazyEmbedder
from embedry_cli import index_places
from embedry_cli.folder_files import Entry, Walk
from index_folders import library, moved, opened, other_model, recorded
from test_cli_search import MANUAL


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


def test_a_folder_is_indexed_once(folder: Path, embedded: list[str], minilm: LazyEmbedder) -> None:
    result = run("index", folder)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == f"{folder}: 3 files, 5 passages, by all-MiniLM-L6-v2"
    assert lines[1].startswith("embedded 5 passages of 3 files in ")
    assert lines[1].endswith(" s; 0 unchanged, 0 removed")
    assert result.err == "skipped: 1 binary\n"
    assert len(embedded) == 5
    with opened(folder) as index:
        row = index.file("manual.md")
        assert row is not None
        assert [line for line, _ in row.passages] == [1, 7, 13]
        vectors = np.frombuffer(row.vectors, "<f4").reshape(-1, minilm.dims)
        np.testing.assert_allclose(vectors, minilm.encode_document([text for _, text in row.passages]), atol=1e-5)
    embedded.clear()
    again = run("index", folder)
    assert again.out.splitlines()[1].startswith("embedded 0 passages of 0 files in ")
    assert "; 3 unchanged, 0 removed" in again.out
    assert again.err == "skipped: 1 binary\n"
    assert embedded == []


def test_only_what_changed_is_embedded(folder: Path, embedded: list[str]) -> None:
    run("index", folder)
    embedded.clear()
    (folder / "soup.txt").write_text("Peel the potatoes.\n", encoding="utf-8")
    (folder / "new.txt").write_text("A new text.\n", encoding="utf-8")
    (folder / "deep" / "stars.txt").unlink()
    result = run("index", folder)
    assert sorted(embedded) == ["A new text.", "Peel the potatoes."]
    assert "; 1 unchanged, 1 removed" in result.out
    with opened(folder) as index:
        assert set(index.rows()) == {"manual.md", "new.txt", "soup.txt", "picture.png"}
        assert index.counts() == (3, 5)


def test_passages_that_a_changed_file_had_before_keep_their_vectors(
    folder: Path, embedded: list[str], minilm: LazyEmbedder
) -> None:
    run("index", folder)
    embedded.clear()
    (folder / "manual.md").write_text("First line.\n\n" + MANUAL.replace("Charge", "Never charge"), encoding="utf-8")
    run("index", folder)
    with opened(folder) as index:
        row = index.file("manual.md")
    assert row is not None
    texts = [text for _, text in row.passages]
    assert embedded == [texts[0], texts[3]]
    assert "First line" in texts[0]
    assert "Never charge" in texts[3]
    assert [line for line, _ in row.passages] == [1, 3, 9, 15]
    vectors = np.frombuffer(row.vectors, "<f4").reshape(-1, minilm.dims)
    np.testing.assert_allclose(vectors, minilm.encode_document(texts), atol=1e-5)


def test_the_content_decides_and_not_the_time(folder: Path, embedded: list[str]) -> None:
    run("index", folder)
    embedded.clear()
    os.utime(folder / "soup.txt", (1, 1))
    assert "; 2 unchanged" in run("index", folder).out, "it is read again"
    assert embedded == [], "and found to be the same"
    assert "; 3 unchanged" in run("index", folder).out
    before = (folder / "soup.txt").stat()
    (folder / "soup.txt").write_text("Boil the beets for six minutes.\n", encoding="utf-8")  # as long as before
    os.utime(folder / "soup.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (folder / "soup.txt").stat().st_size == before.st_size
    run("index", folder)
    assert embedded == ["Boil the beets for six minutes."]


def test_a_file_that_becomes_text_or_no_longer_is(folder: Path, embedded: list[str]) -> None:
    run("index", folder)
    embedded.clear()
    (folder / "picture.png").write_text("No longer a picture.\n", encoding="utf-8")
    (folder / "soup.txt").write_bytes(b"\0")
    (folder / "deep" / "stars.txt").write_text("", encoding="utf-8")
    result = run("index", folder)
    assert result.out.startswith(f"{folder}: 3 files, 4 passages")
    assert result.err == "skipped: 1 binary\n"
    assert embedded == ["No longer a picture."]


def test_what_is_skipped_is_counted_by_its_reason(folder: Path) -> None:
    (folder / ".hidden.txt").write_text("hidden")
    (folder / ".git").mkdir()
    (folder / "latin.txt").write_bytes("gar\u00e7on".encode("latin-1"))
    (folder / "large.txt").write_bytes(b"large\n" * 200_000)
    (folder / ".gitignore").write_text("build/\n*.log\n")
    (folder / "build").mkdir()
    (folder / "build" / "out.txt").write_text("built")
    (folder / "deep" / "run.log").write_text("logged")
    os.mkfifo(folder / "pipe")
    expected = (
        "skipped: 1 binary, 3 hidden, 2 ignored by .gitignore, 1 larger than 1 MB, 1 not UTF-8, 1 not a regular file\n"
    )
    for size in ("--max-size", "1"), ():
        result = run("index", folder, *size)
        assert (result.code, result.err) == (0, expected), "the size is remembered"
        assert result.out.startswith(f"{folder}: 3 files, 5 passages")
    (folder / ".gitignore").write_text("soup.txt\n")
    result = run("index", folder)
    assert result.out.startswith(f"{folder}: 4 files, 6 passages")
    assert result.out.endswith("2 unchanged, 1 removed\n")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Git repository with ignore files at several levels."""
    top = tmp_path / "repository"
    rules = {
        "": "# a comment\n*.log\n/top.txt\nbuild/\n!important.log\ndocs/**/draft-*\n\\#odd\n!\ntrailing \nname with space.txt\n",
        "src": "!debug.log\ngenerated.*\n/only-here/\n",
        "src/deep": "generated.py\n!generated.txt\n*.tmp\n",
    }
    names = (
        "a.log", "important.log", "top.txt", "src/top.txt", "build/x.txt", "src/build/y.txt", "src/build.txt",
        "docs/draft-1", "docs/a/b/draft-2", "docs/final", "#odd", "trailing", "name with space.txt", "src/debug.log",
        "src/generated.c", "src/deep/generated.py", "src/deep/generated.txt", "src/deep/only-here/z.txt",
        "src/only-here/z.txt", "src/deep/x.tmp", "x.tmp", "caf\u00e9.txt", "src/caf\u00e9.log",
    )  # fmt: skip
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    for place, text in rules.items():
        (top / place / ".gitignore").write_text(text)
    subprocess.run(["git", "init", "-q", top], check=True)
    return top


@pytest.mark.parametrize("inside", ["", "src", "src/deep"])
def test_ignore_files_mean_what_git_means(repository: Path, inside: str) -> None:
    command = ["git", "-C", repository / inside, "ls-files", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    expected = {name for name in listed if name and not name.endswith(".gitignore")}
    assert {entry.name for entry in Walk().entries(str(repository / inside)) if not entry.skipped} == expected
    assert len(expected) == {"": 9, "src": 5, "src/deep": 2}[inside]


def test_an_ignored_folder_is_read_where_it_is_named(repository: Path) -> None:
    entries = Walk().entries(str(repository / "build"))
    assert [(entry.name, entry.skipped) for entry in entries] == [("x.txt", None)]


def test_ignore_files_above_are_those_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*\n")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.txt").write_text("a")
    assert [entry.skipped for entry in Walk().entries(str(tmp_path / "plain"))] == [None]
    assert [entry.skipped for entry in Walk().entries(str(tmp_path))] == ["hidden", "ignored by .gitignore", "hidden"][
        :2
    ]


def test_a_file_of_several_names_is_read_once_and_links_to_folders_not_at_all(folder: Path) -> None:
    (folder / "again").symlink_to(folder)
    (folder / "deep" / "soup-link.txt").symlink_to(folder / "soup.txt")
    os.link(folder / "soup.txt", folder / "deep" / "hard.txt")
    (folder / "broken.txt").symlink_to("nowhere.txt")
    entries = list(Walk().entries(str(folder)))
    assert Counter(entry.skipped for entry in entries) == Counter(
        {None: 4, "not readable (No such file or directory)": 1}
    )
    assert [entry.name for entry in entries if not entry.skipped] == [
        "manual.md", "picture.png", "soup.txt", "deep/stars.txt",
    ]  # fmt: skip


def test_names_may_be_anything(folder: Path, embedded: list[str]) -> None:
    odd = ["caf\u00e9 \u65e5\u672c\u8a9e.txt", "new\nline.txt", "'\"%_[x].txt", os.fsdecode(b"caf\xe9.txt")]
    for number, name in enumerate(odd):
        (folder / name).write_text(f"text {number}")
    assert run("index", folder).code == 0
    embedded.clear()
    assert "; 7 unchanged, 0 removed" in run("index", folder).out
    assert embedded == []
    with opened(folder) as index:
        assert set(odd) < set(index.rows())


def test_an_empty_folder_is_indexed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("index", tmp_path / "empty")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{tmp_path / 'empty'}: 0 files, 0 passages")
    (tmp_path / "empty" / "a.txt").write_text("a text")
    assert "1 file, 1 passage" in run("index", tmp_path / "empty").out


def test_only_its_owner_may_read_an_index(folder: Path, tmp_path: Path) -> None:
    run("index", folder)
    run("index", folder, "--index", tmp_path / "own.sqlite")
    for place in (*index_places.indexes(), tmp_path / "own.sqlite"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_a_link_to_a_folder_is_that_folder(folder: Path, tmp_path: Path, embedded: list[str]) -> None:
    run("index", folder)
    embedded.clear()
    (tmp_path / "link").symlink_to(folder)
    assert "; 3 unchanged" in run("index", tmp_path / "link").out
    assert embedded == []


def test_each_model_has_its_own_index(folder: Path, embedded: list[str], other: str) -> None:
    run("index", folder)
    result = run("index", folder, "-m", other)
    assert result.out.startswith(f"{folder}: 3 files, 5 passages, by {other}")
    assert len(index_places.indexes(str(folder))) == 2
    embedded.clear()
    result = run("index", folder)
    assert result.out.startswith(f"{folder}: 3 files, 5 passages, by {other}"), "without a model, the latest"
    assert embedded == []


def test_int8_is_a_space_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()  # so that nothing is loaded
    for options in ((), ("--precision", "int8")):
        result = run("index", tmp_path / "empty", "-m", "all-MiniLM-L6-v2", *options)
        assert result.code == 0, result.err
    assert len(index_places.indexes(str(tmp_path / "empty"))) == 2


def test_an_index_of_another_model_or_folder_is_refused(
    folder: Path, tmp_path: Path, other: str, embedded: list[str]
) -> None:
    place = tmp_path / "own.sqlite"
    assert run("index", folder, "--index", place).code == 0
    assert index_places.indexes() == []
    embedded.clear()
    result = run("index", folder, "--index", place, "-m", other)
    assert (result.code, result.out, embedded) == (2, "", [])
    assert result.err.startswith(f"error: the index {place} has vectors of 'all-MiniLM-L6-v2' in space ")
    assert result.err.endswith("; use --model all-MiniLM-L6-v2\n")
    result = run("index", folder / "deep", "--index", place)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {place} is the index of {folder}; name another file for {folder / 'deep'}\n"
    result = run("index", folder, "--index", place, "--precision", "int8")
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith(
        f"make another index: embedry index {folder} --model all-MiniLM-L6-v2 --precision int8\n"
    )
    assert "; 3 unchanged" in run("index", folder, "--index", place).out


@pytest.mark.parametrize("content", [b"some text\n" * 200, b"SQLite format 3\0 and then nothing of it" * 99])
def test_what_is_not_an_index_is_left_alone(folder: Path, tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "notes.txt"
    place.write_bytes(content)
    for command in (("index", folder), ("search", "leeks", folder)):
        result = run(*command, "--index", place)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"error: {place} is not an index, or it is damaged: ")
    assert place.read_bytes() == content


def test_a_database_of_another_program_is_left_alone(folder: Path, tmp_path: Path) -> None:
    import sqlite3

    place = tmp_path / "other.sqlite"
    with sqlite3.connect(place) as database:
        database.execute("CREATE TABLE facts (json TEXT)")
    database.close()
    before = place.read_bytes()
    result = run("index", folder, "--index", place)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {place} is not an index, or one of another version of embedry\n"
    assert place.read_bytes() == before


def test_wrong_arguments_are_errors(folder: Path, tmp_path: Path) -> None:
    for arguments, error in {
        (): "name a folder to index, or list the indexes: embedry index --list",
        (tmp_path / "missing",): f"there is no folder {tmp_path / 'missing'}",
        (folder / "soup.txt",): f"there is no folder {folder / 'soup.txt'}",
        (folder, folder, "--index", "x"): "--index names the file of one folder's index; to remove it, remove the file",
        (folder, "--remove"): f"{folder} has no index; see embedry index --list",
    }.items():
        result = run("index", *arguments)
        assert (result.code, result.out, result.err) == (2, "", f"error: {error}\n")
    result = run("index", folder, "-m", "ms-marco-MiniLM-L6-v2")
    assert (result.code, result.out) == (2, "")
    assert "this takes a dense model" in result.err


def test_indexes_are_listed_and_removed(folder: Path, other: str, own_place: Path) -> None:
    assert run("index", "--list").err == "there is no index; make one: embedry index FOLDER\n"
    run("index", folder)
    run("index", folder, "-m", other)
    run("index", folder / "deep")
    listed = [line.split() for line in run("index", "--list").out.splitlines()]
    assert listed[0] == ["folder", "model", "files", "passages", "size", "age"]
    assert [line[:4] for line in listed[1:]] == [
        [str(folder / "deep"), "all-MiniLM-L6-v2", "1", "1"],
        [str(folder), other, "3", "5"],
        [str(folder), "all-MiniLM-L6-v2", "3", "5"],
    ]
    result = run("index", folder, "--remove", "-m", "all-MiniLM-L6-v2")
    assert (result.code, result.err.count("removed ")) == (0, 1)
    assert len(index_places.indexes(str(folder))) == 1
    (index_places.indexes(str(folder / "deep"))[0]).write_bytes(b"damaged")
    result = run("index", "--list")
    assert result.err.startswith("warning: ")
    assert len(result.out.splitlines()) == 2
    for each in (folder, folder / "deep"):
        assert run("index", each, "--remove").code == 0
    assert not list(own_place.iterdir())


def test_the_files_that_took_the_time_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry_cli.index._LONG", 0)
    (folder / "long.txt").write_text("\n\n".join(f"{number} " + "long text " * 60 for number in range(40)))
    said = run("index", folder).err.splitlines()[-1]
    assert said.startswith("most of the time took: long.txt (")


def test_an_entry_changes_with_its_file(folder: Path) -> None:
    def soup() -> Entry:
        (found,) = (entry for entry in Walk().entries(str(folder)) if entry.name == "soup.txt")
        return found

    before = soup()
    assert soup() == before
    (folder / "soup.txt").chmod(0o600)
    assert soup().state != before.state
