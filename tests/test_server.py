"""The server's contract: what is asked, what is answered, and what every refusal says."""

import base64
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import LazyEmbedder, Matryoshka, OptionError, register, resolve
from embedry_server import create_app, logs
from embedry_server.errors import ApiError
from embedry_server.keys import Keys, check_address
from embedry_server.queue import Queue
from embedry_server.settings import Limits
from recording import Recorder, over
from serving import app_over

MINILM = "all-MiniLM-L6-v2"
PROMPTS = {"query": "query: ", "document": "passage: ", "clustering": "cluster: "}
LONG = "word " * 400

Vectors = NDArray[np.float32]
Client = httpx.AsyncClient


def client_of(app: Any) -> Client:
    return Client(transport=httpx.ASGITransport(app), base_url="http://server")


@pytest.fixture(scope="module")
def prompted(checkpoint: Callable[..., Path]) -> Path:
    """A model whose queries and documents have different prompts, and which may be shortened."""
    return checkpoint("bert", prompts=PROMPTS)


@pytest.fixture(scope="module")
def app(minilm: LazyEmbedder, prompted: Path) -> Any:
    return create_app([MINILM, f"prompted={prompted}"])


@pytest.fixture
async def client(app: Any) -> AsyncIterator[Client]:
    async with client_of(app) as client:
        yield client


async def ask(client: Client, given: Any, *, model: Any = MINILM, **fields: Any) -> httpx.Response:
    return await client.post("/v1/embeddings", json={"model": model, "input": given, **fields})


def vectors(answer: httpx.Response) -> Vectors:
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [each["index"] for each in data] == list(range(len(data)))
    return np.array([each["embedding"] for each in data], dtype=np.float32)


def close(found: Vectors, expected: Vectors) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-6


# Vectors.


