"""The backend that asks a server: each text gets its vector, each prompt is applied once, and a wrong answer is an error."""

import base64
import json
import logging
import pickle
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import (
    BackendError,
    LayerNorm,
    LazyEmbedder,
    Matryoshka,
    ModelSpec,
    Normalize,
    OptionError,
    Pooling,
    SpaceError,
    TextTooLongError,
    TruncationWarning,
    UnsupportedModelError,
    resolve,
)
from embedry._pipeline import finishing
from embedry.modules import Chain
from embedry.testing import Conformance, Subject
from embedry_remote import connection, encoder, waiting
from entries import entry, registered
from serving import Server, running
from small_server import Reply, SmallServer

DIMS = 48
PROMPT = "find: "
KEY = "sk-a-key-that-nobody-may-see"
CLOSE = 1e-6
UNIT = (Normalize(),)
TEXTS = ["a text", "another text of a few more words", "", "naïve café, 日本語 🎉", "a text"]

DIGESTS = {name: sha256(name.encode()).hexdigest() for name in entry().files}
SPEC = entry(files=DIGESTS, prompts={"query": PROMPT}, matryoshka=Matryoshka(dims=(16,)))

Serve = Callable[..., SmallServer]


def raw(texts: Sequence[str]) -> NDArray[np.float32]:
    """A vector for each text, of a length that is not 1, from the text alone."""
    seeds = [int.from_bytes(sha256(text.encode()).digest()[:8]) for text in texts]
    rows = [np.random.default_rng(seed).normal(0.3, 2, DIMS) for seed in seeds]
    return np.array(rows, dtype=np.float32).reshape(len(texts), DIMS)


def finished(texts: Sequence[str], tail: Chain = UNIT) -> NDArray[np.float32]:
    return finishing.finish(raw(texts), tail, rows=len(texts), width=DIMS)


def space(spec: ModelSpec, **options: Any) -> str:
    return resolve(spec, backend="onnxruntime", **options).fingerprint


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EMBEDRY_REMOTE_URL", "EMBEDRY_REMOTE_KEY", "EMBEDRY_REMOTE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server, by default an embedry server of SPEC, and sets its address."""
    running: list[SmallServer] = []

    def start(**options: Any) -> SmallServer:
        defaults = {"dims": DIMS, "space": space(SPEC), "prompt": PROMPT}
        server = SmallServer(raw, **(defaults | options)).__enter__()
        running.append(server)
        monkeypatch.setenv("EMBEDRY_REMOTE_URL", server.url)
        return server

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that are waited, in place of waiting."""
    seconds: list[float] = []
    monkeypatch.setattr(connection, "sleep", seconds.append)
    return seconds


def remote(spec: ModelSpec = SPEC, **options: Any) -> LazyEmbedder:
    """An embedder with an engine of its own."""
    return LazyEmbedder(resolve(spec, backend="remote", **options).config)


# What comes back.


@pytest.mark.parametrize("embedry", [True, False])
def test_each_text_gets_its_vector_and_each_prompt_is_applied_once(serve: Serve, embedry: bool) -> None:
    server = serve(embedry=embedry)
    embedder = remote()
    assert server.requests == [], "nothing is asked before it is needed"
    np.testing.assert_allclose(embedder.encode_document(TEXTS), finished(TEXTS), atol=CLOSE)
    wanted = finished([PROMPT + text for text in TEXTS])
    np.testing.assert_allclose(embedder.encode_query(TEXTS), wanted, atol=CLOSE)
    sent = [
        {name: value for name, value in each.body.items() if name != "input"} for each in server.asked("/embeddings")
    ]
    model = {"model": "tiny-unprompted", "normalize": False} if embedry else {"model": "tiny"}
    assert sent == [{"encoding_format": "base64", **model}] * 2
    assert server.asked("/embeddings")[1].body["input"][0] == "find: a text"


