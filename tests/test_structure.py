"""The house rules that a reader relies on: who may import whom, one version, and folders that need no list."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = sorted(path.parent for path in ROOT.glob("*/pyproject.toml")) + sorted(
    path.parent for kind in ("backends", "plugins") for path in ROOT.glob(f"{kind}/*/pyproject.toml")
)
NAMES = [str(folder.relative_to(ROOT)) for folder in DISTRIBUTIONS]


def project(folder: Path) -> dict[str, object]:
    table: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return table


def package(folder: Path) -> Path:
    (found,) = (path.parent for path in folder.glob("src/*/__init__.py"))
    return found


def imports(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=NAMES)
def test_a_distribution_imports_the_core_and_no_sibling(folder: Path) -> None:
    own = package(folder).name
    siblings = {package(other).name for other in DISTRIBUTIONS} - {own}
    allowed = {"embedry"} - {own}
    if folder.parent.name == "backends":  # the libraries that engines share
        allowed |= {"embedry_graphs", "embedry_torch"} - {own}
    if own == "embedry_ray":  # it runs the jobs of the other on a cluster
        allowed |= {"embedry_bulk"}
    for source in folder.glob("src/**/*.py"):
        reached = {name.split(".")[0] for name in imports(source)} & siblings
        assert reached <= allowed, f"{source} imports {reached - allowed}"


@pytest.mark.parametrize("folder", [ROOT, *DISTRIBUTIONS], ids=["embedry", *NAMES])
def test_all_distributions_have_one_version_and_pin_their_siblings_to_it(folder: Path) -> None:
    from embedry import __version__

    described = project(folder)
    assert described["version"] == __version__
    extras = described.get("optional-dependencies", {})
    assert isinstance(extras, dict)
    needs = [*described["dependencies"], *(need for group in extras.values() for need in group)]  # type: ignore[misc]
    for need in needs:
        name = re.split(r"[<>=\[;]", need)[0]
        if name.startswith("embedry"):
            assert need.endswith(f"=={__version__}"), need
        else:
            assert ">=" in need, f"{need} has no tested range"
            assert "<" in need, f"{need} has no tested range"


def test_what_the_default_installs_needs_no_torch() -> None:
    for folder in (
        "core",
        "backends/graphs",
        "backends/onnxruntime",
        "backends/static",
        "plugins/models",
        "plugins/layouts",
        "plugins/cli",
    ):
        for need in project(ROOT / folder)["dependencies"]:  # type: ignore[attr-defined]
            assert not re.match(r"torch|transformers|sentence", need), f"{folder}: {need}"


def test_every_package_is_typed_and_described() -> None:
    for folder in DISTRIBUTIONS:
        assert (package(folder) / "py.typed").exists(), folder
        assert project(folder)["description"], folder


@pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=NAMES)
def test_a_module_can_be_held_in_the_head(folder: Path) -> None:
    for source in folder.glob("src/**/*.py"):
        assert len(source.read_text().splitlines()) <= 300, source


def test_what_reads_files_knows_nothing_of_engines_and_of_the_pipeline() -> None:
    above = ("embedry._pipeline", "embedry.backend", "embedry._backends", "embedry.views", "embedry.resolver")
    readers = (ROOT / "core/src/embedry/_files", ROOT / "plugins/layouts/src/embedry_layouts")
    for source in (source for folder in readers for source in folder.glob("*.py")):
        reached = [name for name in imports(source) if name.startswith(above)]
        assert not reached, f"{source.name} imports {', '.join(reached)}"