async def test_numbers_and_base64_are_the_vectors_of_encode(client: Client, minilm: LazyEmbedder) -> None:
    texts = ["one", "", "two words and more", "one", "ünïcödé \0 漢字"]
    expected = minilm.encode_document(texts)
    numbers = await ask(client, texts)
    close(vectors(numbers), expected)
    encoded = (await ask(client, texts, encoding_format="base64")).json()
    close(np.stack([np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in encoded["data"]]), expected)
    tokens = minilm.prepare(texts, role="document").tokens
    assert tokens is not None
    assert encoded["usage"] == {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
    assert (encoded["object"], encoded["model"]) == ("list", MINILM)
    close(vectors(await ask(client, "one")), expected[:1])


async def test_a_large_request_is_read_and_answered_by_other_threads_and_is_right(
    client: Client, minilm: LazyEmbedder
) -> None:
    texts = [f"text {number} " * (number % 9 + 1) for number in range(2048)]
    close(vectors(await ask(client, texts)), minilm.encode_document(texts))


async def test_headers_tell_how_vectors_were_made(client: Client, minilm: LazyEmbedder) -> None:
    answer = await ask(client, ["one", LONG, "two", LONG])
    assert answer.headers["embedry-role"] == "document"
    assert answer.headers["embedry-space"] == minilm.fingerprint
    assert answer.headers["embedry-truncated"] == "1, 3"
    timings = dict(part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    assert list(timings) == ["read", "queue", "compute"]
    assert float(timings["compute"]) > 0
    assert "embedry-truncated" not in (await ask(client, "one")).headers


async def test_a_request_keeps_its_own_id_if_it_is_a_sane_one(client: Client) -> None:
    async def identity(given: str) -> str:
        answer = await client.get("/v1/models", headers=[(b"x-request-id", given.encode("latin-1"))])
        return str(answer.headers["x-request-id"])

    assert await identity("abc-1.2:3_4") == "abc-1.2:3_4"
    for odd in ("a b", "x" * 129, '"', "", "Ã©"):
        assert len(await identity(odd)) == 16
    assert await identity("") != await identity("")


# Roles.


@pytest.mark.parametrize(
    ("fields", "role"),
    [
        ({"input_type": "query"}, "query"),
        ({"input_type": "search_query"}, "query"),
        ({"input_type": "document"}, "document"),
        ({"input_type": "passage"}, "document"),
        ({"input_type": "search_document"}, "document"),
        ({"task": "retrieval.query"}, "query"),
        ({"task": "retrieval.passage"}, "document"),
        ({"task_type": "RETRIEVAL_QUERY"}, "query"),
        ({"task_type": "RETRIEVAL_DOCUMENT"}, "document"),
        ({"prompt_name": "query"}, "query"),
        ({"prompt_name": "clustering"}, "clustering"),
        ({"input_type": "unprompted"}, "unprompted"),
        ({"input_type": "query", "task": "retrieval.query"}, "query"),
        ({"model": "prompted-query"}, "query"),
        ({"model": "prompted-passage"}, "document"),
        ({"model": "prompted-document"}, "document"),
        ({"model": "prompted-clustering"}, "clustering"),
        ({"model": "prompted-unprompted"}, "unprompted"),
        ({"model": "prompted-query", "input_type": "query"}, "query"),
    ],
)
async def test_the_role_is_understood_in_the_words_of_every_api(
    client: Client, prompted: Path, fields: dict[str, str], role: str
) -> None:
    answer = await ask(client, ["one", "two words"], **{"model": "prompted", **fields})
    close(vectors(answer), resolve(prompted).encode(["one", "two words"], role=role))
    assert answer.headers["embedry-role"] == role


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        (
            {},
            "input_type",
            ["prompted-query", "prompted-passage", "prompted-unprompted", "input_type", "--unnamed-role"],
        ),
        ({"input_type": "query", "task": "retrieval.passage"}, "task", ["input_type says query", "task says document"]),
        ({"model": "prompted-query", "input_type": "passage"}, "input_type", ["model says query"]),
        (
            {"input_type": "classification"},
            "input_type",
            ["'classification'", "query, document, clustering, unprompted"],
        ),
        ({"input_type": 5}, "input_type", ["Expected `str | null`, got `int`"]),
    ],
)
async def test_a_role_that_is_missing_wrong_or_contradicted_is_refused_with_the_fix(
    client: Client, fields: dict[str, Any], param: str, says: list[str]
) -> None:
    answer = await ask(client, "one", **{"model": "prompted", **fields})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    for words in says:
        assert words in error["message"]


async def test_a_server_may_be_told_what_an_unnamed_role_is(prompted: Path) -> None:
    for role in ("query", "document", "unprompted"):
        async with client_of(create_app([f"prompted={prompted}"], unnamed_role=role)) as client:
            close(vectors(await ask(client, "one", model="prompted")), resolve(prompted).encode(["one"], role=role))