def test_a_server_that_answers_numbers_instead_of_base64_is_read_too(serve: Serve) -> None:
    serve(embedry=False, base64=False)
    np.testing.assert_allclose(remote().encode_document(TEXTS), finished(TEXTS), atol=CLOSE)


def test_what_an_embedry_server_answers_is_exact_and_every_option_is_applied_here(serve: Serve) -> None:
    serve()
    before = replace(SPEC, matryoshka=Matryoshka(dims=(16,), before=(LayerNorm(),)))
    serve_before = {"spec": before}
    cases: list[tuple[dict[str, Any], Chain]] = [
        ({"normalize": False}, ()),
        ({}, UNIT),
        ({"dims": 16}, resolve(SPEC, dims=16).config.tail),
        ({"dims": 16, "normalize": False}, resolve(SPEC, dims=16, normalize=False).config.tail),
        ({"dims": 16, **serve_before}, resolve(before, dims=16).config.tail),
        ({"dims": 16, "normalize": False, **serve_before}, resolve(before, dims=16, normalize=False).config.tail),
    ]
    for options, tail in cases:
        np.testing.assert_array_equal(remote(**options).encode_document(TEXTS), finished(TEXTS, tail))


def test_of_another_server_what_does_not_depend_on_a_vectors_length_is_right_and_the_rest_is_refused(
    serve: Serve,
) -> None:
    serve(embedry=False)
    before = replace(SPEC, matryoshka=Matryoshka(dims=(16,), before=(LayerNorm(),)))
    for spec in (SPEC, before):
        tail = resolve(spec, dims=16).config.tail
        np.testing.assert_allclose(remote(spec, dims=16).encode_document(TEXTS), finished(TEXTS, tail), atol=CLOSE)
    unscaled = replace(SPEC, chain=(Pooling(mode="mean"),))
    np.testing.assert_allclose(remote(unscaled, normalize=True).encode_document(TEXTS), finished(TEXTS), atol=CLOSE)
    for embedder in (remote(normalize=False), remote(unscaled), remote(dims=16, normalize=False)):
        with pytest.raises(UnsupportedModelError, match=r"does not say whether it normalizes.*pass normalize=True"):
            embedder.load()


def test_vectors_in_any_order_are_put_into_that_of_the_texts(serve: Serve) -> None:
    server = serve(embedry=False)
    rows = finished(TEXTS[:4]).tolist()
    data = [{"index": index, "embedding": rows[index]} for index in (2, 0, 3, 1)]
    server.replies.append(Reply(body={"data": data}, path="/embeddings"))
    np.testing.assert_allclose(remote().encode_document(TEXTS[:4]), finished(TEXTS[:4]), atol=CLOSE)


def embeddings(*rows: Any, indices: Sequence[int] | None = None) -> Any:
    return {"data": [{"index": at, "embedding": row} for at, row in zip(indices or range(9), rows, strict=False)]}


ROW = [1.0] * DIMS
NAN = base64.b64encode(np.array([np.nan, *ROW[1:]], dtype="<f4").tobytes()).decode()

WRONG: dict[str, tuple[Any, str]] = {
    "too few": (embeddings(ROW), "answered 1 vectors for 2 texts"),
    "too many": (embeddings(ROW, ROW, ROW), "answered 3 vectors for 2 texts"),
    "an index twice": (embeddings(ROW, ROW, indices=(0, 0)), "not one for each index"),
    "an index that was not asked for": (embeddings(ROW, ROW, indices=(0, 5)), "not one for each index"),
    "another length": (embeddings(ROW, ROW[1:]), "a vector of 47 values, and the model's entry says 48"),
    "NaN in base64": (embeddings(NAN, ROW), "not finite for 1 of 2 texts"),
    "NaN in JSON": (b'{"data": [{"index": 0, "embedding": [NaN]}]}', "cannot be read as vectors"),
    "null": (embeddings([None, *ROW[1:]], ROW), "cannot be read as vectors"),
    "beyond float32": (embeddings([1e300, *ROW[1:]], ROW), "not finite for 1 of 2 texts"),
    "beyond float64": (
        json.dumps(embeddings([7.5, *ROW[1:]], ROW)).replace("7.5", "1e999").encode(),
        "not finite|cannot be read",
    ),
    "half a value": (embeddings("AAAA", ROW), "no base64 of float32 values"),
    "no base64": (embeddings("@@@@", ROW), "no base64 of float32 values"),
    "a page": (b"<!doctype html><title>Welcome", "cannot be read as vectors.*'<!doctype html>"),
    "an error with status 200": ({"error": "busy"}, "cannot be read as vectors"),
}


