"""The page of `embedry map` in a real browser: hovering, searching and the legend work, and nothing is fetched."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from command_line import run
from embedry.views import LazyEmbedder

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

pytestmark = [
    pytest.mark.skipif(
        BROWSER is None, reason="there is no Chromium to look at the page with: apt-get install chromium"
    ),
    # What umap says on import where Tensorflow is not installed; Python shows it to nobody by default.
    pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning"),
]

LITERAL = "A <b>bold</b> claim </script><script>alert(1)</script> &amp; more"
COLUMN = "who@where <i>$x"
TEXTS = [
    LITERAL,
    *(f"The number {number} of the recipes" for number in range(9)),
    *(f"A star called {n}" for n in range(8)),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, minilm: LazyEmbedder) -> Iterator[Any]:
    """The map of the texts, opened from its file."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright drives the browser: pip install playwright"
    )
    folder = tmp_path_factory.mktemp("browser")
    rows = [{"text": text, COLUMN: f"<u>value</u> {number}"} for number, text in enumerate(TEXTS)]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("map", folder / "in.jsonl", "--to", folder / "map.html").code == 0
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        opened = browser.new_page(viewport={"width": 1200, "height": 800})
        opened.set_default_timeout(30_000)
        opened.fetched = []
        opened.faults = []
        opened.on("request", lambda request: opened.fetched.append(request.url))
        opened.on("pageerror", lambda error: opened.faults.append(str(error)))
        opened.on("dialog", lambda dialog: (opened.faults.append(dialog.message), dialog.dismiss()))
        opened.goto((folder / "map.html").as_uri())
        opened.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
        yield opened
        browser.close()


POINT = """
number => {
    const plot = Bokeh.documents[0].roots()[0].children[1];
    const view = Bokeh.index.find_one(plot);
    const {data} = Bokeh.documents[0].get_model_by_name("texts");
    const {left, top} = view.canvas_view.el.getBoundingClientRect();
    return [left + view.frame.x_scale.compute(data.x[number]), top + view.frame.y_scale.compute(data.y[number])];
}
"""
SELECTED = '() => Array.from(Bokeh.documents[0].get_model_by_name("texts").selected.indices)'


def test_hovering_shows_the_text_as_it_is(page: Any) -> None:
    for number in (0, 5, 17):
        page.mouse.move(*page.evaluate(POINT, number))
        for words in (TEXTS[number], f"{COLUMN} <u>value</u> {number}"):
            page.get_by_text(words, exact=True).first.wait_for()


def test_searching_marks_what_matches_and_counts_it(page: Any) -> None:
    box = page.get_by_placeholder("Search the texts")
    box.type("A STAR ")
    page.get_by_text("8 of 18 match").wait_for()
    assert page.evaluate(SELECTED) == list(range(10, 18))
    box.fill("")
    box.type("</script><")
    page.get_by_text("1 of 18 match").wait_for()
    assert page.evaluate(SELECTED) == [0]
    box.fill("")
    box.type("nowhere")
    page.get_by_text("0 of 18 match").wait_for()
    box.fill("")
    page.get_by_text("match").wait_for(state="hidden")
    assert page.evaluate(SELECTED) == []


LEGEND = """
() => {
    const view = Bokeh.index.find_one(Bokeh.documents[0].roots()[0].children[1].right[0]);
    const {left, top} = view.parent.canvas_view.el.getBoundingClientRect();
    return [left + view.bbox.left + 40, top + view.bbox.top + 20];
}
"""
SHOWN = """
() => Bokeh.documents[0].roots()[0].children[1].right[0].items.map(item => item.renderers.map(one => one.visible))
"""


def test_a_click_on_the_legend_hides_a_cluster_and_its_name(page: Any) -> None:
    assert page.evaluate(SHOWN) == [[True] * 3] * 2
    page.mouse.click(*page.evaluate(LEGEND))
    assert page.evaluate(SHOWN) == [[False] * 3, [True] * 3]
    page.mouse.click(*page.evaluate(LEGEND))
    assert page.evaluate(SHOWN) == [[True] * 3] * 2


def test_nothing_is_fetched_and_nothing_fails(page: Any) -> None:
    assert [url.split(":")[0] for url in page.fetched] == ["file"]
    assert page.faults == []
