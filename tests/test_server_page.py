"""The server's pages in a real browser: what they show is what the model computes, and all they ask is the server."""

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from browser import launched, needs_browser
from embedry import LazyEmbedder, resolve
from embedry_server import create_app
from kind_models import registered
from serving import Server, in_thread, running

pytestmark = needs_browser

MINILM = "all-MiniLM-L6-v2"
PROMPTS = {"query": "query: ", "document": "passage: "}
KEY = "sk-of-the-tests"
MARKUP = '<img src=x onerror="window.ran = true"><b>bold</b> &amp; more'
QUERY = "How are stars born?"
TEXTS = (
    "A cake is baked at 180 degrees.",
    "Clouds of gas collapse under their own gravity.",
    MARKUP,
    "The sun is a star of middle age.",
    "Borrowed books are returned within a month.",
)


@pytest.fixture(scope="module")
def prompted(checkpoint: Callable[..., Path]) -> Path:
    """A model whose queries and documents have different prompts."""
    return checkpoint("bert", prompts=PROMPTS)


@pytest.fixture(scope="module")
def server(minilm_folder: Path, prompted: Path) -> Iterator[Server]:
    with running(MINILM, f"prompted={prompted}") as server:
        yield server
        server.client.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """A page, with the URLs that it asks for in `fetched`, what it sends in `sent`, and all that goes wrong in `faults`."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.fetched = []
    page.sent = []
    page.faults = []
    page.on("request", lambda request: (page.fetched.append(request.url), page.sent.append(request)))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda line: page.faults.append(line.text) if line.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: (page.faults.append(dialog.message), dialog.dismiss()))
    page.goto(url)
    yield page
    context.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The server's page, which shows its models."""
    with opened(browser, server.url) as page:
        page.get_by_role("heading", name=MINILM).wait_for()
        yield page


def compare(page: Any, first: str, second: str) -> str:
    """The number that the page shows for two texts."""
    page.get_by_label("First text", exact=True).fill(first)
    page.get_by_label("Second text", exact=True).fill(second)
    page.get_by_role("button", name="Compare").click()
    page.locator("#similarity").wait_for()
    page.locator("#changed").wait_for(state="hidden")  # which it says of the number from before
    return str(page.locator("#similarity").inner_text())


