"""Servers that tests talk to: the real `embedry serve` in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray

from embedry import LazyEmbedder
from embedry_server.app import App
from embedry_server.connections import Connection
from embedry_server.keys import Keys
from embedry_server.listening import listen
from embedry_server.models import Models
from embedry_server.settings import Limits
from waiting import until

SECONDS = 60.0


class Server:
    """A running `embedry serve`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        """What it has logged so far."""
        Thread(target=self._read, daemon=True).start()
        until(lambda: self.url != "" or process.poll() is not None)
        until(lambda: any("ready: " in line for line in self.lines) or process.poll() is not None)
        assert process.poll() is None, "".join(self.lines)
        self.client = httpx.Client(base_url=self.url, timeout=SECONDS, trust_env=False)

    @property
    def url(self) -> str:
        """Where it listens; empty before it does."""
        return next(
            (found[1] for line in tuple(self.lines) if (found := re.search(r"listening on (\S+?)\"?[,}\s]*$", line))),
            "",
        )

    def embeddings(self, given: Any, **fields: Any) -> httpx.Response:
        """The answer of /v1/embeddings."""
        body = {"model": "all-MiniLM-L6-v2", "input": given, **fields}
        return self.client.post("/v1/embeddings", json=body)

    def vectors(self, given: Any, **fields: Any) -> NDArray[np.float32]:
        """The vectors of an answer that must be one."""
        answer = self.embeddings(given, **fields)
        assert answer.status_code == 200, answer.text
        return np.array([each["embedding"] for each in answer.json()["data"]], dtype=np.float32)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it with a signal; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def memory(self) -> int:
        """Bytes that are resident."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def threads(self) -> int:
        """Its threads."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def descriptors(self) -> int:
        """Its open files and sockets."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def _read(self) -> None:
        assert self.process.stderr is not None
        with suppress(ValueError):  # it is closed when the process has ended
            for line in self.process.stderr:
                self.lines.append(line)


@contextmanager
def running(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    """`embedry serve` with these arguments on a free port, ready; ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "embedry_cli", "serve", *arguments, "--port", "0"],
        env=os.environ | (env or {}), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:  # closes its pipe
        try:
            server = Server(process)
            with server.client:
                yield server
        finally:
            if process.poll() is None:
                process.kill()


def app_over(embedder: LazyEmbedder, **limits: Any) -> App:
    """The application with one model, computed by this embedder, and loaded."""
    models = Models(["all-MiniLM-L6-v2"])
    (served,) = models
    served.embedder = embedder
    served._views = {(None, None): embedder}
    served._spaces = {embedder: embedder.fingerprint}
    app = App(models, keys=Keys(), limits=Limits(**limits))
    app.load()
    return app


@contextmanager
def in_thread(app: App, *, receive: float = 30.0) -> Iterator[str]:
    """The application behind real sockets, in a thread of this process; its URL."""
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app,
        http=partial(Connection, receive=receive),  # type: ignore[arg-type]
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()
