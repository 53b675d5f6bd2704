"""Progress of a job: a bar on a terminal, lines elsewhere, JSON for programs."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from embedry_bulk.plan import Plan
from embedry_bulk.records import Done, Failed

_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


_NOT_SHOWN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls except tab and newline, which a terminal acts on; those that change the direction of text; surrogates."""


def shown(text: str) -> str:
    r"""Escapes control characters in names and reasons for the terminal, such as `\u001b`."""
    return _NOT_SHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def note(text: str) -> None:
    """Prints a line for people to standard error."""
    Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(shown(text))


@contextmanager
def reading() -> Iterator[Callable[[int], None]]:
    """Shows the number of rows read on a terminal. Yields a function that adds to the number."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    rows = 0
    with console.status("reading the inputs") as status:

        def advance(more: int) -> None:
            nonlocal rows
            rows += more
            status.update(f"reading the inputs: {rows:,} rows")

        yield advance


class Watch:
    """Follows a run: a bar on standard error if it is a terminal, else a line every 30 seconds, and JSON if requested.

    Args:
        plan: the plan.
        before: the counts of the shards completed before, see `records.total`.
        shards: the number of those shards.
        as_json: print an object for each shard, on standard output, and no lines for people.
    """

    def __init__(self, plan: Plan, before: Mapping[str, int], shards: int, *, as_json: bool) -> None:
        self._plan = plan
        self._rows = self._before = before["rows"] + before["rejected"]
        self._committed = self._rows
        self._rejected = before["rejected"]
        self._shards = shards
        self._failed = 0
        self._as_json = as_json
        self._begun = self._said = time.monotonic()
        terminal = Console(stderr=True)
        self._bar = Progress(BarColumn(), TextColumn("{task.description}"), console=terminal, transient=True)
        self._shown = terminal.is_terminal and not as_json
        self._task = self._bar.add_task(self.line(), total=plan.total, completed=self._rows)

    def __enter__(self) -> Self:
        if self._shown:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()

    def advance(self, rows: int) -> None:
        """Adds rows that were computed in shards that are not complete yet."""
        self._rows = min(self._rows + rows, self._plan.total)  # rows of a retried shard are reported twice
        self._show()

    def outcome(self, outcome: Done | Failed) -> None:
        """Records that a shard is complete or has failed."""
        if isinstance(outcome, Done):
            self._shards += 1
            self._committed += outcome.rows + outcome.rejected
            self._rejected += outcome.rejected
            self._rows = max(self._rows, self._committed)
        else:
            self._failed += 1
            note(f"shard {outcome.shard} failed {outcome.attempts} times: {outcome.reason}")
        if self._as_json:
            event = "done" if isinstance(outcome, Done) else "failed"
            print(json.dumps({"event": event, **json.loads(outcome.as_json())}), flush=True)  # noqa: T201
        self._show()

    def line(self) -> str:
        """The progress as a sentence."""
        total = self._plan.total
        seconds = time.monotonic() - self._begun
        rate = (self._rows - self._before) / seconds if seconds > 0 else 0.0
        said = [
            f"{self._shards:,} of {self._plan.shards:,} shards",
            f"{self._rows:,} of {total:,} rows ({100 * self._rows / max(total, 1):.1f} %)",
        ]
        if rate > 0:
            left = timedelta(seconds=round((total - self._rows) / rate))
            said += [f"{rate:,.0f} rows/s", f"{left} left"]
        if self._rejected:
            said.append(f"{self._rejected:,} rejected")
        if self._failed:
            said.append(f"{self._failed:,} shards failed")
        return ", ".join(said)

    def _show(self) -> None:
        if self._shown:
            self._bar.update(self._task, completed=self._rows, description=self.line())
        elif not self._as_json and time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            note(self.line())
