"""A process that loads one folder after another and says what came of each, whatever the folders hold.

As a program it reads requests from standard input, JSON objects with `folder`, `backend` and `cache_dir`, one a line, and
answers each with a line: an `Outcome`.
"""

import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue
from subprocess import PIPE, Popen
from threading import Thread
from typing import Any

from hostile import TEXTS

SECONDS = 20.0
"""Of computing that one folder may take."""

_PATIENCE = 90.0
"""Seconds until a process that computes nothing counts as stuck; its start, with torch, is among them."""

PEAK_MB = 2000.0
"""Of memory that the process may have held."""

_OTHERS = ("/proc", "/sys", "/dev", "/etc/os-release", "/etc/localtime", "/usr/share/zoneinfo")
"""What interpreters and libraries look into for themselves."""

_DATA = 4 * 2**30
"""Bytes: what asks for more at once gets a MemoryError, and not all of the machine's memory."""


@dataclass(frozen=True)
class Outcome:
    """What came of a folder."""

    kind: str
    """`vectors`, the name of a class of EmbedryError, or, in words, what should never be."""
    message: str
    is_allowed: bool


class Worker:
    """The process, from outside: started when it is first needed, and again if it died."""

    def __init__(self, work: Path) -> None:
        """`work` is an empty folder for what the process writes."""
        self._work = work
        self._process: Popen[str] | None = None
        self._answers: Queue[str] = Queue()

    def ask(self, folder: Path, backend: str) -> Outcome:
        """What comes of a folder."""
        process = self._process or self._start()
        assert process.stdin is not None
        request = {"folder": str(folder), "backend": backend, "cache_dir": str(self._work / "cache")}
        with suppress(BrokenPipeError):  # it died; no answer will come
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        try:
            answer = self._answers.get(timeout=_PATIENCE)
        except Empty:
            self.stop()
            return Outcome("no answer", f"nothing within {_PATIENCE:.0f} s", is_allowed=False)
        if not answer:
            self.stop()
            return Outcome("a dead process", f"exit status {process.returncode}", is_allowed=False)
        outcome = Outcome(**json.loads(answer))
        if outcome.kind == _TOO_MUCH:  # it will never hold less
            self.stop()
        return outcome

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._listener.join()
            for stream in (self._process.stdin, self._process.stdout):
                with suppress(BrokenPipeError):  # what was not sent is lost
                    stream.close()  # type: ignore[union-attr]
            self._process = None

    def _start(self) -> "Popen[str]":
        temporary = self._work / "temporary"
        temporary.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        process = Popen([sys.executable, __file__], stdin=PIPE, stdout=PIPE, cwd=temporary, env=environment, text=True)
        answers: Queue[str] = Queue()
        self._answers = answers

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                answers.put(line)
            answers.put("")

        self._listener = Thread(target=listen, daemon=True)
        self._listener.start()
        self._process = process
        return process


_TOO_MUCH = "too much memory"


def main() -> None:
    """Answers requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do not print among the answers
    _limit_memory()
    opened: set[str] = set()

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            opened.add(os.path.realpath(os.fsdecode(arguments[0])))  # at once: a link may be gone later

    sys.addaudithook(note)
    for line in sys.stdin:
        request = json.loads(line)
        opened.clear()
        outcome = _outcome(Path(request["folder"]), request["backend"], Path(request["cache_dir"]), opened)
        answers.write(json.dumps(asdict(outcome)) + "\n")
        answers.flush()


def _outcome(folder: Path, backend: str, cache_dir: Path, opened: set[str]) -> Outcome:
    import warnings

    from embedry import EmbedryError, EmbedryWarning, engine, resolve

    start = time.process_time()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            embedder = resolve(folder, backend=backend, threads=1, cache_dir=cache_dir)
            fault = _fault(embedder.encode(TEXTS, role="query"), embedder.dims)
            kind, message = "vectors", ""
        except EmbedryError as error:
            kind, message, fault = type(error).__name__, str(error), ""
        except BaseException as error:
            kind, message, fault = type(error).__name__, _traced(error), "a bare exception"
        finally:
            engine._engines.clear()
    foreign = [str(each.message) for each in warned if not issubclass(each.category, EmbedryWarning)]
    outside = _outside(opened, folder, cache_dir)
    seconds, peak = time.process_time() - start, _peak_mb()
    faults = {
        fault: f"{kind}: {message}",
        "a warning of others": "; ".join(foreign),
        "files outside the folder": ", ".join(outside),
        "too slow": f"{seconds:.1f} s" if seconds > SECONDS else "",
        _TOO_MUCH: f"{peak:.0f} MB" if peak > PEAK_MB else "",
    }
    for name, what in faults.items():
        if name and what:
            return Outcome(name, what[:3000], is_allowed=False)
    return Outcome(kind, message[:3000], is_allowed=True)


def _fault(vectors: Any, dims: int) -> str:
    import numpy as np

    if vectors.shape != (len(TEXTS), dims) or vectors.dtype != np.float32:
        return "vectors of another shape"
    if not np.isfinite(vectors).all():
        return "vectors that are not finite"
    return "" if np.array_equal(vectors[1], vectors[4]) else "two vectors for one text"


def _traced(error: BaseException) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    return f"{str(error)[:500]} ({places})"


def _outside(opened: set[str], folder: Path, cache_dir: Path) -> list[str]:
    """What was opened that is neither the folder's, nor ours to write, nor part of the programs that run."""
    programs = (path for path in (sys.prefix, sys.base_prefix, *sys.path) if path)
    roots: tuple[str | Path, ...] = (folder, cache_dir, tempfile.gettempdir(), *programs, *_OTHERS)
    inside = tuple(f"{os.path.realpath(root)}{os.sep}" for root in roots)
    return sorted(path for path in opened if not f"{path}{os.sep}".startswith(inside))


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # not on every platform
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_DATA, _DATA))


def _peak_mb() -> float:
    with suppress(OSError):  # Linux: getrusage would also count the process that started this one
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