async def test_names_are_listed_with_a_role_each_where_roles_differ(client: Client, app: Any) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    assert [(each["id"], each["role"], each["root"]) for each in listed] == [
        (MINILM, None, MINILM), ("prompted-query", "query", "prompted"), ("prompted-passage", "document", "prompted"),
        ("prompted-unprompted", "unprompted", "prompted"),
    ]  # fmt: skip
    one = (await client.get("/v1/models/prompted")).json()
    assert (one["id"], one["role"]) == ("prompted", None)
    assert one["roles"] == ["query", "document", "clustering", "unprompted"]
    assert (await client.get("/v1/models/sentence-transformers/all-MiniLM-L6-v2")).json()["root"] == MINILM
    for name in ("nope", "prompted-nope", "prompted-"):
        answer = await client.get(f"/v1/models/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert "prompted-query" in answer.json()["error"]["message"]


# What a request may say.


async def test_shorter_vectors_are_those_of_resolve_and_share_the_weights(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("bert")
    spec = replace(resolve(folder).spec, name="shortened", matryoshka=Matryoshka(dims=(8,)))
    register(spec)
    app = create_app(["shortened"])
    async with client_of(app) as client:
        short = await ask(client, ["one", "two words"], model="shortened", dimensions=8)
        close(vectors(short), resolve("shortened", dims=8).encode_document(["one", "two words"]))
        full = await ask(client, ["one", "two words"], model="shortened", dimensions=spec.dims)
        close(vectors(full), resolve(folder).encode_document(["one", "two words"]))
        assert short.headers["embedry-space"] != full.headers["embedry-space"]
        (served,) = app.readiness._models
        assert served.view(8).engine is served.embedder.engine
        card = (await client.get("/v1/models/shortened")).json()
        assert card["dimensions"] == [spec.dims, 8]
        answer = await ask(client, "one", model="shortened", dimensions=7)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "dimensions")
        assert "dims=7 is not supported" in answer.json()["error"]["message"]


async def test_vectors_that_are_not_normalized_are_those_of_resolve(client: Client) -> None:
    answer = await ask(client, ["one", "two"], normalize=False)
    found = vectors(answer)
    assert np.abs(found - resolve(MINILM, normalize=False).encode_document(["one", "two"])).max() <= 1e-5
    assert np.linalg.norm(found, axis=1).min() > 1.5


async def test_null_and_unknown_fields_are_ignored(client: Client, minilm: LazyEmbedder) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("encoding_format", "dimensions", "input_type", "truncate", "task", "user"))
    answer = await ask(client, "one", **nothing, unknown={"a": [1]}, embedding_type="float", late_chunking=False)
    close(vectors(answer), minilm.encode_document(["one"]))


@pytest.mark.parametrize("truncate", [False, "NONE"])
async def test_a_longer_text_is_refused_where_the_request_forbids_to_cut_it(client: Client, truncate: Any) -> None:
    answer = await ask(client, ["one", LONG], truncate=truncate)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "input", "context_length_exceeded")
    assert "1 of 2 inputs are longer than the 256 tokens" in error["message"]
    assert "positions 1" in error["message"]
    assert vectors(await ask(client, "one", truncate=truncate)).shape == (1, 384)


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ("", None, "not valid JSON"),
        ("{", None, "not valid JSON"),
        ("[]", None, "Expected `object`, got `array`"),
        ('{"model": "all-MiniLM-L6-v2"}', None, "missing required field `input`"),
        ('{"input": "a"}', None, "missing required field `model`"),
        ('{"model": "all-MiniLM-L6-v2", "input": []}', "input", "there are no inputs"),
        ('{"model": "all-MiniLM-L6-v2", "input": [1, 2]}', "input", "check_embedding_ctx_length=False"),
        ('{"model": "all-MiniLM-L6-v2", "input": ["a", [1, 2]]}', "input", "input 1 is made of token ids"),
        ('{"model": "all-MiniLM-L6-v2", "input": ["a", null]}', "input", "got `null`"),
        ('{"model": "all-MiniLM-L6-v2", "input": ["a", 1.5]}', "input", "got `float`"),
        ('{"model": "all-MiniLM-L6-v2", "input": {"a": 1}}', "input", "got `object`"),
        ('{"model": "all-MiniLM-L6-v2", "input": NaN}', None, "not valid JSON"),
        ('{"model": "all-MiniLM-L6-v2", "input": "a", "dimensions": NaN}', None, "not valid JSON"),
        ('{"model": "all-MiniLM-L6-v2", "input": "a", "dimensions": 0}', "dimensions", ">= 1"),
        ('{"model": "all-MiniLM-L6-v2", "input": "a", "dimensions": 1e99}', "dimensions", "Expected `int | null`"),
        ('{"model": "all-MiniLM-L6-v2", "input": "a", "encoding_format": "hex"}', "encoding_format", "'hex'"),
        ('{"model": "all-MiniLM-L6-v2", "input": "a", "truncate": "START"}', "truncate", "START"),
        ('{"model": "all-MiniLM-L6-v2", "input": "\\ud800"}', None, "not valid JSON"),
        ('{"model": "all-MiniLM-L6-v2", "input": "a\\udfffb"}', None, "not valid JSON"),
        ('{"model": "all-MiniLM-L6-v2", "input": ' + DEEP + "}", "input", "got `array`"),
        ('{"model": "all-MiniLM-L6-v2", "unknown": ' + DEEP + ', "input": "a"}', None, "not valid JSON"),
        (b'{"model": "all-MiniLM-L6-v2", "input": "\xff\xfe"}', None, "not valid JSON"),
        (json.dumps({"model": MINILM, "input": ["a"] * 2049}), "input", "2,049 inputs, and a request may have 2,048"),
    ],
)
async def test_what_cannot_be_honored_is_a_400_that_names_the_field(
    client: Client, body: str | bytes, param: str | None, says: str
) -> None:
    answer = await client.post("/v1/embeddings", content=body if isinstance(body, bytes) else body.encode())
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert says in error["message"]
    assert error["type"] == "invalid_request_error"


