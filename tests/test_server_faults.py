"""What a server meets: clients that die, trickle, flood or lie, engines that fail, signals. It goes on, and loses nothing."""

import asyncio
import base64
import contextlib
import gzip
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray

from embedry import LazyEmbedder
from embedry_server.app import App
from embedry_server.connections import Connection
from embedry_server.listening import last_connections, listen
from embedry_server.serving import _Server
from recording import Gated, Recorder, over
from serving import app_over, in_thread, running
from waiting import asked, until

pytestmark = pytest.mark.alone

MINILM = "all-MiniLM-L6-v2"
LONG = "word " * 250

Vectors = NDArray[np.float32]


def request(given: Any, **fields: Any) -> bytes:
    """A request for vectors, as it goes over the wire."""
    body = json.dumps({"model": MINILM, "input": given, **fields}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def answer(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection; what it has closed without a word is empty."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def post(url: str, given: Any, **fields: Any) -> httpx.Response:
    body = {"model": MINILM, "input": given, **fields}
    return httpx.post(f"{url}/v1/embeddings", json=body, timeout=60, trust_env=False)


def vectors(answered: httpx.Response) -> Vectors:
    assert answered.status_code == 200, answered.text
    return np.array([each["embedding"] for each in answered.json()["data"]], dtype=np.float32)


@pytest.fixture
def app(minilm: LazyEmbedder) -> App:
    return app_over(over(Recorder(), minilm))


@pytest.fixture
def url(app: App) -> Iterator[str]:
    """A server with an exact engine, which wants a request within a second, and works as before when the test is over."""
    with in_thread(app, receive=1.0) as url:
        yield url
        until(lambda: app.computing.queue.in_flight == 0)
        assert app.computing.queue.tokens == 0
        (served,) = app.readiness._models
        np.testing.assert_array_equal(
            vectors(post(url, ["one", "two"])), served.embedder.encode_document(["one", "two"])
        )


# Clients that die.


@pytest.mark.parametrize("sent", [0, 10, 60, 200, -1])
def test_a_client_that_dies_before_its_request_is_whole_leaves_nothing(app: App, url: str, sent: int) -> None:
    whole = request("word " * 100)
    for _ in range(20):
        with connected(url) as connection:
            connection.sendall(whole[:sent])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # and resets it


def test_the_work_of_clients_that_have_gone_is_not_computed(minilm: LazyEmbedder) -> None:
    engine = Gated()
    engine.allow(1)  # what is computed when the model is loaded
    app = app_over(over(engine, minilm))
    engine.entered.clear()
    with in_thread(app) as url:
        first = asked(lambda: post(url, "the first one"))
        assert engine.entered.wait(30)
        gone = [connected(url) for _ in range(10)]
        for number, connection in enumerate(gone):
            connection.sendall(request([f"{LONG} {number} {again}" for again in range(4)]))
        until(lambda: app.computing.queue.in_flight == 11)
        for connection in gone:
            connection.close()
        until(lambda: app.computing.queue.in_flight == 1)
        engine.allow(100)
        assert first.result(30).status_code == 200
        assert post(url, "and another").status_code == 200
        assert len(engine.shapes) == 3, "none of forty long texts"
        text = httpx.get(f"{url}/metrics", trust_env=False).text
        assert (
            f'embedry_requests_total{{code="499",model="{MINILM}",role="document",route="/v1/embeddings"}} 10.0' in text
        )


def test_a_client_that_dies_while_it_is_computed_or_answered_harms_nobody(app: App, url: str) -> None:
    large = request([f"text {number}" for number in range(2000)])
    for pause in (0, 0.001, 0.01, 0.05, 0.1, 0.2):
        with connected(url) as connection:
            connection.sendall(large)
            time.sleep(pause)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_requests_that_come_in_one_packet_are_answered_in_their_order(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(request("one") + request("two") + request("three").replace(b"host: a", b"connection: close"))
        parts = answer(connection).split(b"HTTP/1.1 200 OK")[1:]
    found = [
        np.array(json.loads(part.split(b"\r\n\r\n", 1)[1])["data"][0]["embedding"], dtype=np.float32) for part in parts
    ]
    np.testing.assert_array_equal(
        np.stack(found), np.concatenate([vectors(post(url, each)) for each in ("one", "two", "three")])
    )


def test_an_answer_does_not_wait_for_the_client_to_acknowledge_its_head(minilm: LazyEmbedder) -> None:
    """uvicorn writes an answer's head and body apart; with Nagle's algorithm the second waits 40 ms."""
    seen: list[int] = []

    class Watched(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            transport = send.__self__.transport
            seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            await super().__call__(scope, receive, send)

    app = app_over(over(Recorder(), minilm))
    app.__class__ = Watched
    with in_thread(app) as url:
        assert httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
    assert seen == [1]


# Clients that trickle.


@pytest.mark.parametrize(
    "start", [b"", b"POST /v1/emb", b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\nx-", request("a" * 99)[:-50]]
)
def test_a_request_that_trickles_in_is_ended_at_its_deadline_however_often_a_byte_comes(url: str, start: bytes) -> None:
    with connected(url) as connection:
        connection.sendall(start)
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < 10:
                connection.sendall(b"a")
                connection.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    if received := connection.recv(100):
                        assert received.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))
                        break
                    break  # closed
        assert time.monotonic() - begun < 8


def test_a_connection_may_be_idle_between_requests_longer_than_a_request_may_take(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/health/live").status_code == 200
        time.sleep(1.5)
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/live").extensions["network_stream"] is not None


def test_a_client_that_does_not_take_its_answer_is_left(app: App) -> None:
    with in_thread(app, receive=1.0) as url:
        with connected(url) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request([f"text {number}" for number in range(2000)]))
            connection.settimeout(30)
            assert connection.recv(10) == b"HTTP/1.1 2"
            ended = time.monotonic() + 10
            try:  # the server has closed its side, with the rest unsent
                while time.monotonic() < ended:
                    time.sleep(0.1)
                    connection.sendall(b"a")
            except ConnectionError:
                ended = 0
        assert ended == 0
        assert post(url, "one").status_code == 200


@pytest.mark.skipif(shutil.which("slowhttptest") is None, reason="it trickles: apt-get install slowhttptest")
@pytest.mark.parametrize("kind", ["-H", "-B", "-X"])
def test_slowhttptest_does_not_keep_others_from_the_server(url: str, kind: str, tmp_path: Path) -> None:
    command = [
        "slowhttptest",
        kind,
        "-c",
        "300",
        "-r",
        "300",
        "-i",
        "1",
        "-l",
        "6",
        "-p",
        "3",
        "-u",
        f"{url}/v1/models",
    ]
    with ThreadPoolExecutor(1) as pool:
        attack = pool.submit(subprocess.run, command, cwd=tmp_path, capture_output=True, check=False, timeout=60)
        answered = Counter[int]()
        while not attack.done():
            answered[httpx.get(f"{url}/health/live", timeout=30, trust_env=False).status_code] += 1
            time.sleep(0.05)
        attack.result()
    assert set(answered) == {200}
    assert answered[200] > 5


# Clients that flood and lie.


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(minilm: LazyEmbedder) -> None:
    with in_thread(app_over(over(Recorder(), minilm), body_bytes=10_000)) as url, connected(url) as connection:
        head = b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 10001\r\n\r\n"
        connection.sendall(head)
        received = answer(connection)
        assert received.startswith(b"HTTP/1.1 413")
        assert b"more than the 10,000 bytes" in received
        assert vectors(post(url, "one " * 2000)).shape == (1, 384)


def test_a_body_that_turns_out_too_large_is_refused_where_it_does(minilm: LazyEmbedder) -> None:
    app = app_over(over(Recorder(), minilm), body_bytes=10_000)
    with in_thread(app) as url, connected(url) as connection:
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000:
                connection.sendall(b"2710\r\n" + b"a" * 10_000 + b"\r\n")
                sent += 10_000
                time.sleep(0.001)
        assert sent < 5_000_000, "the server has closed the connection"
        until(lambda: app.computing.queue.in_flight == 0)
        assert post(url, "one").status_code == 200


def test_all_bodies_together_are_held_to_a_limit(minilm: LazyEmbedder) -> None:
    app = app_over(over(Recorder(), minilm), body_bytes=10_000)
    body = b"a" * 9_000
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 10000\r\n\r\n"
    with in_thread(app) as url, contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(url)) for _ in range(12)]
        for connection in held:
            connection.sendall(head + body)
            time.sleep(0.02)
        held[-1].settimeout(10)
        refused = held[-1].recv(1000)
        assert refused.startswith(b"HTTP/1.1 429")
        assert b"retry-after: 1" in refused


def test_a_bomb_is_not_unpacked(url: str) -> None:
    bomb = gzip.compress(b"a" * 50_000_000)
    for encoding in ("gzip", "deflate", "br", "gzip, gzip"):
        refused = httpx.post(
            f"{url}/v1/embeddings", content=bomb, headers={"content-encoding": encoding}, trust_env=False, timeout=30
        )
        assert refused.status_code == 415
        assert "compressed" in refused.json()["error"]["message"]


def test_headers_have_a_limit(url: str) -> None:
    with connected(url) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: a\r\n" + b"x-a: " + b"b" * 200_000 + b"\r\n\r\n")
        assert answer(connection)[:12] in (b"HTTP/1.1 431", b"")  # reset, where more was on its way
    assert httpx.get(f"{url}/health/live", headers={"x-a": "b" * 30_000}, trust_env=False).status_code == 200


def test_a_full_queue_refuses_at_once_and_takes_requests_again_when_there_is_room(minilm: LazyEmbedder) -> None:
    engine = Gated()
    engine.allow(1)
    app = app_over(over(engine, minilm), tokens=20, queue_tokens=20)
    engine.entered.clear()
    with in_thread(app) as url:
        held = asked(lambda: post(url, ["one two three"] * 3))  # 15 tokens
        assert engine.entered.wait(30)
        refused = post(url, ["one two three", "four"])
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        small = asked(lambda: post(url, "one two three"))
        until(lambda: app.computing.queue.tokens == 20)
        assert post(url, "one").status_code == 429
        engine.allow(10)
        assert held.result(30).status_code == small.result(30).status_code == 200
        assert post(url, ["one two three", "four"]).status_code == 200


def test_a_request_past_its_deadline_is_told_so_and_the_rest_of_it_is_dropped(minilm: LazyEmbedder) -> None:
    engine = Gated()
    engine.allow(1)
    app = app_over(over(engine, minilm), deadline=0.3)
    engine.entered.clear()
    with in_thread(app) as url:
        late = post(url, [f"{LONG} {number}" for number in range(20)])
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        until(lambda: app.computing.queue.in_flight == 0)
        engine.allow(100)
        assert post(url, "one").status_code == 200
        assert len(engine.shapes) <= 4, "of ten batches those that were being computed"


# Engines that fail.


def test_a_batch_that_fails_is_one_request_s_and_the_server_goes_on(minilm: LazyEmbedder) -> None:
    poison = minilm.tokenize(["poison"], role="document")[0][1].id

    class Poisoned(Recorder):
        def forward(self, ids: Any, mask: Any) -> Vectors:
            if (ids == poison).any():
                raise MemoryError("no more")
            return super().forward(ids, mask)

    embedder = over(Poisoned(), minilm)
    texts = [f"question {number}" for number in range(60)]
    expected = over(Recorder(), minilm).encode_document(texts)
    with in_thread(app_over(embedder)) as url, ThreadPoolExecutor(24) as pool:
        for _ in range(3):
            good = [pool.submit(post, url, text) for text in texts]
            bad = [pool.submit(post, url, "poison") for _ in range(10)]
            np.testing.assert_array_equal(np.concatenate([vectors(each.result()) for each in good]), expected)
            for each in bad:
                assert each.result().status_code == 500
                assert each.result().json()["error"]["code"] == "engine_failed"
                assert "MemoryError: no more" in each.result().json()["error"]["message"]


def test_a_vector_that_is_not_finite_is_an_error_and_never_null(minilm: LazyEmbedder) -> None:
    class Breaks(Recorder):
        broken = False

        def forward(self, ids: Any, mask: Any) -> Vectors:
            found = super().forward(ids, mask)
            if self.broken:
                found[0, 5] = np.nan
            return found

    engine = Breaks()
    with in_thread(app_over(over(engine, minilm))) as url:
        engine.broken = True
        for form in ("float", "base64"):
            failed = post(url, ["one", "two"], encoding_format=form)
            assert failed.status_code == 500
            assert "not finite" in failed.json()["error"]["message"]
        assert httpx.post(f"{url}/embed", json={"inputs": "one"}, trust_env=False).status_code == 500
        engine.broken = False
        assert post(url, "one").status_code == 200


# Signals.


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no filter for a socket")
def test_no_connection_arrives_between_the_last_one_and_the_closing() -> None:
    with listen("127.0.0.1", 0) as listening:
        listening.listen()
        address = listening.getsockname()
        with socket.create_connection(address) as early:
            early.sendall(b"a")
            (accepted,) = last_connections(listening)
            with accepted:
                assert accepted.recv(1) == b"a"
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)


