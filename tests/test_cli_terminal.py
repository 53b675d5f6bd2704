"""What commands print: text of others never acts on the terminal, and every stream takes it, whatever its encoding."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import run
from embedry import EmbedryWarning, register
from embedry.views import LazyEmbedder
from embedry_cli import check, terminal
from entries import entry

pytestmark = [
    pytest.mark.usefixtures("minilm_folder"),
    # What umap says on import where Tensorflow is not installed; Python shows it to nobody by default.
    pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning"),
]

EVIL = "a\x1b]0;title\x07\x1b]52;c;eA==\x07\x1b[2J\r\x08\x7f\x9b31m\u202eb\u2066c"
"""Sets the title and the clipboard, clears the screen, moves back, turns red, and runs from right to left."""

SHOWN = r"a\u001b]0;title\u0007\u001b]52;c;eA==\u0007\u001b[2J\u000d\u0008\u007f\u009b31m\u202eb\u2066c"


def harmless(*arguments: object, stdin: bytes = b"") -> str:
    """What a command prints of such a text, which must not contain what a terminal acts on."""
    result = run(*arguments, stdin=stdin)
    printed = result.out + result.err
    assert {char for char in printed if char not in "\t\n" and unicodedata.category(char) in ("Cc", "Cf")} == set()
    assert "]0;title" in printed
    return printed


def test_controls_become_escapes_and_all_else_stays() -> None:
    assert terminal.shown(EVIL) == SHOWN
    assert terminal.shown("half \ud800") == r"half \ud800"
    rest = "naïve façade ☃ 日本語 🙂 עברית العربية\n\ttab \\u001b and \u200b\u200f\xa0"
    assert terminal.shown(rest) == rest


@pytest.fixture
def evil_file(tmp_path: Path) -> Path:
    """A file with such a name and such a text."""
    path = tmp_path / f"{EVIL}.txt"
    path.write_bytes(f"fine\n{EVIL}\nlast\n".encode())
    return path


def test_search(evil_file: Path) -> None:
    printed = harmless("search", "title", evil_file.parent)
    assert f"/{SHOWN}.txt:1\n" in printed
    assert printed.count("title") == 2
    (hit,) = json.loads(harmless("search", "title", evil_file.parent, "--json"))
    assert hit["file"] == str(evil_file)
    assert EVIL in hit["text"]


def test_compare() -> None:
    words = " ".join(EVIL.split())
    assert f"1  {terminal.shown(words)}\n" in harmless("compare", EVIL, "another")
    assert json.loads(harmless("compare", EVIL, "another", "--json"))["texts"] == [EVIL, "another"]


def test_embed_and_map(evil_file: Path) -> None:
    for command, suffix in (("embed", "npy"), ("map", "html")):
        output = evil_file.with_suffix(f".{suffix}")
        assert f"/{SHOWN}.{suffix}" in harmless(command, evil_file, "--to", output)
        assert output.exists()
    rows = [json.loads(line) for line in harmless("embed", evil_file, "--to", "-").splitlines()[:3]]
    assert [row["text"] for row in rows] == ["fine", EVIL, "last"]


def test_errors(evil_file: Path) -> None:
    assert harmless("embed", evil_file, "--to", evil_file).startswith("error: ")
    assert harmless("embed", evil_file.with_suffix(".no"), "--to", "-").startswith("error: there is no file ")
    assert "choose one with --column" in harmless(
        "embed", "--format", "jsonl", "--to", "-", stdin=json.dumps({EVIL: "x"}).encode()
    )
    for command in ("info", "pull", "check", "bench"):
        assert harmless(command, EVIL).startswith("error: ")


def test_warnings(evil_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def warning(*_: object, **__: object) -> None:
        warnings.warn(EmbedryWarning(EVIL), stacklevel=1)
        warnings.warn(UserWarning(EVIL), stacklevel=1)

    monkeypatch.setattr("embedry_cli.models._table", warning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        printed = harmless("models")
    assert f"warning: {SHOWN}\n" in printed
    assert f"UserWarning: {SHOWN}\n" in printed


def test_models_and_info(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    register(entry(name="evil", description=EVIL, license=EVIL, prompts={"query": EVIL}))
    assert SHOWN[:12] in harmless("models")
    assert EVIL in [model["description"] for model in json.loads(harmless("models", "--json"))]
    folder = shutil.copytree(checkpoint("bert"), tmp_path / EVIL)
    for command in (["info", folder], ["check", folder]):
        assert SHOWN in harmless(*command)
    assert EVIL in json.loads(harmless("info", folder, "--json"))["name"]


def test_check_shows_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_verdict", lambda name, subject: ("failed", EVIL))
    assert harmless("check", "all-MiniLM-L6-v2").count(SHOWN[:12]) > 3


def test_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedry_cli.doctor._commands", lambda problems: problems.append(EVIL) or {EVIL: EVIL})
    assert f"problem: {SHOWN}\n" in harmless("doctor")
    assert json.loads(harmless("doctor", "--json"))["commands"] == {EVIL: EVIL}


TEXT = "日本 🙂 naïve"
"""The last word fits the code page, the others do not."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file whose name and text are such a text."""
    (tmp_path / f"{TEXT}.txt").write_text(f"{TEXT}\nanother\nthird\n", encoding="utf-8")
    return tmp_path


def printed(folder: Path, encoding: str, *arguments: object) -> bytes:
    """What a process prints in a folder to streams of an encoding."""
    command = [sys.executable, "-m", "embedry_cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)
    assert b"Traceback" not in result.stderr
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(("encoding", "replaced"), [("cp1252", "?? ? naïve"), ("ascii", "?? ? na?ve"), ("utf-8", TEXT)])
def test_what_a_stream_cannot_encode_is_replaced_in_text_and_escaped_in_json(
    encoding: str, replaced: str, folder: Path, minilm: LazyEmbedder
) -> None:
    assert f"1  {replaced}" in printed(folder, encoding, "compare", TEXT, "two").decode(encoding)
    assert f"{replaced}.txt:1" in printed(folder, encoding, "search", TEXT, ".").decode(encoding)
    found = json.loads(printed(folder, encoding, "compare", TEXT, "two", "--json").decode(encoding))
    assert found["texts"] == [TEXT, "two"]
    (hit,) = json.loads(printed(folder, encoding, "search", TEXT, ".", "--json").decode(encoding))
    assert (hit["file"], hit["text"].splitlines()[0]) == (f"{TEXT}.txt", TEXT)
    lines = printed(folder, encoding, "embed", f"{TEXT}.txt", "--to", "-").decode().splitlines()
    assert json.loads(lines[0])["text"] == TEXT


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_every_command_prints_to_any_stream(encoding: str, folder: Path, checkpoint: Callable[..., Path]) -> None:
    shutil.copytree(checkpoint("bert"), folder / "日本")
    assert json.loads(printed(folder, encoding, "info", "./日本", "--json"))["name"].endswith("日本")
    for arguments in (
        ["info", "./日本"],
        ["embed", f"{TEXT}.txt", "--to", "日本.npy"],
        ["models"],
        ["doctor"],
        ["--help"],
    ):
        printed(folder, encoding, *arguments).decode(encoding)


def test_a_file_name_that_is_no_unicode_is_shown_and_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (tmp_path / name).write_text("some text\n")
    (hit,) = json.loads(run("search", "text", tmp_path, "--json").out)
    assert hit["file"] == str(tmp_path / name)
    assert r"/caf\udce9.txt:1" in run("search", "text", tmp_path).out
    assert r"/caf\udce9.npy" in run("embed", tmp_path / name, "--to", (tmp_path / name).with_suffix(".npy")).err