async def test_of_a_field_that_comes_twice_the_last_one_holds(client: Client, minilm: LazyEmbedder) -> None:
    body = b'{"model": "all-MiniLM-L6-v2", "input": "one", "input": "two"}'
    close(vectors(await client.post("/v1/embeddings", content=body)), minilm.encode_document(["two"]))


async def test_a_request_has_no_more_tokens_than_the_limit(minilm: LazyEmbedder) -> None:
    async with client_of(app_over(over(Recorder(), minilm), tokens=20, queue_tokens=20)) as client:
        assert (await ask(client, ["one two three"] * 4)).status_code == 200
        answer = await ask(client, ["one two three"] * 5)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_tokens")
        assert "25 tokens, and a request may have 20" in answer.json()["error"]["message"]


async def test_methods_and_paths_that_are_none_are_refused_in_the_same_words(client: Client) -> None:
    for answer, status in (
        (await client.get("/v1/embeddings"), 405),
        (await client.post("/v1/nothing"), 404),
        (await client.post("/v1/embeddings/"), 404),
    ):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


# The routes of text-embeddings-inference.


async def test_embed_gives_bare_vectors_normalized_or_not(client: Client, minilm: LazyEmbedder) -> None:
    texts = ["one", "two words"]
    answer = await client.post("/embed", json={"inputs": texts})
    close(np.array(answer.json(), dtype=np.float32), minilm.encode_document(texts))
    raw = await client.post("/embed", json={"inputs": texts, "normalize": False, "truncate": True})
    found = np.array(raw.json(), dtype=np.float32)
    assert np.abs(found - resolve(MINILM, normalize=False).encode_document(texts)).max() <= 1e-5
    assert raw.headers["embedry-space"] != answer.headers["embedry-space"]
    other = await client.post("/embed", json={"inputs": "one", "model": "prompted", "prompt_name": "query"})
    assert other.headers["embedry-role"] == "query"


async def test_errors_of_those_routes_are_in_their_words(client: Client) -> None:
    for body, status in (
        ({"inputs": []}, 400),
        ({"inputs": LONG, "truncate": False}, 400),
        ({"inputs": "a", "truncation_direction": "Left"}, 400),
        ({"inputs": "a", "model": "nope"}, 404),
        ({"inputs": "a", "model": "prompted"}, 400),
    ):
        answer = await client.post("/embed", json=body)
        assert (answer.status_code, set(answer.json())) == (status, {"error", "error_type"})
        assert answer.json()["error_type"] == "validation"


async def test_tokens_are_those_of_the_embedder(client: Client, minilm: LazyEmbedder, prompted: Path) -> None:
    answer = await client.post("/tokenize", json={"inputs": ["embeddings", LONG]})
    expected = minilm.tokenize(["embeddings", LONG], role="unprompted")
    assert [[token["id"] for token in text] for text in answer.json()] == [[t.id for t in text] for text in expected]
    assert answer.json()[0][1] == {"id": 7861, "text": "em", "special": False, "start": 0, "stop": 2}
    assert answer.json()[0][0] == {"id": 101, "text": "[CLS]", "special": True, "start": None, "stop": None}
    asked = {"inputs": "one", "model": "prompted", "prompt_name": "query"}
    (tokens,) = (await client.post("/tokenize", json=asked)).json()
    assert len(tokens) == resolve(prompted).count_tokens(["one"], role="query")[0]


