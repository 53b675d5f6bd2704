"""Builds the wheels of all distributions, installs them into clean environments and uses them as the README does.

Run as a program, it does so with each Python of this machine, and prints the time of each step and the size of each package:
`make test-wheels`.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from zipfile import ZipFile

from packaging.metadata import Metadata
from packaging.requirements import Requirement

from examples import ROOT, blocks

PLACES = ("core", "backends/*", "plugins/*")
FOLDERS = [ROOT, *sorted(path.parent for place in PLACES for path in ROOT.glob(f"{place}/pyproject.toml"))]
MODEL = "all-MiniLM-L6-v2"
QUESTION, ANSWER = "When do I get my money back?", "Refunds are paid within 14 days."

_MEASURE = """
import json
from importlib.metadata import distributions
sizes = {}
for each in distributions():
    files = [path.locate() for path in each.files or ()]
    bytes_ = {str(path): path.stat().st_size for path in files if path.is_file()}
    compiled = sum(size for path, size in bytes_.items() if path.endswith(".pyc"))
    sizes[each.metadata["Name"]] = [each.version, sum(bytes_.values()), compiled]
print(json.dumps(sizes))
"""
_VERSION = "import sys; print(sys.version.split()[0])"


@dataclass(frozen=True)
class Package:
    """An installed package."""

    version: str
    size: int
    """Of all its files, in bytes."""
    compiled: int
    """Of its .pyc files alone, in bytes."""


@dataclass(frozen=True)
class Wheel:
    path: Path

    @cached_property
    def written(self) -> bytes:
        """The file METADATA."""
        with ZipFile(self.path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return archive.read(name)

    @cached_property
    def metadata(self) -> Metadata:
        """METADATA, parsed and validated.

        Raises:
            ExceptionGroup: it is invalid, and an index would refuse it.
        """
        return Metadata.from_email(self.written, validate=True)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def needs(self) -> list[Requirement]:
        """What is installed with it, without extras."""
        return [need for need in self.metadata.requires_dist or () if "extra" not in str(need.marker)]


def build(folder: Path) -> dict[str, Wheel]:
    """Builds all wheels as `make wheels` does, but installs the build requirements once instead of once per wheel."""
    tools = {
        need
        for each in FOLDERS
        for need in tomllib.loads((each / "pyproject.toml").read_text())["build-system"]["requires"]
    }
    pip = [sys.executable, "-m", "pip"]
    with TemporaryDirectory() as site:
        run([*pip, "install", "-q", "--target", site, *sorted(tools)])
        options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
        run([*pip, "wheel", "-q", *options, *map(str, FOLDERS)], PYTHONPATH=site)
    return {each.name: each for each in map(Wheel, folder.glob("*.whl"))}


def run(command: list[str], cwd: Path | None = None, **variables: str) -> str:
    result = subprocess.run(
        command, cwd=cwd, env=os.environ | variables, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
    return result.stdout


@dataclass
class Environment:
    """A new virtual environment."""

    folder: Path
    wheels: dict[str, Wheel]
    seconds: dict[str, float] = field(default_factory=dict)
    """By step."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[name] = perf_counter() - start

    @property
    def _programs(self) -> Path:
        return self.folder / "environment" / ("Scripts" if os.name == "nt" else "bin")

    def python(self, *arguments: str) -> str:
        return run(
            [str(self._programs / "python"), "-I", *arguments],
            cwd=self.folder,
            EMBEDRY_CACHE=str(self.folder / "cache"),
        )

    def embedry(self, *arguments: str) -> str:
        return run(
            [str(self._programs / "embedry"), *arguments],
            cwd=self.folder,
            EMBEDRY_CACHE=str(self.folder / "cache"),
            PYTHONPATH="",
        )

    def pip(self, *arguments: str) -> str:
        """Runs this Python's pip on the environment, which has none of its own, because installing one takes seconds."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(self._programs / "python")]
        return run([*pip, *arguments])

    def make(self, interpreter: str = sys.executable) -> None:
        run([interpreter, "-m", "venv", "--without-pip", str(self.folder / "environment")])

    def install(self, name: str) -> None:
        """Installs a distribution and its siblings from their wheels, never from an index, and other dependencies from the index."""
        ours, others, waiting = list[Wheel](), set[str](), [name]
        while waiting:
            ours.append(self.wheels[waiting.pop()])
            for need in ours[-1].needs:
                if need.name not in self.wheels:
                    others.add(str(need))
                elif self.wheels[need.name] not in ours and need.name not in waiting:
                    waiting.append(need.name)
        with self.step("install embedry's wheels"):
            self.pip("install", "-q", "--no-deps", "--no-index", *(str(each.path) for each in ours))
        with self.step("install what they need"):
            self.pip("install", "-q", *sorted(others))
        self.pip("check")

    def ten_lines(self) -> str:
        """What the README's first lines of Python print."""
        program = next(block.text for block in blocks(ROOT / "README.md") if block.language == "python")
        return self.python("-W", "error", "-c", program)

    def search(self) -> str:
        (self.folder / "docs").mkdir(exist_ok=True)
        (self.folder / "docs" / "policy.md").write_text(f"{ANSWER}\n\nWe ship to most of Europe.\n")
        return self.embedry("search", QUESTION, "docs")

    def packages(self) -> dict[str, Package]:
        """What is installed, by name."""
        return {name: Package(*each) for name, each in json.loads(self.python("-c", _MEASURE)).items()}


