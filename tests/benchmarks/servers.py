"""The servers that are compared: each in a process of its own, over the same files and with as many threads."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from contenders import COMPLETE, MODEL

OURS = "embedry serve"
INFINITY = "infinity"
FASTAPI = "sentence-transformers, FastAPI"

_ENVIRONMENT = Path(__file__).parents[2] / ".venv-bench-infinity" / "bin"
_FASTAPI_SERVER = Path(__file__).with_name("fastapi_server.py")

_START = 180.0
"""Seconds in which a server must answer."""
_END = 30.0
"""Seconds in which it must end after SIGTERM."""


@dataclass(frozen=True)
class Entry:
    """How to start a server, and what to expect of it."""

    command: Callable[[int, int], list[str]]
    """From a port and a number of threads."""
    path: str
    """Where it takes OpenAI's requests."""
    tolerance: float
    """How far a component may be from the one of `encode`."""


def embedry(port: int, threads: int, *options: str) -> list[str]:
    """The command of embedry's server."""
    given = ["--port", str(port), "--threads", str(threads), *options]
    return [sys.executable, "-m", "embedry_cli", "serve", MODEL, *given]


def infinity(port: int, threads: int) -> list[str]:
    """The command of https://github.com/michaelfeil/infinity, on torch, its engine for processors."""
    model = ["--model-id", str(COMPLETE), "--served-model-name", MODEL]
    # BetterTransformer is a part of optimum that its newer versions do not have.
    engine = ["--engine", "torch", "--device", "cpu", "--no-bettertransformer"]
    return [str(_ENVIRONMENT / "infinity_emb"), "v2", *model, *engine, "--port", str(port)]


def fastapi(port: int, threads: int) -> list[str]:
    """The command of the program beside this one."""
    return [sys.executable, str(_FASTAPI_SERVER), str(COMPLETE), str(port)]


SERVERS = {
    OURS: Entry(embedry, "/v1/embeddings", 1e-6),
    INFINITY: Entry(infinity, "/embeddings", 1e-4),
    FASTAPI: Entry(fastapi, "/v1/embeddings", 1e-4),
}


class Server:
    """A running server, which has answered a first question; ended with the block."""

    def __init__(self, name: str, command: list[str], port: int, path: str, threads: int) -> None:
        self.name = name
        self.port = port
        self.path = path
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed when the server has ended
        # What computes with OpenMP takes its number of threads from there; embedry has an option for it.
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "DO_NOT_TRACK": "1"}
        # In a session of its own it is signalled with its children, and Ctrl-C does not reach it.
        self._process = subprocess.Popen(
            command, env=environment, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self._signal(signal.SIGKILL)
            raise

    @classmethod
    def of(cls, name: str, threads: int, *options: str) -> "Server":
        """One of `SERVERS`, on a free port. Options are for embedry's own."""
        port = free_port()
        command = embedry(port, threads, *options) if options else SERVERS[name].command(port, threads)
        return cls(name, command, port, SERVERS[name].path, threads)

    def memory(self) -> float:
        """Resident memory of the server and its children, in MB of a million bytes."""
        return sum(map(resident_mb, self._processes()))

    def threads(self) -> int:
        """Their threads."""
        return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in self._processes())

    def descriptors(self) -> int:
        """Their open files and sockets."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self._processes())

    def pause(self) -> None:
        """Stops it, so that it takes nothing from the one that is measured."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._log.close()

    def _processes(self) -> list[int]:
        """The server and its children: all that is in its session."""
        found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in found if _session(pid) == self._process.pid]

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _wait_until_ready(self) -> None:
        body = json.dumps({"model": MODEL, "input": "ready?"}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{self.path}", body, {"content-type": "application/json"}
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        end = time.monotonic() + _START
        while True:
            try:
                direct.open(asked, timeout=_START).close()
                return
            except (OSError, urllib.error.URLError) as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    self._log.seek(0)
                    sys.exit(
                        f"{self.name} does not answer ({error}): {self._process.args!r}\n{self._log.read()[-4000:]}"
                    )
            time.sleep(0.2)


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB of a million bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def versions_beside() -> dict[str, str]:
    """The versions of what infinity runs on, which are not those of this environment."""
    code = "import importlib.metadata as m; print(*(m.version(n) for n in ('infinity-emb', 'torch', 'transformers')))"
    found = subprocess.run([_ENVIRONMENT / "python", "-c", code], check=True, capture_output=True, text=True)
    own, torch, transformers = found.stdout.split()
    return {"infinity-emb": f"{own}, with torch {torch} and transformers {transformers}"}


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
