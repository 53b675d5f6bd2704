"""`embedry new`: the packages that it writes install, pass the conformance checks, and are clean."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import run
from embedry.testing import CHECKS
from embedry_cli import packages
from examples import ROOT, blocks

PACK, BACKEND = "zebra-models", "Acme.engine"
"""Names that sort before and after embedry's, and whose packages have other names."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pack and a backend."""
    folder = tmp_path_factory.mktemp("new")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind, name in (("pack", PACK), ("backend", BACKEND)):
            result = run("new", kind, name)
            assert (result.code, result.err) == (0, "")
            assert [line.split(maxsplit=2)[-1].strip() for line in result.out.splitlines()][1:] == [
                f"pip install -e './{name}[test]'",
                f"python -m pytest {name}/tests",
                f"{name}/README.md",
            ]
    return folder


@pytest.fixture(scope="module")
def site(written: Path) -> Path:
    """Both, installed into a folder of their own."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", "site"]
    subprocess.run([*command, f"./{PACK}", f"./{BACKEND}"], cwd=written, check=True)
    return written / "site"


def ran(folder: Path, *command: object, **variables: str) -> str:
    """What a command prints, which must succeed."""
    result = subprocess.run(
        [str(part) for part in command], cwd=folder, env=os.environ | variables,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_both_pass_the_conformance_checks_in_which_they_test_themselves(written: Path, site: Path) -> None:
    tests = [f"{name}/tests" for name in (PACK, BACKEND)]
    options = ("-q", "-p", "no:schemathesis", "-p", "no:cacheprovider", "--import-mode=importlib")
    last = ran(written, sys.executable, "-m", "pytest", *options, *tests, PYTHONPATH=str(site)).splitlines()[-1]
    # Checks about other kinds of models, golden vectors, a modules.json and, of the pack's static model, its transformer.
    assert last.startswith(f"{2 * len(CHECKS) - 18} passed, 18 skipped"), last


def test_their_models_are_known_by_name_and_give_what_their_entries_say(written: Path, site: Path) -> None:
    code = """
from embedry import list_models, resolve
for name in ("zebra-models-example", "Acme.engine-example"):
    embedder = resolve(name)
    print(name, embedder.config.backend, embedder.encode_query(["time is money"]).shape)
"""
    assert ran(written, sys.executable, "-c", code, PYTHONPATH=str(site)).splitlines() == [
        "zebra-models-example static (1, 16)",
        "Acme.engine-example Acme.engine (1, 16)",
    ]


@pytest.mark.parametrize("name", [PACK, BACKEND])
def test_they_are_typed_and_in_good_style(written: Path, name: str) -> None:
    folder, settings = written / name, ROOT / "pyproject.toml"
    ruff = (Path(sys.executable).with_name("ruff"), "--config", settings, "--config", 'src = ["src"]', "--no-cache")
    # What is heavy may be imported at the top of a module that `load` imports, which our own rules say by name.
    ran(folder, ruff[0], "check", *ruff[1:], "--ignore", "TID253", ".")
    ran(folder, ruff[0], "format", "--check", *ruff[1:], ".")
    mypy = ("-m", "mypy", "--strict", "--config-file", settings, "--cache-dir", ROOT / ".mypy_cache")
    ran(folder, sys.executable, *mypy, "src", "tests", MYPYPATH="src")


def test_the_guide_shows_the_tests_that_are_written() -> None:
    (shown,) = (
        block.text
        for block in blocks(ROOT / "docs" / "model-packs.md")
        if block.file == "acme-models/tests/test_conformance.py"
    )
    assert packages.example("pack", "acme-models", "any")["tests/test_conformance.py"].decode() == shown


@pytest.mark.parametrize("kind", ["pack", "backend"])
def test_an_existing_folder_is_left_as_it_is(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    result = run("new", kind, "mine")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: mine exists already and is not changed; choose another name, or remove it\n"
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("pack", "two words", "a package cannot be called 'two words'"),
        ("backend", "../up", "a package cannot be called '../up'"),
        ("pack", "embedry-models", "the package 'embedry_models' is installed already"),
        ("backend", "static", "a backend 'static' is installed already; choose another name"),
    ],
)
def test_a_wrong_name_is_refused_and_nothing_is_written(
    kind: str, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("new", kind, name)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packages, "TemporaryDirectory", _full)
    result = run("new", "pack", "mine")
    assert result.code == 1
    assert result.err.startswith("error: the package mine cannot be written into ")
    assert "No space left" in result.err


def _full(**_: object) -> None:
    raise OSError(28, "No space left on device")