def rank(page: Any, query: str, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """The texts and their numbers, in the order of the page."""
    page.get_by_text("Nearest", exact=True).click()
    page.get_by_label("Query", exact=True).fill(query)
    page.get_by_label("Texts, one per line", exact=True).fill("\n".join(texts))
    page.get_by_role("button", name="Rank").click()
    page.locator("#ranked").wait_for()
    page.locator("#changed").wait_for(state="hidden")
    rows = page.locator("#ranked > li").all()
    return [(row.locator(".text").inner_text(), row.locator(".value").inner_text()) for row in rows]


def cosines(query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = query.astype(np.float64), vectors.astype(np.float64)
    return np.asarray(b @ a / np.linalg.norm(a) / np.linalg.norm(b, axis=1))


def test_the_number_of_two_texts_is_the_cosine_of_their_vectors(page: Any, minilm: LazyEmbedder) -> None:
    for first, second in (TEXTS[:2], TEXTS[1:3]):
        vectors = minilm.encode([first, second], role="document")
        assert compare(page, first, second) == f"{cosines(vectors[0], vectors[1:])[0]:.3f}"


def test_texts_are_ranked_as_numpy_ranks_them(page: Any, minilm: LazyEmbedder) -> None:
    found = cosines(minilm.encode([QUERY], role="query")[0], minilm.encode(TEXTS, role="document"))
    assert rank(page, QUERY, TEXTS) == [(TEXTS[index], f"{found[index]:.3f}") for index in np.argsort(-found)]


def test_each_text_has_the_prompt_of_its_role(page: Any, prompted: Path) -> None:
    page.get_by_label("Model", exact=True).select_option("prompted")
    embedder = resolve(str(prompted))
    for first, second in (("query", "document"), ("document", "document"), ("unprompted", "query")):
        page.get_by_label("Role of the first text").select_option(first)
        page.get_by_label("Role of the second text").select_option(second)
        a, b = embedder.encode([TEXTS[0]], role=first), embedder.encode([TEXTS[3]], role=second)
        assert compare(page, TEXTS[0], TEXTS[3]) == f"{cosines(a[0], b)[0]:.3f}"
        prompt = [] if first == "unprompted" else [PROMPTS[first].strip(": "), ":"]
        assert page.locator("#first-tokens .prompt").all_inner_texts() == prompt


def test_tokens_are_shown_and_special_ones_are_marked(page: Any, minilm: LazyEmbedder) -> None:
    compare(page, "Unbelievably cold", "Snow")
    (tokens,) = minilm.tokenize(["Unbelievably cold"], role="query")
    chips = page.get_by_role("group", name="Tokens of the first text").locator("> *")
    assert chips.all_inner_texts() == [token.text for token in tokens]
    special = page.locator("#first-tokens .special").all_inner_texts()
    assert special == [token.text for token in tokens if token.special] == ["[CLS]", "[SEP]"]
    page.get_by_text(f"{len(tokens)} of 256 tokens").wait_for()


def test_what_the_model_does_not_read_is_shown_as_cut(page: Any, minilm: LazyEmbedder) -> None:
    words = "one two three " * 100
    (tokens,) = minilm.tokenize([words], role="query")
    assert len(tokens) == 302
    compare(page, words, "Snow")
    page.get_by_text("302 tokens: the model reads 256, 46 are cut").wait_for()
    cut = page.locator("#first-tokens .chips > *").evaluate_all("all => all.map(each => each.className === 'cut')")
    # The last token is [SEP], which the model reads behind what is left of the text.
    assert cut == [False] * 255 + [True] * 46 + [False]
    assert page.locator("#second-tokens .cut").count() == 0


def test_where_tokens_are_not_available_the_number_is_shown_all_the_same(page: Any, minilm: LazyEmbedder) -> None:
    said = "this model's engine tokenizes texts itself"
    page.route("**/tokenize", lambda route: route.fulfill(status=400, json={"error": said, "error_type": "validation"}))
    vectors = minilm.encode(TEXTS[:2], role="document")
    assert compare(page, TEXTS[0], TEXTS[1]) == f"{cosines(vectors[0], vectors[1:])[0]:.3f}"
    assert page.get_by_text(f"Tokens are not available: {said}").count() == 2


def test_markup_is_shown_and_not_run(page: Any) -> None:
    compare(page, MARKUP, MARKUP)
    assert MARKUP in [text for text, _ in rank(page, MARKUP, TEXTS)]
    page.locator("summary").last.click()
    page.get_by_role("group", name="Tokens of this text").wait_for()
    assert page.locator("img, b").count() == 0
    assert page.evaluate("window.ran") is None
    assert page.faults == []


def test_the_models_are_shown_with_what_they_are(page: Any, server: Server) -> None:
    (first, second) = server.client.get("/status").json()["models"]
    for model, row in zip((first, second), page.locator("#models > li").all(), strict=True):
        text = row.inner_text()
        for fact in ("name", "dims", "max_seq_length", "space", "backend", "device"):
            assert str(model[fact]) in text
        assert ", ".join(model["roles"]) in text
        assert "Ready" in text
    page.get_by_role("button", name=first["space"]).click()
    page.get_by_text("Copied", exact=True).or_(page.get_by_text("Selected", exact=True)).first.wait_for()


def test_all_is_asked_of_the_server_itself_and_nothing_fails(page: Any, server: Server) -> None:
    compare(page, TEXTS[0], TEXTS[1])
    rank(page, QUERY, TEXTS)
    page.goto(f"{server.url}/docs")
    page.locator("article").first.wait_for()
    asked = {url for url in page.fetched if not url.startswith("data:")}
    paths = {"/", "/status", "/v1/embeddings", "/tokenize", "/docs", "/openapi.json"}
    assert asked == {server.url + path for path in paths}
    assert page.faults == []


def test_the_pages_work_behind_a_prefix(page: Any, server: Server) -> None:
    page.route("**/some/prefix/**", lambda route: route.continue_(url=route.request.url.replace("/some/prefix/", "/")))
    page.goto(f"{server.url}/some/prefix/")
    page.fetched.clear()
    compare(page, TEXTS[0], TEXTS[1])
    page.get_by_role("link", name="API").click()
    page.get_by_role("heading", name="/v1/embeddings").wait_for()
    assert f"curl {server.url}/some/prefix/v1/embeddings" in page.locator("pre").first.inner_text()
    page.get_by_role("link", name="Server").click()
    page.get_by_role("heading", name=MINILM).wait_for()
    asked = [url for url in page.fetched if not url.startswith("data:")]
    assert len(asked) >= 6
    assert all(url.startswith(f"{server.url}/some/prefix/") for url in asked)


def test_a_key_is_asked_for_and_used(browser: Any, minilm: LazyEmbedder) -> None:
    vectors = minilm.encode(TEXTS[:2], role="document")
    with running(MINILM, env={"EMBEDRY_API_KEYS": KEY}) as server, opened(browser, server.url) as page:
        server.client.close()
        field = page.get_by_label("API key", exact=True)
        field.fill("another")
        field.press("Enter")
        page.get_by_text("The server refused this key").wait_for()
        assert page.get_by_role("heading", name=MINILM).count() == 0
        field.fill(KEY)
        page.get_by_role("button", name="Use key").click()
        page.get_by_role("heading", name=MINILM).wait_for()
        field.wait_for(state="hidden")
        assert compare(page, TEXTS[0], TEXTS[1]) == f"{cosines(vectors[0], vectors[1:])[0]:.3f}"
        posted = [request.headers.get("authorization") for request in page.sent if request.method == "POST"]
        assert posted == [f"Bearer {KEY}"] * 4  # vectors and tokens, of two roles
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_an_error_is_shown_as_the_server_says_it(page: Any, server: Server) -> None:
    texts = ["many"] * 2049
    page.get_by_text("Nearest", exact=True).click()
    page.get_by_label("Texts, one per line").evaluate("(field, text) => { field.value = text; }", "\n".join(texts))
    page.get_by_role("button", name="Rank").click()
    shown = page.locator("#result .error")
    shown.wait_for()
    answer = server.embeddings(texts)
    assert answer.status_code == 400
    assert shown.inner_text() == answer.json()["error"]["message"]


def test_a_server_that_does_not_answer_is_waited_for(page: Any) -> None:
    page.route("**/status", lambda route: route.abort())
    page.get_by_text("The server does not answer. This page keeps trying.").wait_for()
    page.unroute("**/status")
    page.get_by_text("The server does not answer.").wait_for(state="hidden")
    assert page.locator("#state").inner_text() == "Ready"


def test_a_hidden_page_asks_nothing(page: Any) -> None:
    hide = "is => { Object.defineProperty(document, 'hidden', {value: is, configurable: true}); document.dispatchEvent(new Event('visibilitychange')); }"
    with page.expect_response("**/status"):
        pass
    page.evaluate(hide, True)
    page.wait_for_timeout(500)
    before = len(page.fetched)
    page.wait_for_timeout(2500)
    assert len(page.fetched) == before
    with page.expect_response("**/status"):
        page.evaluate(hide, False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 800, 1400])
def test_nothing_is_wider_than_the_window(browser: Any, server: Server, width: int, scheme: str) -> None:
    fits = "document.documentElement.scrollWidth <= innerWidth"
    with opened(browser, server.url, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        compare(page, "endless" * 200, "word " * 300)
        assert page.evaluate(fits)
        rank(page, QUERY, (*TEXTS, "endless" * 200))
        page.locator("summary").last.click()
        assert page.evaluate(fits)
        grounds = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (grounds == "rgb(17, 19, 22)") == (scheme == "dark")
        page.goto(f"{server.url}/docs")
        page.locator("article").first.wait_for()
        for each in page.locator("details:not([open]) > summary").all()[:12]:
            each.click()
        assert page.evaluate(fits)


def test_every_route_is_documented_with_its_fields_and_answers(browser: Any, server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    with opened(browser, f"{server.url}/docs") as page:
        page.locator("article").first.wait_for()
        expected = [(method.upper(), path) for path, item in document["paths"].items() for method in item]
        shown = page.locator("article h3").evaluate_all(
            "all => all.map(each => [each.querySelector('.method').textContent, each.querySelector('.path').textContent])"
        )
        assert sorted(map(tuple, shown)) == sorted(expected)
        operation = document["paths"]["/v1/embeddings"]["post"]
        article = page.locator(f"article#{operation['operationId']}")
        text = article.text_content()
        fields = document["components"]["schemas"]["EmbeddingsRequest"]["properties"]
        for name, field in fields.items():
            assert article.locator(".name").filter(has_text=name).count() >= 1
            assert field.get("description", "") in text
        for status, response in operation["responses"].items():
            assert status in article.locator(".status").all_inner_texts()
            assert response["description"] in text
            assert all(name in text for name in response.get("headers", {}))


def test_the_example_of_the_documentation_is_one_that_the_server_answers(browser: Any, server: Server) -> None:
    with opened(browser, f"{server.url}/docs") as page:
        page.locator("article").first.wait_for()
        for path in ("/v1/embeddings", "/embed", "/tokenize"):
            article = page.locator("article").filter(has=page.get_by_role("heading", name=f"POST {path} ")).first
            words = shlex.split(article.locator("pre").inner_text().replace("\\\n", " "))
            body = json.loads(words[words.index("-d") + 1])
            if "model" in body:
                body["model"] = MINILM
            assert words[:2] == ["curl", server.url + path]
            assert server.client.post(path, json=body).status_code == 200


@pytest.fixture
def kinds_url(tmp_path: Path, minilm: LazyEmbedder) -> Iterator[str]:
    """A server with a model of every kind, the dense one last."""
    names = [registered(tmp_path, kind).name for kind in ("reranker", "sparse", "multi_vector")]
    with in_thread(create_app([*names, MINILM])) as url:
        yield url


def test_models_of_all_kinds_are_shown_and_texts_are_tried_with_dense_ones(
    browser: Any, kinds_url: str, minilm: LazyEmbedder
) -> None:
    with opened(browser, kinds_url) as page:
        page.get_by_role("heading", name=MINILM).wait_for()
        rows = [row.inner_text() for row in page.locator("#models > li").all()]
        expected = [
            ("Reranker", "Scores\n1"),
            ("Sparse", "Terms\n4,000"),
            ("Multi-vector", "Dims\n16"),
            ("Dense", "Dims\n384"),
        ]
        for row, words in zip(rows, expected, strict=True):
            assert all(word in row for word in words)
        assert page.locator("#model option").all_inner_texts() == [MINILM]
        found = compare(page, TEXTS[0], TEXTS[1])
        expected_value = cosines(minilm.encode_query(TEXTS[:1])[0], minilm.encode_document(TEXTS[1:2]))[0]
        assert abs(float(found) - expected_value) <= 0.0006
        assert page.faults == []


def test_without_a_dense_model_there_is_nothing_to_try(browser: Any, tmp_path: Path) -> None:
    with in_thread(create_app([registered(tmp_path, "reranker").name])) as url, opened(browser, url) as page:
        page.get_by_role("heading", name="tiny-reranker").wait_for()
        assert page.get_by_role("heading", name="Models").is_visible()
        assert not page.get_by_role("heading", name="Try texts").is_visible()


def test_the_examples_of_routes_for_other_kinds_are_answered(browser: Any, kinds_url: str) -> None:
    with opened(browser, f"{kinds_url}/docs") as page:
        page.locator("article").first.wait_for()
        for path, role in (
            ("/rerank", {}), ("/v1/rerank", {}), ("/v2/rerank", {}), ("/embed_sparse", {}),
            ("/embed_all", {"prompt_name": "document"}),
        ):  # fmt: skip
            article = page.locator("article").filter(has=page.get_by_role("heading", name=f"POST {path} ")).first
            words = shlex.split(article.locator("pre").inner_text().replace("\\\n", " "))
            answer = httpx.post(words[1], json=json.loads(words[words.index("-d") + 1]) | role, trust_env=False)
            assert answer.status_code == 200, answer.text
            assert words[1] == kinds_url + path