def interpreters() -> dict[str, str]:
    """The Pythons of this machine that are new enough, by their versions: those on the path, and those of pyenv."""
    folders = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin"))
    places = [(f"python3.{minor}", path) for path in (None, *map(str, folders)) for minor in range(11, 20)]
    found: dict[str, str] = {}
    for program in filter(None, (shutil.which(name, path=path) for name, path in places)):
        answer = subprocess.run([program, "-c", _VERSION], capture_output=True, text=True, check=False)
        if answer.returncode == 0:  # pyenv puts programs on the path for versions that are not chosen
            found.setdefault(answer.stdout.strip(), program)
    return found


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Installs the bundle with each Python, and prints two tables."""
    done: dict[str, Environment] = {}
    sizes: dict[str, dict[str, Package]] = {}
    with TemporaryDirectory() as folder:
        wheels = build(Path(folder) / "dist")
        for version, program in interpreters().items():
            environment = done[version] = Environment(Path(folder) / version, wheels)
            environment.folder.mkdir()
            environment.make(program)
            environment.install("embedry")
            sizes[version] = environment.packages()
            environment.pip("install", "-q", "pip")  # for the next command
            with environment.step("embedry pull --from index"):
                environment.embedry("pull", MODEL, "--from", "index")
            for name in ("ten lines, which compile the graph", "ten lines again"):
                with environment.step(name):
                    assert environment.ten_lines() == f"{ANSWER}\n"
            with environment.step("embedry search"):
                assert ANSWER in environment.search()
    steps = [
        [step, *(f"{each.seconds[step]:.1f} s" for each in done.values())] for step in next(iter(done.values())).seconds
    ]
    counts = [["packages", *(str(len(each)) for each in sizes.values())]]
    for name, weigh in (("MB", _everything), ("MB without .pyc files", _without_compiled)):
        counts.append([name, *(f"{sum(map(weigh, each.values())) / 1e6:.0f}" for each in sizes.values())])
    print(table(["", *done], steps + counts))
    first, packages = next(iter(sizes.items()))
    rows = sorted(packages.items(), key=lambda item: -item[1].size)
    print(f"\nOn Python {first}:\n")
    print(table(["package", "version", "MB", "without .pyc files"], [
        [name, each.version, f"{_everything(each) / 1e6:.1f}", f"{_without_compiled(each) / 1e6:.1f}"] for name, each in rows
    ]))  # fmt: skip


def _everything(package: Package) -> int:
    return package.size


def _without_compiled(package: Package) -> int:
    return package.size - package.compiled


if __name__ == "__main__":
    main()
