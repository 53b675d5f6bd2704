"""Prints the results of a search."""

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence

from embedry_cli import terminal
from embedry_cli.folder_search import Hit
from embedry_cli.passages import Passage

_SHOWN_LINES = 4


def show(hits: Sequence[Hit], *, as_json: bool) -> None:
    """Prints passages with their scores and locations, best first."""
    if as_json:
        terminal.show_json([{"score": score} | passage._asdict() for score, passage in hits])
    elif sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):
        _show_in_color(hits)
    else:  # without rich, because its import takes a tenth of the time of a search
        for score, passage in hits:
            print(f"{score:.3f}  {_place(passage)}", *_lines(passage), sep="\n")  # noqa: T201


def _show_in_color(hits: Sequence[Hit]) -> None:
    from rich.text import Text

    console = terminal.console()
    for score, passage in hits:
        console.print(Text.assemble((f"{score:.3f}", "cyan"), "  ", (_place(passage), "bold")))
        for line in _lines(passage):
            console.print(Text(line), no_wrap=True, overflow="ellipsis")


def _place(passage: Passage) -> str:
    return terminal.shown(f"{passage.file}:{passage.line}")


def _lines(passage: Passage) -> Iterator[str]:
    """The first lines of a passage, indented."""
    lines = [line for line in textwrap.dedent(passage.text).splitlines() if line]
    yield from ("       " + terminal.shown(line) for line in lines[:_SHOWN_LINES])
    if len(lines) > _SHOWN_LINES:
        yield f"       ... {len(lines)} lines in all"
