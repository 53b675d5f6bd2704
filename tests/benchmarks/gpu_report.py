"""The report of a run on a GPU, on the disk after every section: what follows may break off."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPORT, RAW, LOG = "report.md", "results.json", "kit.log"


@dataclass
class Found:
    """What a section found."""

    text: str
    """Markdown."""
    data: Any = None
    """The numbers, for the JSON file."""
    failures: list[str] = field(default_factory=list)
    """What was wrong, each by its name."""


class Report:
    """A folder with the report as Markdown, the raw numbers as JSON, and the log of the conformance kit."""

    def __init__(self, folder: Path, introduction: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._parts = [introduction]
        self._raw: dict[str, Any] = {}
        self.failures: list[str] = []
        self.left_out: list[str] = []
        _write(folder / LOG, "")
        self._flush("This run has not ended, or it was interrupted.")

    def add(self, name: str, found: Found, seconds: float) -> None:
        """A section that ended."""
        self._parts.append(f"## {name}\n\n{found.text}")
        self._raw[name] = {"seconds": round(seconds, 1), "found": found.data, "failures": found.failures}
        self.failures += [f"{name}: {each}" for each in found.failures]
        self._flush("This run has not ended, or it was interrupted.")
        print(f"## {name} ({seconds:.0f} s)\n\n{found.text}\n", flush=True)

    def leave_out(self, name: str, reason: str) -> None:
        """A section that is not measured."""
        self.left_out.append(f"{name}: {reason}")
        self._flush("This run has not ended, or it was interrupted.")
        print(f"## {name}\n\nLeft out: {reason}\n", flush=True)

    def log(self, line: str) -> None:
        """A line of the kit's log."""
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def finish(self, seconds: float) -> int:
        """Writes the summary; the exit status, 1 if anything failed."""
        self._flush(f"This run took {seconds:.0f} seconds and ended on {time.strftime('%Y-%m-%d at %H:%M')}.")
        print(f"{self._summary()}\n\nThe report is in {self.folder / REPORT}", flush=True)
        return 1 if self.failures else 0

    def _summary(self) -> str:
        lists = {"Failed": self.failures, "Left out": self.left_out}
        parts = [f"{title}:\n\n" + "\n".join(f"- {each}" for each in found) for title, found in lists.items() if found]
        return "\n\n".join(parts) or "Nothing failed, and nothing was left out."

    def _flush(self, state: str) -> None:
        first, *sections = self._parts
        _write(self.folder / REPORT, "\n\n".join([first, f"{state}\n\n{self._summary()}", *sections]) + "\n")
        raw = {"failures": self.failures, "left out": self.left_out, "sections": self._raw}
        _write(self.folder / RAW, json.dumps(raw, indent=1, default=_plain) + "\n")


def timed(work: Callable[[], Found]) -> tuple[Found, float]:
    """What a section found, and in how many seconds."""
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def _plain(value: Any) -> Any:
    """Numbers of numpy and dataclasses as plain ones."""
    return value.item() if hasattr(value, "item") else vars(value)


def _write(path: Path, text: str) -> None:
    """Replaces a file whole: a run that breaks off here leaves the one before."""
    beside = path.with_suffix(".part")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
