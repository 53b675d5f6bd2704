"""The documentation as a site: it builds without a warning, and nothing in it is missing or out of reach."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import embedry
from embedry_cli import commands
from examples import ROOT, blocks

DOCS = ROOT / "docs"


class Page(HTMLParser):
    """The anchors of a page, and what it links to and shows."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.navigation: set[Path] = set()
        self._inside = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors.add(found.get("id", ""))
        self._inside = self._inside or "sidebar-tree" in found.get("class", "").split()
        target = found.get("href") or found.get("src") or ""
        if not target or re.match(r"\w+:|//", target):
            return
        self.targets.append(target)
        if self._inside and tag == "a":
            self.navigation.add(self.file(target))

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "aside"

    def file(self, target: str) -> Path:
        """The file that a link of this page leads to."""
        path = unquote(urldefrag(target).url.partition("?")[0])
        return (self.path.parent / path).resolve() if path else self.path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", folder / "doctrees", DOCS, folder / "html"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return (folder / "html").resolve()


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_the_navigation_reaches_every_page(site: Path, pages: dict[Path, Page]) -> None:
    written = set(DOCS.rglob("*.md")) - set(DOCS.glob("_build/**/*"))
    wanted = {site / path.relative_to(DOCS).with_suffix(".html") for path in written} - {site / "index.html"}
    assert wanted
    assert wanted <= pages[site / "index.html"].navigation


def test_every_link_leads_to_a_page_and_a_place_in_it(pages: dict[Path, Page]) -> None:
    for page in pages.values():
        for target in page.targets:
            file, anchor = page.file(target), unquote(urldefrag(target).fragment)
            assert file.exists(), f"{page.path.name} links to {target}"
            if anchor and file.suffix == ".html":
                assert anchor in pages[file].anchors, f"{page.path.name} links to {target}"


def test_the_reference_tells_something_of_every_public_name(site: Path) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in site.glob("reference/*.html"))
    # An entry, its bases if it has any, and the text that its docstring begins with.
    entry = r'<dt [^>]*id="embedry\.(\w+)">(?:(?!</dt>).)*</dt>\s*<dd>(?:<p>Bases:(?:(?!</p>).)*</p>\s*)?<p>\w'
    assert set(embedry.__all__) - set(re.findall(entry, text, re.DOTALL)) == set()


def test_the_reference_shows_the_help_of_every_command_of_ours() -> None:
    shown = {block.text.partition("\n")[0] for block in blocks(DOCS / "reference" / "command-line.md")}
    own = [each for each in commands.installed() if commands.origin(each.points[0]).startswith("embedry-")]
    names = [name for each in own for name in (each.called, *(f"{each.called} {sub}" for sub in subcommands(each)))]
    assert shown == {f"$ embedry {name} --help" for name in names}


def subcommands(command: commands.LazyCommand) -> list[str]:
    return list(getattr(command.load(), "commands", {}))