@pytest.mark.parametrize("embedry", [True, False])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_an_error_that_says_what_is_wrong(serve: Serve, case: str, embedry: bool) -> None:
    server = serve(embedry=embedry)
    body, sentence = WRONG[case]
    server.replies.append(Reply(body=body, path="/embeddings"))
    embedder = remote()
    with pytest.raises(BackendError, match=sentence) as error:
        embedder.encode_document(["one", "two"])
    assert f"{server.url}/v1/embeddings" in str(error.value)
    np.testing.assert_allclose(embedder.encode_document(["one"]), finished(["one"]), atol=CLOSE)


# Sizes.


def test_requests_that_are_too_large_for_the_server_are_cut(serve: Serve) -> None:
    server = serve(most_texts=32, most_chars=500)
    texts = [f"text {number}" for number in range(300)] + ["x" * 490]
    np.testing.assert_allclose(remote().encode_document(texts), finished(texts), atol=CLOSE)
    sizes = [len(each.body["input"]) for each in server.asked("/embeddings")]
    assert sizes[:4] == [256, 128, 64, 32], "a size that was refused is not tried again in this batch"
    assert len(sizes) < 20


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "This request has too many tokens", "type": "invalid_request_error"}}),
        (422, {"error": "batch size 3 > maximum allowed batch size 2", "error_type": "Validation"}),
    ],
)
def test_a_refusal_that_says_too_large_is_halved_and_another_is_not(serve: Serve, status: int, body: Any) -> None:
    server = serve(embedry=False)
    server.replies.append(Reply(status, body, path="/embeddings"))
    np.testing.assert_allclose(remote().encode_document(TEXTS), finished(TEXTS), atol=CLOSE)
    assert [len(each.body["input"]) for each in server.asked("/embeddings")] == [4, 2, 2]
    server.replies.append(Reply(400, {"error": {"message": "the model is asleep"}}, path="/embeddings"))
    with pytest.raises(BackendError, match="answered 400 Bad Request: the model is asleep"):
        remote().encode_document(TEXTS)
    assert len(server.asked("/embeddings")) == 4


def test_one_text_that_is_too_large_alone_is_an_error_with_the_servers_words(serve: Serve) -> None:
    serve(most_chars=10)
    with pytest.raises(BackendError, match=r"answered 413 .*: batch size 1 is too large"):
        remote().encode_document(["short", "a text that is far too long"])


