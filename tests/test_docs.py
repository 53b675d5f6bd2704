"""Every example in the README and in docs/ is run, in order, in an empty folder, as a reader would.

A block `python file=...` or `toml file=...` is written to that file; other Python blocks run one after the other in one
process; a `console` block runs its commands, and the lines below one are the output it must have. A command that ends in
`&` runs until the page is over; the next one starts when it says that it is ready. A `sh` block is not run
here: it holds commands that set things up for these tests. Nor is a `diff`: it has lines that are no longer written, and
the page runs what they become. Models that cannot be had here have stand-ins (`stand_ins`), whose answers mean nothing.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import pytest

import stand_ins
from examples import ROOT, blocks, write_files

PAGES = sorted([ROOT / "README.md", *(set(ROOT.glob("docs/**/*.md")) - set(ROOT.glob("docs/_build/**/*.md")))])


@pytest.fixture(scope="session")
def stand_ins_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stand-ins")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of(page: Path, tmp_path: Path, cache_dir: Path, minilm: object, stand_ins_folder: Path) -> None:
    (tmp_path / "lines.txt").write_text("one line\nanother\n")
    (tmp_path / "corpus.jsonl").write_text('{"id": 1, "text": "one text"}\n{"id": 2, "text": "another"}\n')
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "policy.md").write_text("Refunds are paid within 14 days.\n\nWe ship to most of Europe.\n")
    for pages in ("*.md", "cookbook/*.md"):  # some of the pages, which are files as anybody has them
        for each in set(ROOT.glob(f"docs/{pages}")) - {ROOT / "docs" / name for name in ("benchmarks.md", "models.md")}:
            copy = tmp_path / "manual" / each.relative_to(ROOT / "docs")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(each.read_bytes())
    site = tmp_path / "site"
    stand_ins.install(page.read_text(encoding="utf-8"), site, stand_ins_folder)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(site),
        "EMBEDRY_CACHE": str(cache_dir),
        "COLUMNS": "80",  # what is shown of a command's output is as wide
        "HAYSTACK_TELEMETRY_ENABLED": "False",
    }
    write_files(page, tmp_path)
    with ExitStack() as background:
        run_blocks(page, tmp_path, site, environment, background)


def run_blocks(page: Path, tmp_path: Path, site: Path, environment: dict[str, str], background: ExitStack) -> None:
    program = ""
    for block in blocks(page):
        if block.file is not None:
            continue
        if block.language == "python":
            program += block.text
        elif block.language == "console":
            run_commands(block.text, tmp_path, site, environment, background)
        else:
            assert block.language in ("sh", "text", "diff"), f"{page.name}: what is a {block.language} block?"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for comment in re.findall(r"print\(.*?\)\s+# (.+)", program):
        assert comment.removesuffix("...").split(" plain ")[0] in result.stdout, f"{page.name} states: {comment}"


def run_commands(session: str, folder: Path, site: Path, environment: dict[str, str], background: ExitStack) -> None:
    for step in session.split("$ ")[1:]:
        command, _, expected = step.partition("\n")
        if command.endswith(" &"):
            background.enter_context(until_ready(command.removesuffix(" &"), folder, environment))
            continue
        if command.startswith("pip install "):
            # Into a folder of this test, not into the environment that runs it.
            command = (
                f"{shlex.quote(sys.executable)} -m pip install -q --no-deps --target {shlex.quote(str(site))} "
                f"{command.removeprefix('pip install ')}"
            )
        result = subprocess.run(
            command, shell=True, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        printed = "\n".join(line.rstrip() for line in result.stdout.splitlines())
        assert expected.strip() in printed, f"{command} printed\n{printed}"


@contextmanager
def until_ready(command: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A server that runs in the background, ready when the block begins, and ended with it."""
    process = subprocess.Popen(shlex.split(command), env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        try:
            said = ""
            while "ready" not in said:
                line = process.stderr.readline()
                assert line, f"{command}\n{said}"
                said += line
            Thread(target=process.stderr.read, daemon=True).start()
            yield
        finally:
            process.terminate()


def test_the_readme_has_the_two_commands_and_make_knows_them() -> None:
    install, checkout = (block for block in blocks(ROOT / "README.md") if block.language == "sh")
    assert install.text == "pip install embedry\n"  # which tests/test_wheels.py does, from the wheels
    commands = [line.split("#")[0].strip() for line in checkout.text.splitlines()]
    assert commands == ["make demo", "make test"]
    assert all(f"\n{command.split()[1]}:" in (ROOT / "Makefile").read_text() for command in commands)


def test_every_link_inside_the_project_leads_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for link in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
