"""Prints the output of commands: results to stdout, and progress to stderr if it is a terminal."""

import codecs
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from embedry_cli.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

UNLIMITED = 10_000
"""Width of output that does not go to a terminal."""

_NOT_SHOWN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, characters that change the text direction, and surrogates."""


def console() -> "Console":
    """A console for standard output. Output to another program is never wrapped or truncated."""
    from rich.console import Console

    found = Console(highlight=False, markup=False)
    return found if found.is_terminal else Console(highlight=False, markup=False, width=UNLIMITED)


def shown(text: str) -> str:
    r"""Escapes control characters in untrusted text, so that it is safe to print. Uses JSON escapes: `\u001b`."""
    return _NOT_SHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def show(text: str) -> None:
    """Prints lines."""
    from rich.text import Text

    console().print(Text(shown(text)))


def show_json(value: Any) -> None:
    """Prints a value as JSON, in ASCII if standard output is not UTF-8.

    Raises:
        OutputError: a number is not finite, so JSON cannot represent it.
    """
    unicode = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    try:
        text = json.dumps(value, indent=2, ensure_ascii=not unicode, allow_nan=False)
    except ValueError as error:
        raise OutputError(f"the result has a number that JSON cannot represent: {error}") from error
    print(shown(text))  # noqa: T201


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Prints names and values in two columns. Skips values that are None or empty."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value not in (None, ""):
            table.add_row(shown(name), ("no", "yes")[value] if isinstance(value, bool) else shown(str(value)))
    console().print(table)


def show_section(title: str, facts: Mapping[str, object]) -> None:
    """Prints names and values below a title."""
    from rich.text import Text

    console().print(Text(title, style="bold cyan"))
    show_facts(facts.items())
    console().print()


def counted(count: int, what: str) -> str:
    """Formats a number and a noun, in the plural unless the number is 1."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def note(text: str) -> None:
    """Prints a line to stderr."""
    print(shown(text), file=sys.stderr)  # noqa: T201


def warn(text: str) -> None:
    """Prints a warning to stderr, in the format of embedry's own warnings."""
    note(f"warning: {text}")


@contextmanager
def waiting(text: str) -> Iterator[Callable[[str], None]]:
    """Shows a spinner for work of unknown length. Yields a function that changes its text."""
    from rich.console import Console
    from rich.text import Text

    stderr = Console(stderr=True, markup=False)
    if not stderr.is_terminal:
        yield lambda _: None
        return
    with stderr.status(Text(shown(text))) as status:
        yield lambda changed: status.update(Text(shown(changed)))


@contextmanager
def progress(what: str, size: int | None) -> Iterator[Callable[[int, int], None]]:
    """Shows a progress bar. Yields a function to call with the number of items done and the amount of `size` read.

    Args:
        what: the name of the items, in the plural: "texts".
        size: the size of the whole input, in any unit; None if unknown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]}"),
        TextColumn("{task.fields[rate]:,.0f}/s", style="cyan"),
        TimeRemainingColumn(),
    )
    start = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=size, done=f"0 {what}", rate=0.0)

        def advance(done: int, read: int) -> None:
            so_far = counted(done, what.removesuffix("s"))
            bar.update(task, completed=read, done=so_far, rate=done / (time.perf_counter() - start))

        yield advance
