"""The pages of `embedry map` and `embedry compare` in a real browser, on large windows and phones, in light and in dark."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import launched, needs_browser
from command_line import run
from embedry.views import LazyEmbedder
from embedry_cli.map_page import _ON_DARK, PALETTE

pytestmark = [
    needs_browser,
    # What umap says on import where Tensorflow is not installed; Python shows it to nobody by default.
    pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning"),
]

LITERAL = "A <b>bold</b> claim </script><script>alert(1)</script> &amp; more"
COLUMN = "who@where <i>$x"
LONG = "A star called Aldebaran, " + "which is far away, " * 200 + "the end."
SAME = "The recipe that four people sent"
TEXTS = [
    LITERAL,
    *(f"The number {number} of the recipes" for number in range(6)),
    *(f"A star called {number}" for number in range(5)),
    LONG,
    *[SAME] * 4,
]
"""No more different ones than are laid out without UMAP, which takes long to compile."""
RECIPE, STAR, FAR, STACKED = 3, 8, 12, 13
"""Positions of some texts: the last one is that of four equal texts."""
LINES = [
    *(f"How to bake bread, part {number}" for number in range(12)),
    *(f"The orbit of comet number {number}" for number in range(12)),
    LITERAL,
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, minilm: LazyEmbedder) -> Path:
    """A folder with a page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    rows = [
        {"text": text, COLUMN: f"<u>value</u> {number}", "n": number, "kind": text.split()[0]}
        for number, text in enumerate(TEXTS)
    ]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("map", folder / "in.jsonl", "-o", folder / "map.html").code == 0
    assert run("map", folder / "in.jsonl", "-o", folder / "scale.html", "--color", "n").code == 0
    assert run("map", folder / "in.jsonl", "-o", folder / "kinds.html", "--color", "kind").code == 0
    assert run("compare", *LINES, "-o", folder / "heat.html").code == 0
    assert run("compare", *LINES, "--query", "food", "--query", "sky", "-o", folder / "queries.html").code == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@contextmanager
def opened(browser: Any, file: Path, width: int = 1280, height: int = 800, **options: Any) -> Iterator[Any]:
    """A page. Nothing may be fetched but itself, and nothing may fail."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
        **options,
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    fetched: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if "getImageData" not in line.text else None)  # our own
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    page.goto(file.as_uri())
    until(page, "plane.scale && !plane.frame")
    yield page
    assert (fetched, faults) == ([file.as_uri()], [])
    context.close()


@pytest.fixture
def page(browser: Any, files: Path) -> Iterator[Any]:
    """The map in a large window."""
    with opened(browser, files / "map.html") as page:
        yield page


def until(page: Any, condition: str) -> None:
    """Waits. Playwright's own `wait_for_function` evaluates text inside the page, which the page does not allow."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def place(page: Any, number: int) -> list[float]:
    """Where a text of the map is in the window."""
    found: list[float] = page.evaluate(
        "number => { const {left, top} = plane.canvas.getBoundingClientRect(), [x, y] = plane.pixel(...spot(number)); return [left + x, top + y]; }",
        number,
    )
    return found


def cell(page: Any, row: int, column: int) -> list[float]:
    """Where a pair of the heat map is in the window."""
    found: list[float] = page.evaluate(
        "pair => { const {left, top} = plane.canvas.getBoundingClientRect(), [x, y] = plane.pixel(...middle(pair)); return [left + x, top + y]; }",
        [row, column],
    )
    return found


