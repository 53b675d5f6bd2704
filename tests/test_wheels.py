"""The wheels: their files, their metadata, and the README's first example in an environment with nothing else."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

import embedry
from embedry import _backends
from examples import ROOT
from wheels import ANSWER, FOLDERS, Environment, Wheel, build

REPOSITORY = "https://github.com/embedry/embedry"
SITE = "https://embedry.readthedocs.io"
NAMES = ["embedry" if folder == ROOT else f"embedry-{folder.name}" for folder in FOLDERS]
LICENSE = (ROOT / "LICENSE").read_bytes()
# A distribution and, in brackets that markup may escape, extras.
_MENTION = re.compile(r"\b(embedry(?:-[a-z0-9]+)*)(?:\\?\[([a-z0-9, -]+)\\?\])?(?![\w/:-]|\.\w)")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Wheel]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_COMPILE", "1")  # compiling is half of pip's time, and Python compiles what it imports
        yield build(tmp_path_factory.mktemp("dist"))


def test_every_distribution_has_a_wheel(wheels: dict[str, Wheel]) -> None:
    assert sorted(wheels) == sorted(NAMES)


@pytest.mark.parametrize(("name", "folder"), list(zip(NAMES, FOLDERS, strict=True)), ids=NAMES)
def test_a_wheel_contains_its_package_and_the_license_and_nothing_else(
    name: str, folder: Path, wheels: dict[str, Wheel]
) -> None:
    sources = folder / "src"  # the bundle has none
    paths = {path.relative_to(sources) for path in sources.rglob("*") if path.is_file()}
    caches = {path for path in paths if any(part == "__pycache__" or part.startswith(".") for part in path.parts)}
    with ZipFile(wheels[name].path) as archive:
        held = {path for path in archive.namelist() if ".dist-info/" not in path}
        (license_,) = (path for path in archive.namelist() if path.endswith(".dist-info/licenses/LICENSE"))
        assert archive.read(license_) == LICENSE
    assert held == {path.as_posix() for path in paths - caches}


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_of_a_wheel_is_valid_and_complete(name: str, wheels: dict[str, Wheel]) -> None:
    said, first = wheels[name].metadata, wheels["embedry"].metadata
    assert (str(said.version), said.license_expression) == (embedry.__version__, "Apache-2.0")
    assert (str(said.requires_python), said.author) == (">=3.11", "The embedry authors")
    assert said.summary
    assert said.keywords
    assert said.license_files == ["LICENSE"]
    assert said.classifiers == first.classifiers
    assert said.project_urls == first.project_urls
    assert said.description_content_type == "text/markdown"
    text = said.description or ""
    assert text.startswith(f"# {name}\n")
    assert "\npip install " in text


@pytest.mark.parametrize("name", NAMES)
def test_the_links_in_the_description_of_a_wheel_exist(name: str, wheels: dict[str, Wheel]) -> None:
    found = re.findall(r"\]\(([^)#]+)", wheels[name].metadata.description or "")
    assert found
    for link in found:
        assert link.startswith("https://"), f"{link} is no link outside the repository"
        if link.startswith(SITE):
            page = link.removeprefix(f"{SITE}/en/stable/").removesuffix(".html")
            assert (ROOT / "docs" / f"{page}.md").is_file(), link
        for place in (f"{REPOSITORY}/blob", REPOSITORY.replace("github.com", "raw.githubusercontent.com")):
            if link.startswith(f"{place}/"):
                assert (ROOT / link.removeprefix(f"{place}/v{embedry.__version__}/")).exists(), link


def test_extras_name_distributions_and_extras_that_exist(wheels: dict[str, Wheel]) -> None:
    needs = [
        need
        for wheel in wheels.values()
        for need in wheel.metadata.requires_dist or ()
        if need.name.startswith("embedry")
    ]
    assert sum(bool(need.extras) for need in needs) == 2  # map and parquet of the command line
    for need in needs:
        assert need.name in wheels, need
        assert need.extras <= extras(wheels[need.name]), need


def test_the_bundle_has_an_extra_for_each_adapter_engine_and_program(wheels: dict[str, Wheel]) -> None:
    bundle = wheels["embedry"]
    basic, libraries = {need.name for need in bundle.needs}, {"embedry-graphs", "embedry-torch"}
    others = set(wheels) - basic - libraries - {"embedry"}
    assert {f"embedry-{extra}" for extra in extras(bundle)} == {"embedry-map", "embedry-parquet", *others}


def extras(wheel: Wheel) -> set[str]:
    return set(wheel.metadata.provides_extra or ())


def test_every_package_and_extra_that_sources_and_docs_tell_to_install_exists(wheels: dict[str, Wheel]) -> None:
    told = set[tuple[str, str]]()
    for path in texts():
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for command in re.findall(r"\binstall\b.*", text):
            told.update(_MENTION.findall(command))
        told.update(mention for mention in _MENTION.findall(text) if mention[1])
    for name in _backends._PACKAGES:
        told.add((f"embedry-{name}", ""))
    assert {"", "map", "parquet"} <= {wanted for _, wanted in told}
    for name, wanted in told:
        assert name in wheels, f"{name} is no distribution"
        missing = {extra.strip() for extra in wanted.split(",") if wanted} - extras(wheels[name])
        assert not missing, f"{name} has no extra {', '.join(missing)}"


def texts() -> Iterator[Path]:
    """Sources and documentation."""
    yield from (path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md")
    for folder in ("core", "backends", "plugins", "docs", ".github"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".sh", ".html", ".yml") and "_build" not in path.parts:
                yield path
    yield ROOT / "plugins" / "server" / "Containerfile"


def test_the_readme_runs_in_a_clean_environment_with_the_wheels(
    wheels: dict[str, Wheel], minilm_folder: Path, tmp_path: Path
) -> None:
    environment = Environment(tmp_path, wheels)
    environment.make()
    environment.install("embedry")
    # The files of the model but no compiled graph, so that one is written here.
    shutil.copytree(minilm_folder, tmp_path / "cache" / "models" / minilm_folder.name)
    assert environment.ten_lines() == f"{ANSWER}\n"
    assert ANSWER in environment.search()
    installed = environment.packages()
    basic = {"embedry", "embedry-cli", "embedry-core", "embedry-layouts", "embedry-models", "embedry-onnxruntime"}
    assert {name for name in installed if name.startswith("embedry")} == basic | {"embedry-graphs", "embedry-static"}
    assert {"torch", "transformers"}.isdisjoint(installed)