async def test_info_tells_what_those_clients_look_for(client: Client) -> None:
    info = (await client.get("/info")).json()
    assert info["model_id"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert (info["max_input_length"], info["max_client_batch_size"]) == (256, 2048)
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}


# Keys.


async def test_a_server_with_keys_answers_those_who_have_one(minilm: LazyEmbedder) -> None:
    app = create_app([MINILM], keys=["first-key", "second-key"])
    async with client_of(app) as client:
        for headers in (
            {"authorization": "Bearer first-key"},
            {"authorization": "bearer second-key"},
            {"x-api-key": "first-key"},
        ):
            assert (await client.get("/v1/models", headers=headers)).status_code == 200
        for headers in (
            {},
            {"authorization": "Bearer first-ke"},
            {"authorization": "Bearer "},
            {"authorization": "Basic first-key"},
            {"authorization": "first-key"},
            {"x-api-key": "first-keyx"},
            {"x-api-key": "\xff"},
        ):
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            for path in ("/v1/models", "/metrics", "/status", "/nothing"):
                answer = await client.get(path, headers=raw)
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/", "/docs", "/openapi.json", "/health", "/health/live", "/health/ready", "/ping"):
            assert (await client.get(path)).status_code == 200


def test_keys_come_from_a_file_and_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.datastructures import Headers

    file = tmp_path / "keys"
    file.write_text("# of the team\nof-file\n\n")
    monkeypatch.setenv("EMBEDRY_API_KEYS", "one, two")
    keys = Keys.found(file)
    for key in ("of-file", "one", "two"):
        keys.check(Headers({"x-api-key": key}))
    with pytest.raises(ApiError):
        keys.check(Headers({"x-api-key": "# of the team"}))
    file.write_bytes(b"latin-\xe9\n")
    Keys.found(file).check(Headers({"x-api-key": "one"}))
    file.write_text("# none\n")
    with pytest.raises(OptionError, match="is empty; write one key per line"):
        Keys.found(file)
    with pytest.raises(OptionError, match="cannot be read"):
        Keys.found(tmp_path / "missing")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_that_others_reach_needs_keys_or_a_word(host: str) -> None:
    with pytest.raises(OptionError, match="--keys FILE or EMBEDRY_API_KEYS, or pass --no-auth"):
        check_address(host, Keys(), no_auth=False)
    check_address(host, Keys(["a"]), no_auth=False)
    check_address(host, Keys(), no_auth=True)
    check_address("127.0.0.1", Keys(), no_auth=False)


# Readiness, figures, logs.


async def test_a_server_is_ready_when_it_computes_and_says_why_it_is_not(minilm: LazyEmbedder) -> None:
    class Fails(Recorder):
        error: Exception | None = None

        def forward(self, ids: Any, mask: Any) -> Vectors:
            if self.error:
                raise self.error
            return super().forward(ids, mask)

    engine = Fails()
    app = app_over(over(engine, minilm))
    async with client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 200
        engine.error = RuntimeError("the card is gone")
        assert (await client.get("/health/ready")).status_code == 200, "the last computation is recent"
        app.readiness._proven[MINILM] -= 60
        for path in ("/health", "/health/ready", "/ping"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "the card is gone" in answer.text
        assert (await client.get("/status")).json()["models"][0]["ready"] is False
        engine.error = None
        assert (await client.get("/health/ready")).status_code == 200
        app.readiness.is_draining = True
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.headers["connection"]) == (503, "close")
        assert "stopping" in answer.text
        assert (await ask(client, "one")).status_code == 200, "it serves on"
        assert (await client.get("/health/live")).status_code == 200