def test_long_texts_are_sent_in_several_requests(serve: Serve) -> None:
    server = serve()
    texts = [f"{number} " + "x" * (encoder.MOST_CHARS // 2) for number in range(5)]
    np.testing.assert_allclose(remote().encode_document(texts), finished(texts), atol=CLOSE)
    assert [len(each.body["input"]) for each in server.asked("/embeddings")] == [2, 2, 1]


# What fails for a while.


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_what_fails_for_a_while_is_tried_again(serve: Serve, waits: list[float], status: int) -> None:
    server = serve()
    embedder = remote().load()
    server.replies += [Reply(status, {"error": "busy"})] * 3
    np.testing.assert_allclose(embedder.encode_document(TEXTS), finished(TEXTS), atol=CLOSE)
    assert len(server.asked("/embeddings")) == 4
    for place, seconds in enumerate(waits):
        longest = waiting.FIRST_WAIT * 2**place
        assert longest / 2 <= seconds <= longest


def test_a_connection_that_breaks_is_tried_again(serve: Serve, waits: list[float]) -> None:
    server = serve()
    embedder = remote()
    server.replies += [Reply(drop=True, path=path) for path in ("/models", "/embeddings", "/embeddings")]
    np.testing.assert_allclose(embedder.encode_document(TEXTS), finished(TEXTS), atol=CLOSE)
    assert (len(server.asked("/models")), len(server.asked("/embeddings")), len(waits)) == (2, 3, 3)


def test_a_server_that_is_silent_for_too_long_is_asked_again(
    serve: Serve, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.3)
    server = serve()
    embedder = remote().load()
    server.replies.append(Reply(delay=2, path="/embeddings"))
    np.testing.assert_allclose(embedder.encode_document(TEXTS), finished(TEXTS), atol=CLOSE)
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    server.replies.append(Reply(delay=2, path="/embeddings"))
    with pytest.raises(
        BackendError, match=r"/embeddings gives no answer \(ReadTimeout: timed out\).*; given up after 1 try"
    ):
        embedder.encode_document(TEXTS)


def test_the_server_says_how_long_to_wait(serve: Serve, waits: list[float]) -> None:
    server = serve()
    embedder = remote().load()
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    for header in ("7", "0", later, "soon", "Wed, 21 Oct 2015 07:28:00 GMT"):
        server.replies.append(Reply(429, {"error": "busy"}, {"Retry-After": header}))
    embedder.encode_document(TEXTS)
    for seconds, (least, most) in zip(waits, [(7, 7.3), (0, 0.3), (37, 40.3), (1, 2), (0, 0.3)], strict=True):
        assert least <= seconds <= most


def test_tries_are_bounded_in_number_and_in_time(serve: Serve, waits: list[float]) -> None:
    server = serve()
    embedder = remote().load()
    server.replies += [Reply(503, {"error": "draining"}) for _ in range(20)]
    with pytest.raises(BackendError, match=r"answered 503 .*: draining; given up after 6 tries"):
        embedder.encode_document(TEXTS)
    assert len(server.asked("/embeddings")) == connection.TRIES
    assert len(waits) == connection.TRIES - 1
    server.replies[:] = [Reply(429, {"error": "full"}, {"Retry-After": "3600"})]
    with pytest.raises(BackendError, match="full; it asks to wait 3,600 seconds; given up after 1 try"):
        embedder.encode_document(TEXTS)
    assert len(waits) == connection.TRIES - 1


def test_no_server_is_an_error_with_the_address_and_the_next_call_asks_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    serve()
    embedder = remote()
    with monkeypatch.context() as there:
        there.setenv("EMBEDRY_REMOTE_URL", "http://127.0.0.1:9")
        with pytest.raises(BackendError, match=r"http://127.0.0.1:9/v1/models gives no answer .*EMBEDRY_REMOTE_URL"):
            embedder.encode_document(TEXTS)
    np.testing.assert_allclose(embedder.encode_document(TEXTS), finished(TEXTS), atol=CLOSE)


@pytest.mark.parametrize(
    ("status", "key", "advice"),
    [
        (401, "", "set EMBEDRY_REMOTE_KEY to a key of that server"),
        (401, KEY, "the key in EMBEDRY_REMOTE_KEY is not accepted there"),
        (404, "", "set EMBEDRY_REMOTE_MODEL if the model has another name there"),
        (307, "", "redirects are not followed; set EMBEDRY_REMOTE_URL"),
        (500, "", "answered 500 Internal Server Error: no"),
    ],
)
def test_other_refusals_are_raised_at_once_with_the_fix(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, waits: list[float], status: int, key: str, advice: str
) -> None:
    monkeypatch.setenv("EMBEDRY_REMOTE_KEY", key)
    server = serve()
    server.replies.append(Reply(status, {"error": {"message": "no"}}, {"Location": "/elsewhere"}, path="/embeddings"))
    with pytest.raises(BackendError, match=advice):
        remote().encode_document(TEXTS)
    assert waits == []
    assert len(server.asked("/embeddings")) == 1


# Settings.


def test_without_an_address_the_error_names_the_variable_and_nothing_is_asked() -> None:
    embedder = remote()
    with pytest.raises(OptionError, match=r"set EMBEDRY_REMOTE_URL, to http://127.0.0.1:8080 for example"):
        embedder.encode_document(TEXTS)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8080", "ftp://host", "http://", "http://host:port", "http://user:secret@host", "http://h?k=secret"],
)
def test_an_address_that_cannot_be_one_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("EMBEDRY_REMOTE_URL", url)
    with pytest.raises(OptionError, match="EMBEDRY_REMOTE_URL must") as error:
        remote().load()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_the_address_may_end_as_that_of_openais_clients(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("EMBEDRY_REMOTE_URL", serve().url + end)
    np.testing.assert_allclose(remote().encode_document(TEXTS), finished(TEXTS), atol=CLOSE)


@pytest.mark.parametrize("embedry", [True, False])
def test_the_key_is_sent_with_every_request_and_shown_nowhere(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, embedry: bool
) -> None:
    monkeypatch.setenv("EMBEDRY_REMOTE_KEY", f"{KEY}\n")
    server = serve(embedry=embedry)
    embedder = remote()
    with caplog.at_level(logging.DEBUG):
        embedder.encode_document(TEXTS)
        server.replies.append(Reply(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}))
        with pytest.raises(BackendError, match=r"Incorrect API key provided: \*\*\*") as error:
            embedder.encode_document(TEXTS)
    assert {each.headers["authorization"] for each in server.requests} == {f"Bearer {KEY}"}
    inner = embedder.engine.load().encoder
    shown = (error.value, embedder.info, embedder, vars(inner), inner._settings, caplog.text)  # type: ignore[union-attr]
    assert KEY not in " ".join(map(repr, shown))
    assert KEY not in pickle.dumps(embedder).decode("latin-1")


@pytest.mark.parametrize("key", ["two words", "new\nline", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    serve()
    monkeypatch.setenv("EMBEDRY_REMOTE_KEY", key)
    with pytest.raises(OptionError, match="EMBEDRY_REMOTE_KEY must be printable ASCII") as error:
        remote().load()
    assert key not in str(error.value)


@pytest.mark.parametrize("embedry", [True, False])
def test_the_model_may_have_another_name_there(serve: Serve, monkeypatch: pytest.MonkeyPatch, embedry: bool) -> None:
    server = serve(embedry=embedry, name="acme/small")
    if embedry:
        with pytest.raises(BackendError, match=r"no model 'tiny'; it has acme/small; .* EMBEDRY_REMOTE_MODEL"):
            remote().load()
    monkeypatch.setenv("EMBEDRY_REMOTE_MODEL", "acme/small-query" if embedry else "acme/small")
    np.testing.assert_allclose(remote().encode_query(["a"]), finished([PROMPT + "a"]), atol=CLOSE)
    assert server.requests[-1].body["model"] == ("acme/small-unprompted" if embedry else "acme/small")


# The vector space.


def test_another_space_at_the_server_is_refused_with_both(serve: Serve) -> None:
    serve(space="0123456789abcdef01234567")
    with pytest.raises(
        SpaceError, match=f"the vector space 0123456789abcdef01234567, and 'tiny' has {space(SPEC)} here"
    ):
        remote().load()


def test_other_dims_at_the_server_are_refused(serve: Serve) -> None:
    serve(dims=DIMS + 1)
    with pytest.raises(SpaceError, match="has vectors of 49 values, and 'tiny' has 48 here"):
        remote().load()


def test_options_of_the_tail_leave_the_space_of_the_entry_comparable(serve: Serve) -> None:
    serve()
    embedder = remote(dims=16, normalize=False).load()
    assert embedder.fingerprint != space(SPEC)


def test_the_registered_entry_with_other_prompts_is_the_same_model(serve: Serve) -> None:
    from embedry import register

    register(SPEC)
    serve()
    changed = remote(replace(SPEC, prompts={"query": "another: "}))
    np.testing.assert_allclose(changed.encode_query(["a"]), finished(["another: a"]), atol=CLOSE)
    with pytest.raises(SpaceError):
        remote(replace(SPEC, files=DIGESTS | {"config.json": "0" * 64})).load()


def test_without_digests_only_dims_are_compared_and_info_says_so(serve: Serve) -> None:
    serve(space="0123456789abcdef01234567")
    embedder = remote(entry()).load()
    assert embedder.info["space"] == "0123456789abcdef01234567, not compared: the entry lacks digests"


def test_a_server_that_restarts_with_another_model_is_noticed(serve: Serve) -> None:
    server = serve()
    embedder = remote().load()
    for name in ("one", "one", "two"):
        header = {"embedry-space": name * 8}
        server.replies.append(Reply(body=embeddings(ROW), headers=header, path="/embeddings"))
    embedder.encode_document(["a"])
    embedder.encode_document(["a"])
    with pytest.raises(SpaceError, match=r"/embeddings has the vector space twotwo.*, and had oneone"):
        embedder.encode_document(["a"])
    embedder.unload()
    np.testing.assert_allclose(embedder.encode_document(["a"]), finished(["a"]), atol=CLOSE)


def test_an_embedry_server_that_hides_its_models_is_not_taken_for_another(serve: Serve) -> None:
    server = serve()
    server.replies.append(Reply(404, path="/models"))
    answer = embeddings(finished(["a"])[0].tolist())
    server.replies.append(Reply(body=answer, headers={"embedry-space": space(SPEC)}, path="/embeddings"))
    with pytest.raises(BackendError, match=r"is of an embedry server, and .*/v1/models did not say so"):
        remote().encode_document(["a"])


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_server_that_lists_no_models_is_asked_all_the_same(serve: Serve, status: int) -> None:
    server = serve(embedry=False)
    server.replies.append(Reply(status, {"error": "no"}, path="/models"))
    np.testing.assert_allclose(remote().encode_document(TEXTS), finished(TEXTS), atol=CLOSE)


def test_int8_is_a_space_of_its_own(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve("all-MiniLM-L6-v2").spec
    serve(name=spec.name, dims=spec.dims, space=space(spec, precision="int8"))
    assert remote(spec, precision="int8").load().info["precision"] == "int8"
    with pytest.raises(SpaceError):
        remote(spec).load()
    serve(embedry=False, name=spec.name, dims=spec.dims)
    with pytest.raises(OptionError, match=r"precision='int8' is not supported: the server at .* is not embedry's"):
        remote(spec, precision="int8").load()


# Tokens.


def test_an_embedry_server_counts_tokens_and_overflow_policies_work(serve: Serve) -> None:
    server = serve()
    spec = replace(SPEC, max_seq_length=5)
    server.space = space(spec)
    texts = ["one two three four five", "one two three four five six", "one"]
    assert remote(spec).count_tokens(texts, role="document") == [5, 6, 1]
    assert remote(spec).count_tokens(texts, role="query") == [6, 7, 2], "the prompt counts, once"
    assert server.requests[-1].body["model"] == "tiny-unprompted"
    with pytest.warns(TruncationWarning) as caught:
        remote(spec, on_overflow="warn").encode_query(texts)
    assert caught[0].message.positions == (0, 1)  # type: ignore[union-attr]
    asked = len(server.asked("/embeddings"))
    with pytest.raises(TextTooLongError):
        remote(spec, on_overflow="error").encode_document(texts)
    assert len(server.asked("/embeddings")) == asked, "before anything is computed"
    server.replies.append(Reply(body=[[]], path="/tokenize"))
    with pytest.raises(BackendError, match="the tokens of 1 texts for 3"):
        remote(spec).count_tokens(texts, role="document")


def test_another_server_does_not_count_tokens(serve: Serve) -> None:
    serve(embedry=False)
    for call in (
        lambda: remote().count_tokens(TEXTS, role="query"),
        lambda: remote(on_overflow="error").encode_query(TEXTS),
    ):
        with pytest.raises(UnsupportedModelError, match=r"the server at http://127.0.0.1:\d+/v1 does not count tokens"):
            call()


# What is refused when it is resolved.


def test_a_model_that_a_server_cannot_reproduce_is_refused(serve: Serve) -> None:
    serve()
    with pytest.raises(UnsupportedModelError, match="its pooling leaves out the prompt"):
        remote(replace(SPEC, chain=(Pooling(mode="mean", include_prompt=False), Normalize())))
    with pytest.raises(UnsupportedModelError, match="its chain ends with a layer norm"):
        remote(replace(SPEC, chain=(Pooling(mode="mean"), LayerNorm(), Normalize())))
    with pytest.raises(OptionError, match="max_seq_length=9 is not supported"):
        remote(max_seq_length=9).load()


def test_other_backends_do_not_advise_to_ask_a_server() -> None:
    with pytest.raises(UnsupportedModelError) as error:
        resolve(replace(SPEC, architecture="deberta-v2"))
    assert "remote" not in str(error.value)


# In a process.


def test_connections_are_kept_and_shared_by_threads(serve: Serve) -> None:
    server = serve()
    embedder = remote()
    for number in range(20):
        embedder.encode_document([f"text {number}"])
    assert len({each.client for each in server.requests}) == 1
    texts = [f"text {number}" for number in range(64)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: embedder.encode_document([text])[0], texts))
    np.testing.assert_allclose(found, finished(texts), atol=CLOSE)


def test_info_says_what_is_asked(serve: Serve) -> None:
    server = serve()
    info = remote().load().info
    assert info["engine"] == "embedry server 0.1.0"
    assert info["server"] == f"{server.url}/v1"
    assert info["model"] == "tiny-unprompted"
    assert info["space"] == f"{space(SPEC)}, compared with the entry"
    server.replies.append(Reply(500, path="/status"))
    assert remote().load().info["engine"] == "embedry server"
    serve(embedry=False)
    assert remote().load().info["engine"] == "a server with OpenAI's interface"


FORKED = """
import os, pickle
import numpy as np
from embedry import resolve

embedder = resolve("all-MiniLM-L6-v2")
expected = embedder.encode_document(["a text"])
assert pickle.loads(pickle.dumps(embedder)) is embedder
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(embedder.encode_document(["a text"]), expected) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert np.array_equal(embedder.encode_document(["a text"]), expected)
print(embedder.info["backend"], *os.listdir(os.environ["EMBEDRY_CACHE"]))
"""


def test_no_files_are_needed_and_a_forked_child_asks_for_itself(
    serve: Serve, fresh: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    spec = resolve("all-MiniLM-L6-v2").spec

    def wide(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.tile(raw(texts), 8)

    server = serve(name=spec.name, dims=spec.dims, space=space(spec))
    server.vectors = wide
    (tmp_path / "cache").mkdir()
    env = {"EMBEDRY_CACHE": str(tmp_path / "cache"), "EMBEDRY_BACKEND": "remote"}
    assert fresh(FORKED, env=env).stdout.split() == ["remote"]
    assert len({each.client for each in server.asked("/embeddings")}) == 2


# The real server.

SERVED = "all-MiniLM-L6-v2"
LONG = "word " * 400
REAL = [*TEXTS, LONG, *(f"text {number} " * (number % 9 + 1) for number in range(100))]


@pytest.fixture(scope="module")
def folder(checkpoint: Callable[..., Path]) -> Path:
    """A model whose queries and documents have different prompts."""
    return checkpoint("bert", prompts={"query": "query: ", "document": "passage: "})


@pytest.fixture(scope="module")
def prompted(folder: Path) -> ModelSpec:
    """Its entry, with digests."""
    return registered(folder)


@pytest.fixture(scope="module")
def real(minilm: LazyEmbedder, folder: Path) -> Iterator[Server]:
    """`embedry serve` of both models, with a key."""
    with running(SERVED, f"prompted={folder}", env={"EMBEDRY_API_KEYS": KEY}) as server:
        yield server


@pytest.fixture
def addressed(real: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address and its key are set."""
    monkeypatch.setenv("EMBEDRY_REMOTE_URL", real.url)
    monkeypatch.setenv("EMBEDRY_REMOTE_KEY", KEY)


@pytest.fixture(params=[SERVED, "prompted"])
def spec(
    addressed: None,
    minilm: LazyEmbedder,
    prompted: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> ModelSpec:
    """Each of its models, whose name there is set."""
    monkeypatch.setenv("EMBEDRY_REMOTE_MODEL", request.param)
    return prompted if request.param == "prompted" else minilm.spec


@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_of_the_real_server_are_those_of_the_engine_here(spec: ModelSpec, normalize: bool) -> None:
    here, there = resolve(spec, normalize=normalize), remote(spec, normalize=normalize)
    for role in ("query", "document"):
        found = there.encode(REAL, role=role)
        np.testing.assert_allclose(found, here.encode(REAL, role=role), atol=CLOSE)
    assert there.info["space"].endswith(", compared with the entry")


def test_the_real_server_counts_tokens_and_what_is_truncated_is_reported(spec: ModelSpec) -> None:
    here, there = resolve(spec), remote(spec, on_overflow="warn")
    for role in ("query", "document"):
        # A text that is cut only where its role's prompt is put before it, once.
        free = spec.max_seq_length - here.count_tokens([""], role=role)[0]
        texts = [*REAL, "word " * free, "word " * (free + 1)]
        assert there.count_tokens(texts, role=role) == here.count_tokens(texts, role=role)
        with pytest.warns(TruncationWarning) as caught:
            there.encode(texts, role=role)
        assert [each.message.positions for each in caught] == [(REAL.index(LONG), len(texts) - 1)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [("sk-another", "the key in EMBEDRY_REMOTE_KEY is not accepted there"), ("", "set EMBEDRY_REMOTE_KEY to a key")],
)
def test_the_real_server_refuses_another_key(
    addressed: None, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch, wrong: str, advice: str
) -> None:
    monkeypatch.setenv("EMBEDRY_REMOTE_KEY", wrong)
    with pytest.raises(BackendError, match=f"answered 401 Unauthorized: .*{advice}"):
        remote(minilm.spec).encode_query(TEXTS)


def test_another_model_at_the_real_server_is_refused(
    addressed: None, prompted: ModelSpec, checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match="has no model 'model'; it has all-MiniLM-L6-v2, prompted; "):
        remote(prompted).load()
    monkeypatch.setenv("EMBEDRY_REMOTE_MODEL", "prompted")
    shorter = replace(prompted, max_seq_length=64)
    other = registered(checkpoint("bert", "cls", prompts=prompted.prompts))
    for spec in (shorter, other):
        with pytest.raises(SpaceError, match=f"space {space(prompted)}, and 'model' has {space(spec)} here"):
            remote(spec).load()
    monkeypatch.setenv("EMBEDRY_REMOTE_MODEL", SERVED)
    with pytest.raises(SpaceError, match=r"has vectors of 384 values, and .* has 48 here"):
        remote(prompted).load()


class TestConformance(Conformance):
    """What every embedder must hold to, against the real server."""

    @pytest.fixture
    def subject(self, spec: ModelSpec, folder: Path) -> Iterator[Subject]:
        subject = Subject(SERVED if spec.name == SERVED else str(folder), backend="remote")
        subject.embedder.unload()  # it may know the server of another test
        yield subject
        subject.embedder.unload()