@pytest.mark.parametrize("steps", range(4))
def test_connections_that_asyncio_has_just_accepted_are_answered(steps: int) -> None:
    """Whatever step of its loop they are at when the server ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def ended() -> list[bytes]:
        listening = listen("127.0.0.1", 0)
        http: Any = partial(Connection, receive=30)
        config = uvicorn.Config(app, http=http, lifespan="off", ws="none", log_config=None)
        config.load()
        server: Any = _Server(config, None, 0)  # type: ignore[arg-type]  # the end asks nothing of the application
        server.lifespan = config.lifespan_class(config)
        await server.startup([listening])
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(listening.getsockname(), 20)) for _ in range(8)]
            for client in clients:
                client.sendall(b"GET /health/live HTTP/1.1\r\nhost: here\r\n\r\n")
            for _ in range(steps):
                await asyncio.sleep(0)
            await server.shutdown([listening])
            return [client.recv(12) for client in clients]

    assert asyncio.run(ended()) == [b"HTTP/1.1 200"] * 8


def test_a_server_that_is_asked_to_end_answers_all_that_it_accepted_and_exits_with_zero(minilm: LazyEmbedder) -> None:
    texts = [f"a question {number} of some words" for number in range(40)]
    expected = minilm.encode_document(texts)
    with running(MINILM, "--drain", "1") as server:
        ended = time.monotonic() + 60
        found: list[tuple[int, bytes]] = []
        lost: list[str] = []

        def asking(number: int) -> None:
            with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
                while time.monotonic() < ended:
                    try:
                        given = client.post(
                            "/v1/embeddings",
                            json={"model": MINILM, "input": texts[number], "encoding_format": "base64"},
                        )
                    except httpx.ConnectError:
                        return  # it accepts no more
                    except httpx.TransportError as error:
                        lost.append(repr(error))
                        return
                    assert given.status_code == 200, given.text
                    found.append((number, base64.b64decode(given.json()["data"][0]["embedding"])))

        with ThreadPoolExecutor(40) as pool:
            callers = [pool.submit(asking, number) for number in range(40)]
            until(lambda: len(found) > 200)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(f"{server.url}/health/ready", trust_env=False).status_code == 503)
            for caller in callers:
                caller.result(60)
        assert server.process.wait(60) == 0
    assert lost == []
    for number, content in found:
        assert np.abs(np.frombuffer(content, "<f4") - expected[number]).max() <= 1e-6


def test_a_connection_that_is_open_when_the_server_stops_listening_may_still_send_its_request(
    minilm: LazyEmbedder,
) -> None:
    with running(MINILM, "--drain", "0") as server, connected(server.url) as connection:
        server.process.send_signal(signal.SIGTERM)

        def refuses() -> bool:
            with contextlib.suppress(ConnectionRefusedError), connected(server.url):
                return False
            return True

        until(refuses)
        # A busy machine takes its time between a connection and its request, and in the middle of one.
        sent = request("one")
        time.sleep(1)
        connection.sendall(sent[:20])
        time.sleep(1)
        connection.sendall(sent[20:])
        received = answer(connection)
        assert received.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in received
        found = np.array(json.loads(received.split(b"\r\n\r\n", 1)[1])["data"][0]["embedding"], dtype=np.float32)
        assert np.abs(found - minilm.encode_document(["one"])[0]).max() <= 1e-6
        assert server.process.wait(60) == 0


def test_a_second_signal_ends_at_once(minilm: LazyEmbedder) -> None:
    with running(MINILM, "--drain", "60") as server:
        server.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{server.url}/health/ready", trust_env=False).status_code == 503)
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    with running(MINILM) as server:
        assert server.stop(signal.SIGINT) == 0


def test_a_server_with_a_certificate_speaks_https(minilm: LazyEmbedder, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    with running(MINILM, "--tls-certificate", str(certificate), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(certificate))
        answered = httpx.post(
            f"{server.url}/v1/embeddings", json={"model": MINILM, "input": "one"}, verify=trusted, trust_env=False
        )
        assert np.abs(vectors(answered) - minilm.encode_document(["one"])).max() <= 1e-6


def test_a_port_in_use_is_an_error_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "embedry_cli", "serve", MINILM, "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --port" in ended.stderr
    assert "loading" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "has no keys"),
        (["--keys", "missing"], "cannot be read"),
        (["--max-inputs", "0"], "inputs must be positive"),
        (["no-such-model"], "no-such-model"),
    ],
)
def test_what_is_wrong_with_the_command_is_told_by_one_line(arguments: list[str], says: str) -> None:
    command = [sys.executable, "-m", "embedry_cli", "serve", MINILM, "--port", "0", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    assert says in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_model_that_cannot_be_loaded_ends_the_server_with_its_error(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(checkpoint("bert"), folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    command = [sys.executable, "-m", "embedry_cli", "serve", str(folder), "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "model.safetensors" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
