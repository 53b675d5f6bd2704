"""An object store on this machine: moto's S3, served over HTTP, which answers some requests with an error."""

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self
from urllib.request import Request, urlopen

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Start = Callable[..., Any]

_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class SmallS3:
    """Runs while its block does.

    Args:
        every: one request of so many fails, with the error that a store gives when it is busy; 0 for none.
    """

    def __init__(self, every: int = 0) -> None:
        self.every = every
        self.requests = self.failed = 0
        self._lock = threading.Lock()
        self._store = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def _answer(self, environment: dict[str, Any], start: Start) -> Iterable[bytes]:
        with self._lock:
            self.requests += 1
            fails = self.every and self.requests % self.every == 0
            self.failed += bool(fails)
        if fails:
            environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(_BUSY)))])
            return [_BUSY]
        answer: Iterable[bytes] = self._store(environment, start)
        return answer

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        urlopen(Request(f"{self.url}/moto-api/reset", method="POST")).close()  # what it holds belongs to the process
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
