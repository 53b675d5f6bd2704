"""The documentation as a site: it builds without a warning, and nothing in it is missing or out of reach."""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import embedry
from browser import launched, needs_browser
from examples import ROOT, blocks

DOCS = ROOT / "docs"
TROUBLES = DOCS / "troubleshooting.md"


TOO_WIDE = """
() => [...document.querySelectorAll("article pre")].filter(code => code.scrollWidth > code.clientWidth).length
"""
PAGE_WIDTH = "() => document.documentElement.scrollWidth"


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


def written_pages() -> set[Path]:
    return set(DOCS.rglob("*.md")) - set(DOCS.glob("_build/**/*"))


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
    wanted = {site / path.relative_to(DOCS).with_suffix(".html") for path in written_pages()} - {site / "index.html"}
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


MESSAGE = re.compile(r"^(?P<error>[A-Z]\w+): (?P<text>.+)", re.DOTALL)


def test_every_message_of_the_troubleshooting_page_is_still_in_the_sources() -> None:
    """Clause by clause, with anything in place of the values that a message has."""
    files = [path for folder in ("core", "backends", "plugins") for path in ROOT.glob(f"{folder}/**/src/**/*.py")]
    clauses = {path.read_text(encoding="utf-8"): clauses_of(path) for path in files}
    quoted = quoted_messages()
    assert len(quoted) > 40
    for error, text in quoted:
        written = [each.strip() for each in re.split("; |\n", text)]
        holders = [source for source, known in clauses.items() if matches(written[0], known)]
        assert any(error in source for source in holders), f"no module has {error}: {written[0]}"
        for clause in written[1:]:
            found = len(clause.split()) < 5 or any(matches(clause, known) for known in clauses.values())
            assert found, f"no module has: {clause}"


def test_the_troubleshooting_page_has_every_error_and_every_variable_of_ours() -> None:
    public = [each for name in embedry.__all__ if isinstance(each := getattr(embedry, name), type)]
    errors = [each for each in public if issubclass(each, embedry.EmbedryError | embedry.EmbedryWarning)]
    leaves = {each.__name__ for each in errors if not each.__subclasses__()}
    assert leaves - {error for error, _ in quoted_messages()} == set()

    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("[cbp]*/**/src/**/*.py")]
    variables = set(re.findall(r"\bEMBEDRY_[A-Z_]+\b", "".join(sources)))
    assert "EMBEDRY_CACHE" in variables
    assert {each for each in variables if f"`{each}`" not in TROUBLES.read_text(encoding="utf-8")} == set()


def quoted_messages() -> list[tuple[str, str]]:
    found = [MESSAGE.match(block.text.strip()) for block in blocks(TROUBLES) if block.language == "text"]
    return [(each["error"], each["text"]) for each in found if each and each["error"] in embedry.__all__]


def clauses_of(path: Path) -> list[re.Pattern[str]]:
    """The parts of a module's texts between semicolons, with `.+` for values."""
    texts = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
            texts.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    clauses = {clause.strip() for text in texts for clause in re.split("; |\n", text)}
    return [
        re.compile(re.escape(clause).replace("\0", ".*"), re.DOTALL)
        for clause in clauses
        if len(clause.replace("\0", "").strip()) >= 7
    ]


def matches(clause: str, known: list[re.Pattern[str]]) -> bool:
    return any(each.fullmatch(text) for each in known for text in (clause, clause.removesuffix(" ...")))


def test_the_tables_of_the_guide_are_those_of_the_entries() -> None:
    script = runpy.run_path(str(ROOT / "plugins" / "models" / "make_table.py"))
    page = (DOCS / "choosing-a-model.md").read_text(encoding="utf-8")
    assert script["GUIDE"] == DOCS / "choosing-a-model.md"
    assert page.count("<!-- models: ") > 5
    assert page == script["guide"](page)
    calibrated = [spec.name for spec in embedry.list_models() if spec.int8]
    assert f"{' and '.join(f'`{name}`' for name in calibrated)} also come with a calibration" in page


def test_every_extra_that_a_page_names_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for page in [ROOT / "README.md", *written_pages()]:
        for extra in re.findall(r"\bembedry\[([\w-]+)\]", page.read_text(encoding="utf-8")):
            assert extra in project["optional-dependencies"], f"{page.name} names embedry[{extra}]"


@needs_browser
def test_code_fits_at_1280_pixels_and_every_page_on_a_phone(site: Path) -> None:
    with launched() as browser:
        page = browser.new_page()
        for path in sorted(site.rglob("*.html")):
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(path.as_uri())
            assert page.evaluate(TOO_WIDE) == 0, f"{path.name} has code that is too wide"
            assert page.evaluate(PAGE_WIDTH) <= 1280, path.name
            page.set_viewport_size({"width": 390, "height": 900})
            assert page.evaluate(PAGE_WIDTH) <= 390, path.name


def test_a_page_has_the_version_the_repository_and_buttons_that_copy(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert f"embedry {embedry.__version__}" in page
    assert "https://github.com/embedry/embedry" in page
    assert "copybutton.js" in page
    assert "Unreleased" in (site / "changelog.html").read_text(encoding="utf-8")


def test_no_docstring_is_taken_for_a_type_or_an_error(site: Path) -> None:
    for path in site.glob("reference/*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<dt[^>]*>Type<|<strong>As ", text), path.name