async def test_before_its_models_are_loaded_a_server_says_so(minilm: LazyEmbedder) -> None:
    app = app_over(over(Recorder(), minilm))
    app.readiness._proven.clear()
    async with client_of(app) as client:
        for answer in (await ask(client, "one"), await client.get("/health/ready")):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "is being loaded" in answer.text
        assert (await client.get("/v1/models")).status_code == 200


async def test_metrics_count_requests_tokens_and_refusals_by_what_the_server_knows(minilm: LazyEmbedder) -> None:
    async with client_of(app_over(over(Recorder(), minilm), tokens=100, queue_tokens=100)) as client:
        await ask(client, ["one two three", LONG[:50]])
        await ask(client, "one", model="<script>")
        await client.get("/v1/models/secret")
        await client.get("/anything/secret")
        text = (await client.get("/metrics")).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    labels = f'code="200",model="{MINILM}",role="document",route="/v1/embeddings"'
    assert lines[f"embedry_requests_total{{{labels}}}"] == "1.0"
    assert lines['embedry_requests_total{code="404",model="",role="",route="/v1/embeddings"}'] == "1.0"
    assert lines['embedry_requests_total{code="404",model="",role="",route="/v1/models/{name}"}'] == "1.0"
    assert lines['embedry_requests_total{code="404",model="",role="",route=""}'] == "1.0"
    assert float(lines[f'embedry_tokens_total{{kind="real",model="{MINILM}"}}']) == 3 + 5 + 12
    assert float(lines[f'embedry_tokens_total{{kind="padded",model="{MINILM}"}}']) == 3 + 12 + 12
    assert lines[f'embedry_compute_seconds_count{{model="{MINILM}"}}'] == "1.0"
    assert lines["embedry_queue_tokens"] == "0.0"
    assert "script" not in text
    assert "secret" not in text


async def test_status_has_the_figures_of_the_last_seconds(client: Client) -> None:
    before = (await client.get("/status")).json()
    for _ in range(5):
        await ask(client, "one")
    status = (await client.get("/status")).json()
    assert status["requests"]["total"] - before["requests"]["total"] == 5
    assert status["requests"]["per_second"] >= 0.5
    assert 0 < status["requests"]["p50_ms"] <= status["requests"]["p99_ms"]
    assert status["queue"] == {**status["queue"], "tokens": 0, "limit": 1_000_000}
    assert [model["name"] for model in status["models"]] == [MINILM, "prompted"]
    assert status["ready"]


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """The lines of the log, as they would be written in JSON."""
    logging.getLogger("embedry.server.requests").setLevel(logging.INFO)
    logs.logger.setLevel(logging.INFO)
    yield lambda: [logs._Json().format(record) for record in caplog.records if record.name.startswith("embedry")]
    logging.getLogger("embedry.server.requests").setLevel(logging.NOTSET)
    logs.logger.setLevel(logging.NOTSET)


async def test_logs_have_a_line_a_request_and_never_a_text_or_a_key(
    minilm: LazyEmbedder, written: Callable[[], list[str]]
) -> None:
    word = "sesame"

    class Talks(Recorder):
        def forward(self, ids: Any, mask: Any) -> Vectors:
            if ids.shape[1] > 6:
                raise RuntimeError(f"cannot compute {word}")
            return super().forward(ids, mask)

    async with client_of(app_over(over(Talks(), minilm))) as client:
        headers = {"authorization": "Bearer sesame"}
        await client.post("/v1/embeddings", json={"model": MINILM, "input": "sesame"}, headers=headers)
        await client.post("/v1/embeddings", json={"model": MINILM, "input": "sesame " * 9}, headers=headers)
        await client.post("/v1/embeddings", json={"model": "sesame", "input": "sesame"})
        await client.post("/v1/embeddings", content=b'{"input": "sesame')
        await client.get("/sesame?sesame")
    lines = written()
    assert not any("sesame" in line for line in lines)
    requests = [json.loads(line) for line in lines if '"request"' in line]
    assert [line["status"] for line in requests] == [200, 500, 404, 400, 404]
    assert requests[0]["model"] == MINILM
    assert requests[0]["tokens"] == 3
    assert any("RuntimeError" in line for line in lines), "where the engine failed is there"


