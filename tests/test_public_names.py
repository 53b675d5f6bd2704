"""What is public is typed: a program that uses every public name passes mypy and pyright, each in its strict mode."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import embedry
import embedry.backend
import embedry.testing

PROGRAM = Path(__file__).with_name("public_names.py")


def test_the_program_uses_every_public_name() -> None:
    used = {node.id for node in ast.walk(ast.parse(PROGRAM.read_text())) if isinstance(node, ast.Name)}
    public = {*embedry.__all__, *embedry.backend.__all__, *embedry.testing.__all__} - {"Conformance"}
    assert public - used == set()


def test_mypy_accepts_it() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", str(PROGRAM)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_pyright_accepts_it(tmp_path: Path) -> None:
    shutil.copy(PROGRAM, tmp_path)  # pyright only looks at files of its project
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict", "pythonVersion": "3.11"}))
    command = [sys.executable, "-m", "pyright", "--project", str(tmp_path), "--pythonpath", sys.executable]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    (tmp_path / PROGRAM.name).write_text(f"{PROGRAM.read_text()}\nwrong: int = resolve('a').name\n")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1, "it is really looked at"


def test_the_program_does_what_it_says() -> None:
    import public_names

    assert public_names.search(public_names.Lengths(), ["a", "a longer text"], "a query") == "a longer text"
    assert public_names.reason(embedry.TextTypeError("a text", [3])) == "texts (3,)"
    assert public_names.reason(embedry.DownloadError("a file")) == "files"
    assert any(name.startswith("acme-words: ") for name in public_names.registered())
