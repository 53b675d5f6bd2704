"""An embedding server for tests on 127.0.0.1: embedry's own or another with OpenAI's interface, with bad days when asked to.

    with SmallServer(vectors, dims=48) as server:
        server.replies.append(Reply(503, headers={"Retry-After": "2"}))
        ...                      # with EMBEDRY_REMOTE_URL=server.url
        server.requests          # what the client asked for

An embedry server puts the model's prompt before a text unless it is asked for the model without, as the real one does, so
that a prompt which is applied twice is seen.
"""

import base64
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Vectors = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Asked:
    """One request that the server was sent."""

    path: str
    headers: Mapping[str, str]
    """With names in lower case."""
    body: Any
    client: tuple[str, int]


@dataclass(frozen=True)
class Reply:
    """What is answered in place of the right answer, to the next request whose path ends with `path`."""

    status: int = 200
    body: Any = None
    """Bytes as they are, anything else as JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    delay: float = 0
    """Seconds before the answer."""
    drop: bool = False
    """Close the connection without an answer."""


class SmallServer:
    """See the module. `vectors` gives the vectors of texts as they are, not normalized, float32 (texts, dims)."""

    def __init__(
        self,
        vectors: Vectors,
        *,
        dims: int,
        name: str = "tiny",
        space: str | None = None,
        embedry: bool = True,
        prompt: str = "",
        most_texts: int = 2048,
        most_chars: int = 10**9,
        base64: bool = True,
        count_tokens: Callable[[Sequence[str]], Sequence[int]] | None = None,
    ) -> None:
        self.vectors, self.dims, self.name, self.space, self.embedry, self.prompt = (
            vectors, dims, name, space, embedry, prompt,
        )  # fmt: skip
        self.most_texts, self.most_chars, self.base64 = most_texts, most_chars, base64
        self.count_tokens = count_tokens or (lambda texts: [len(text.split()) for text in texts])
        self.requests: list[Asked] = []
        self.replies: list[Reply] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked(self, path: str) -> list[Asked]:
        """The requests whose path ends with this."""
        return [each for each in self.requests if each.path.endswith(path)]

    def reply(self, asked: Asked) -> Reply:
        """Records the request, and says what is answered."""
        with self._lock:
            self.requests.append(asked)
            for reply in self.replies:
                if asked.path.endswith(reply.path):
                    self.replies.remove(reply)
                    return reply
        return self._right(asked)

    def _right(self, asked: Asked) -> Reply:
        texts = asked.body and asked.body.get("inputs" if asked.path == "/tokenize" else "input")
        if texts and (len(texts) > self.most_texts or sum(map(len, texts)) > self.most_chars):
            return Reply(413, {"error": f"batch size {len(texts)} is too large"})
        match asked.path:
            case "/v1/models":
                return Reply(body={"object": "list", "data": self._models()})
            case "/v1/embeddings":
                return Reply(body={"object": "list", "data": self._embeddings(texts, asked.body)})
            case "/tokenize" if self.embedry:
                counts = self.count_tokens(self._prompted(texts, asked.body))
                return Reply(body=[[{"id": 7, "text": "x", "special": False}] * count for count in counts])
            case "/status" if self.embedry:
                return Reply(body={"version": "0.1.0", "ready": True})
        return Reply(404, {"error": {"message": f"there is no {asked.path}", "code": "not_found"}})

    def _models(self) -> list[dict[str, Any]]:
        if not self.embedry:
            return [{"id": self.name, "object": "model", "created": 0, "owned_by": "somebody"}]
        facts = {"object": "model", "created": 0, "owned_by": "embedry", "root": self.name, "dims": self.dims}
        roles = {"query": "query", "passage": "document", "unprompted": "unprompted"}
        return [facts | {"id": f"{self.name}-{end}", "role": role, "space": self.space} for end, role in roles.items()]

    def _prompted(self, texts: Sequence[str], body: Mapping[str, Any]) -> list[str]:
        prompt = self.prompt if self.embedry and not body["model"].endswith("-unprompted") else ""
        return [prompt + text for text in texts]

    def _embeddings(self, texts: Sequence[str], body: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = self.vectors(self._prompted(texts, body))
        if not self.embedry or body.get("normalize", True):
            found = unit(found)
        as_base64 = self.base64 and body["encoding_format"] == "base64"
        rows = [base64.b64encode(row.astype("<f4").tobytes()).decode() if as_base64 else row.tolist() for row in found]
        return [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scaled to unit length."""
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: SmallServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests look at `SmallServer.requests`."""

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.path, headers, json.loads(sent) if sent else None, self.client_address)
        reply = self.server.owner.reply(asked)
        sleep(reply.delay)
        if reply.drop:
            self.close_connection = True
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in ({"Content-Length": str(len(content))} | dict(reply.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