def color(page: Any, x: float, y: float) -> str:
    """The color of a pixel of the canvas, as in CSS."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    until(page, "!plane.frame")
    found: list[int] = page.evaluate(
        """([x, y]) => {
            const {left, top} = plane.canvas.getBoundingClientRect();
            return Array.from(plane.context.getImageData((x - left) * devicePixelRatio, (y - top) * devicePixelRatio, 1, 1).data);
        }""",
        [x, y],
    )
    return "#" + "".join(f"{channel:02x}" for channel in found[:3])


def distance(one: str, other: str) -> int:
    """The largest difference of a channel between two colors."""
    channels = [[int(each[at : at + 2], 16) for at in (1, 3, 5)] for each in (one, other)]
    return max(abs(a - b) for a, b in zip(*channels, strict=True))


def lines(shown: Any) -> list[str]:
    """What an element says, without empty lines."""
    return [line for line in shown.inner_text().splitlines() if line.strip()]


def pinned(page: Any) -> list[str]:
    """What the panel says; nothing where nothing is pinned."""
    panel = page.locator("#pinned")
    return lines(panel) if panel.is_visible() else []


def test_hovering_shows_the_text_as_it_is(page: Any) -> None:
    for number in (0, RECIPE, STAR):
        page.mouse.move(*place(page, number))
        tip = page.locator("#tip")
        tip.wait_for()
        assert lines(tip.locator("> div").first)[:2] == [TEXTS[number], f"{COLUMN} <u>value</u> {number}"]
    page.mouse.move(5, 5)
    page.locator("#tip").wait_for(state="hidden")


def test_three_texts_at_most_are_shown_with_a_rule_between_them(page: Any) -> None:
    page.mouse.move(*place(page, STACKED))
    tip = page.locator("#tip")
    tip.wait_for()
    items = tip.locator("> div")
    assert [lines(item)[0] for item in items.all()] == [SAME] * 3
    assert tip.locator("> p").inner_text() == "and 1 more here"
    rules = items.evaluate_all("all => all.map(each => getComputedStyle(each).borderTopWidth)")
    assert rules == ["0px", "1px", "1px"]


def test_searching_lists_the_hits_and_a_click_zooms_to_one(page: Any) -> None:
    page.get_by_placeholder("Search the texts").fill("A STAR ")
    page.get_by_text("6 of 17 match").wait_for()
    hits = page.locator("#found button")
    assert [hit.inner_text().strip() for hit in hits.all()][:5] == TEXTS[7:12]
    assert hits.first.locator("mark").inner_text() == "A star"
    assert page.evaluate("plane.zoom") == 1
    hits.nth(STAR - 7).click()
    assert page.evaluate("plane.zoom") >= 3
    box = page.locator("#canvas").bounding_box()
    x, y = place(page, STAR)
    assert abs(x - (box["x"] + box["width"] / 2)) < 10
    assert abs(y - (box["y"] + box["height"] / 2)) < 40
    assert TEXTS[STAR] in pinned(page)
    page.get_by_role("button", name="Show all").click()
    assert page.evaluate("plane.zoom") == pytest.approx(1)


def test_searching_dims_what_does_not_match(browser: Any, files: Path) -> None:
    with opened(browser, files / "kinds.html") as page:  # this map has no names over its points
        at, ground = place(page, RECIPE), "#ffffff"
        assert distance(color(page, *at), ground) > 60
        box = page.get_by_placeholder("Search the texts")
        box.fill("</script><")
        page.get_by_text("1 of 17 match").wait_for()
        assert distance(color(page, *at), ground) < 60
        assert distance(color(page, *place(page, 0)), ground) > 60
        box.fill("nowhere")
        page.get_by_text("0 of 17 match").wait_for()
        assert not page.locator("#found").is_visible()
        box.fill("")
        page.get_by_text("match").wait_for(state="hidden")
        assert distance(color(page, *at), ground) > 60


def test_enter_goes_to_the_first_hit(page: Any) -> None:
    box = page.get_by_placeholder("Search the texts")
    box.fill("number 5")
    box.press("Enter")
    assert "The number 5 of the recipes" in pinned(page)


def test_a_click_pins_a_text_whole_and_it_can_be_copied(page: Any) -> None:
    page.mouse.click(*place(page, FAR))
    facts = [COLUMN, f"<u>value</u> {FAR}", "n", str(FAR), "kind", "A"]
    assert pinned(page) == ["Pinned", "Copy text", "✕", LONG, *facts]
    page.get_by_role("button", name="Copy text").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == LONG
    page.get_by_role("button", name="Unpin").click()
    assert pinned(page) == []
    page.mouse.click(*place(page, 0))
    assert LITERAL in pinned(page)
    page.keyboard.press("Escape")
    assert pinned(page) == []
    page.mouse.click(*place(page, 0))
    page.mouse.click(60, 770)  # where nothing is
    assert pinned(page) == []


def test_where_copying_is_not_allowed_the_text_is_selected(page: Any) -> None:
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }")
    page.mouse.click(*place(page, RECIPE))
    page.get_by_role("button", name="Copy text").click()
    page.get_by_role("button", name="Selected").wait_for()
    assert page.evaluate("String(getSelection())").strip() == TEXTS[RECIPE]


def test_texts_in_one_place_are_shown_by_turns(page: Any) -> None:
    page.mouse.click(*place(page, STACKED))
    seen = []
    for number in range(4):
        assert f"{number + 1} of 4 here" in pinned(page)
        seen.append(next(line for line in pinned(page) if line.startswith("<u>value</u>")))
        page.get_by_role("button", name="Next").click()
    assert sorted(seen) == [f"<u>value</u> {number}" for number in range(STACKED, STACKED + 4)]
    assert "1 of 4 here" in pinned(page)


def test_a_click_on_the_legend_hides_a_group_and_a_hit_shows_it_again(browser: Any, files: Path) -> None:
    with opened(browser, files / "kinds.html") as page:
        buttons = page.locator("#legend button")
        assert [lines(button) for button in buttons.all()] == [["The", "10"], ["A", "7"]]
        at = place(page, STAR)
        assert distance(color(page, *at), "#ffffff") > 60
        buttons.nth(1).click()
        page.mouse.move(5, 5)
        assert buttons.nth(1).get_attribute("aria-pressed") == "false"
        assert color(page, *at) == "#ffffff"
        page.mouse.click(*at)
        assert pinned(page) == []
        page.get_by_placeholder("Search the texts").fill(TEXTS[STAR])
        page.locator("#found button").click()
        assert buttons.nth(1).get_attribute("aria-pressed") == "true"
        assert TEXTS[STAR] in pinned(page)


def test_the_wheel_zooms_at_the_mouse_and_dragging_moves(page: Any) -> None:
    x, y = place(page, RECIPE)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    until(page, "plane.zoom > 2")
    # A mouse is at whole pixels.
    assert place(page, RECIPE) == [pytest.approx(x, abs=2), pytest.approx(y, abs=2)]
    x, y = place(page, RECIPE)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 20, steps=4)
    page.mouse.up()
    assert place(page, RECIPE) == [pytest.approx(x + 40, abs=1), pytest.approx(y + 20, abs=1)]
    assert pinned(page) == []  # dragging is no click
    page.locator("#canvas").press("0")
    assert page.evaluate("plane.isWhole")
    page.locator("#canvas").press("+")
    assert page.evaluate("plane.zoom") == pytest.approx(1.5)


def test_the_colors_follow_the_scheme(browser: Any, files: Path) -> None:
    with opened(browser, files / "kinds.html") as page:
        x, y = place(page, STAR)
        light = color(page, x, y)
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        until(page, "getComputedStyle(document.body).backgroundColor === 'rgb(17, 19, 22)'")
        dark = color(page, x, y)
        assert distance(light, PALETTE[1]) < 50  # a dot is nearly opaque
        assert distance(dark, _ON_DARK[1]) < 50
        assert color(page, 60, 770) == "#181b1f"
        swatch = page.locator("#legend .dot").nth(1)
        channels = ", ".join(str(int(_ON_DARK[1][at : at + 2], 16)) for at in (1, 3, 5))
        assert swatch.evaluate("each => getComputedStyle(each).backgroundColor") == f"rgb({channels})"


FITS = """
() => {
    const wide = [...document.querySelectorAll("body *")].filter(each => each.id !== "tip" && each.getBoundingClientRect().right > innerWidth + 0.5);
    return document.documentElement.scrollWidth <= innerWidth && wide.length === 0;
}
"""


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("map", 390, "dark"), ("scale", 320, "light"), ("heat", 390, "light"), ("queries", 390, "dark")],
)
def test_a_phone_has_room_for_all(browser: Any, files: Path, name: str, width: int, scheme: str) -> None:
    with opened(
        browser, files / f"{name}.html", width, 780, color_scheme=scheme, has_touch=True, device_scale_factor=2
    ) as page:
        assert page.evaluate(FITS)
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        page.touchscreen.tap(*(place(page, FAR) if name in ("map", "scale") else cell(page, 24, 1)))
        assert (LONG if name in ("map", "scale") else LITERAL) in pinned(page)
        assert page.evaluate(FITS)
        panel = page.locator("#pinned").bounding_box()
        assert panel["y"] + 60 < 780  # it can be seen
        assert not page.locator("#tip").is_visible()
        page.get_by_placeholder("Search the texts").fill("a")
        page.locator("#found button").first.click()
        assert page.evaluate(FITS)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(17, 19, 22)") == (scheme == "dark")


def test_two_fingers_zoom(browser: Any, files: Path) -> None:
    with opened(browser, files / "map.html", 390, 780, has_touch=True) as page:
        x, y = place(page, RECIPE)
        touch = page.context.new_cdp_session(page)

        def fingers(kind: str, *apart: float) -> None:
            points = [{"x": x + side * gap, "y": y, "id": side + 1} for gap in apart for side in (-1, 1)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        fingers("touchStart", 30)
        for apart in (40, 60, 90):
            fingers("touchMove", apart)
        fingers("touchEnd")
        assert page.evaluate("plane.zoom") == pytest.approx(3, rel=0.02)
        assert place(page, RECIPE) == [pytest.approx(x, abs=2), pytest.approx(y, abs=2)]
        assert pinned(page) == []


def test_a_turned_phone_shows_all_of_the_map_again(browser: Any, files: Path) -> None:
    with opened(browser, files / "map.html", 390, 780) as page:
        page.set_viewport_size({"width": 800, "height": 480})
        until(page, "plane.width > 400")
        assert page.evaluate("plane.isWhole")
        assert page.evaluate(FITS)


def test_a_scale_says_what_its_ends_are(browser: Any, files: Path) -> None:
    with opened(browser, files / "scale.html") as page:
        assert lines(page.locator("#legend")) == ["n", "0.16 or less", "15.84 or more"]
        page.mouse.move(*place(page, RECIPE))
        page.locator("#tip").wait_for()


def nearest(minilm: LazyEmbedder) -> list[tuple[float, int, int]]:
    """The pairs of the lines, the most similar ones first."""
    vectors = minilm.encode_document(LINES)
    scores = vectors @ vectors.T
    pairs = zip(*np.triu_indices(len(LINES), 1), strict=True)
    return sorted(((float(scores[a, b]), int(a), int(b)) for a, b in pairs), reverse=True)


def test_the_heat_map_lists_the_most_similar_pairs_and_a_click_zooms_to_one(
    browser: Any, files: Path, minilm: LazyEmbedder
) -> None:
    found = nearest(minilm)
    with opened(browser, files / "heat.html") as page:
        pairs = page.locator("#found button")
        assert pairs.count() == 100
        for number in (0, 1, 7):
            score, a, b = found[number]
            assert lines(pairs.nth(number)) == [f"{score:.3f}", LINES[b], LINES[a]]
        pairs.nth(1).click()
        score, a, b = found[1]
        assert pinned(page) == [f"{b + 1} and {a + 1}", "Copy texts", "✕", f"{score:.3f}", LINES[b], LINES[a]]
        assert page.evaluate("plane.scale") >= 40
        page.get_by_role("button", name="Copy texts").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == f"{LINES[b]}\n{LINES[a]}"
        page.get_by_text("Least alike").click()
        assert lines(pairs.first)[0] == f"{found[-1][0]:.3f}"
        page.get_by_placeholder("Search the texts").fill("</SCRIPT>")
        page.get_by_text("1 of 25 match").wait_for()
        assert pairs.count() == 24
        assert all(LITERAL in pair.inner_text() for pair in pairs.all())


def test_a_cell_has_the_color_and_the_number_of_its_pair(browser: Any, files: Path, minilm: LazyEmbedder) -> None:
    found = nearest(minilm)
    (_, *best), (_, *worst) = found[0], found[-1]
    with opened(browser, files / "heat.html") as page:
        x, y = cell(page, *best)
        assert distance(color(page, x - 6, y - 6), "#fde725") < 3  # the bright end of the scale, beside the number
        x, y = cell(page, *worst)
        assert distance(color(page, x - 6, y - 6), "#440154") < 3
        page.mouse.move(x, y)
        tip = page.locator("#tip")
        tip.wait_for()
        assert lines(tip) == [
            f"{found[-1][0]:.3f}", f"{worst[1] + 1} {LINES[worst[1]]}", f"{worst[0] + 1} {LINES[worst[0]]}",
        ]  # fmt: skip
        page.mouse.click(x, y)
        assert f"{found[-1][0]:.3f}" in pinned(page)
        before = cell(page, *best)
        page.get_by_text("As given").click()
        assert page.evaluate("rowAt.every((row, place) => row === place)")
        assert cell(page, *best) != before


def test_the_heat_map_of_queries_has_a_column_for_each(browser: Any, files: Path, minilm: LazyEmbedder) -> None:
    scores = minilm.encode_document(LINES) @ minilm.encode_query(["food", "sky"]).T
    with opened(browser, files / "queries.html") as page:
        page.mouse.click(*cell(page, 3, 1))
        assert pinned(page) == ["Q2 and 4", "Copy texts", "✕", f"{scores[3, 1]:.3f}", "sky", LINES[3]]
        best = int(scores.max(axis=1).argmax())
        assert page.evaluate("rowAt[0]") == best
        assert lines(page.locator("#found button").first)[0] == f"{scores.max():.3f}"