async def test_a_request_is_a_span_where_opentelemetry_is_installed(client: Client) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await client.post("/v1/embeddings", json={"model": MINILM, "input": "one"}, headers={"traceparent": parent})
    await ask(client, "one", model="nope")
    first, second = exporter.get_finished_spans()
    assert first.attributes is not None
    assert second.attributes is not None
    assert first.name == "POST /v1/embeddings"
    assert first.context is not None
    assert f"{first.context.trace_id:032x}" == parent[3:35]
    assert first.attributes["gen_ai.operation.name"] == "embeddings"
    assert first.attributes["gen_ai.request.model"] == MINILM
    assert first.attributes["gen_ai.embeddings.dimension.count"] == 384
    assert first.attributes["gen_ai.usage.input_tokens"] == 3
    assert second.attributes["error.type"] == "model_not_found"


# How much is accepted.


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of a queue, which the test sets."""
    from embedry_server import queue as module

    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def refused(queue: Queue, tokens: int) -> int | None:
    """The seconds to wait with so many tokens; None if they are accepted."""
    try:
        queue.check(tokens)
    except ApiError as error:
        return int(error.headers["retry-after"]) if (error.status, error.code) == (429, "queue_full") else -1
    return None


def test_a_queue_that_is_full_says_when_to_come_again(clock: list[float]) -> None:
    queue = Queue(10_000, deadline=60)
    with queue.accepted(10_000):
        assert refused(queue, 1) == 1, "nothing is known of its rate"
        clock[0] += 5
    assert queue.tokens_per_second == 2000
    clock[0] += 50  # idle time is not work
    with queue.accepted(100):
        clock[0] += 1  # nor is one small request what the server can do
    assert queue.tokens_per_second == 2000
    with queue.accepted(9_000):
        assert refused(queue, 1000) is None
        assert refused(queue, 4000) == 2, "3,000 tokens too many at 2,000 a second"
        with pytest.raises(ApiError), queue.accepted(1001):
            pass
        assert (queue.tokens, queue.in_flight) == (9_000, 1)
        clock[0] += 3
        assert queue.oldest_seconds == 3
    assert (queue.tokens, queue.in_flight, queue.oldest_seconds) == (0, 0, 0)


def test_what_would_miss_its_deadline_is_refused_at_once_and_small_requests_never_wait_for_large_ones(
    clock: list[float],
) -> None:
    queue = Queue(1_000_000, deadline=10)
    with queue.accepted(10_000):
        clock[0] += 10
    assert queue.tokens_per_second == 1000
    with queue.accepted(50_000):  # accepted beside nothing, whatever was measured
        assert refused(queue, 6_000) == 2, "6,000 of each take 12 s"
        assert refused(queue, 4_000) is None
        assert refused(queue, 10) is None


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"inputs": 0}, "inputs must be positive, got 0"),
        ({"deadline": -1.0}, "deadline must be positive"),
        ({"queue_tokens": 10}, "fewer than the 300000 that one request may have"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        Limits(**limits)


def test_two_models_need_two_names(minilm: LazyEmbedder) -> None:
    with pytest.raises(OptionError, match=f"two models are named '{MINILM}'; give one another name: NAME={MINILM}"):
        create_app([MINILM, MINILM])
    with pytest.raises(OptionError, match="at least one model"):
        create_app([])


async def test_pages_bring_all_they_need_and_may_fetch_nothing_else(client: Client) -> None:
    for path in ("/", "/docs"):
        answer = await client.get(path)
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.text.replace("http://www.w3.org/", "")
        assert "https://" not in answer.text
