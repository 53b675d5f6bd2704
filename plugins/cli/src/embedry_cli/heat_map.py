"""Prints the output of `embedry compare`: the heat map of a few texts, or the most similar pairs of many."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from embedry.spec import Similarity
from embedry_cli import terminal
from embedry_cli.page import VIRIDIS

_SCALE = np.array(VIRIDIS, dtype=np.float64)
_LUMINANCE = np.array([0.299, 0.587, 0.114])

_MOST = 20
"""Maximum rows and columns of a heat map in a terminal."""

_PAIRS = 10
"""Number of pairs to show for more texts."""

_ANSWERS = 3
"""Number of texts to show for each query, for more texts or queries."""


class Compared(NamedTuple):
    """Texts and their similarities."""

    model: str
    similarity: Similarity
    texts: Sequence[str]
    """One text per column."""
    queries: Sequence[str] | None
    """One query per row; None if the texts are compared with each other."""
    matrix: NDArray[np.float32]
    """Float32 (rows, columns); higher is more similar."""

    @property
    def pairs(self) -> NDArray[np.float32]:
        """The matrix with NaN for the similarity of each text to itself."""
        own = np.eye(len(self.texts), dtype=bool) if self.queries is None else False
        return np.where(own, np.float32(np.nan), self.matrix)


def show(found: Compared) -> None:
    """Prints the comparison to standard output."""
    console = terminal.console()
    if max(found.matrix.shape) <= _MOST:
        _show_map(console, found)
    elif found.queries is None:
        _show_pairs(console, found)
    else:
        _show_answers(console, found, found.queries)


def _show_map(console: Console, found: Compared) -> None:
    pairs = found.pairs
    names, rows = _names(found)
    _show_cells(console, rows, found.matrix, _styles(pairs))
    listed = [*zip(names, found.texts, strict=True)]
    if found.queries is not None:
        listed = [*zip(rows, found.queries, strict=True), *listed]
    width = max(len(name) for name, _ in listed)
    for name, text in listed:
        _line(console, (name.rjust(width), "bold"), "  ", text=text)
    extremes = [_pair(rows, pairs, int(position)) for position in (np.nanargmin(pairs), np.nanargmax(pairs))]
    console.print(f"\n{found.similarity}: least alike {extremes[0]}, most alike {extremes[1]}")


def _show_pairs(console: Console, found: Compared) -> None:
    pairs = np.where(np.tri(len(found.texts), dtype=bool), np.nan, found.matrix)  # each pair once
    low, middle, high = np.nanquantile(pairs, (0, 0.5, 1))
    count = len(found.texts) * (len(found.texts) - 1) // 2
    console.print(
        f"{len(found.texts):,} texts, {count:,} pairs, {found.similarity} {low:.2f} to {high:.2f}, median {middle:.2f}\n"
    )
    console.print(Text("Most alike", style="bold"))
    width = len(str(len(found.texts)))
    for position in np.argsort(-pairs, axis=None, kind="stable")[:_PAIRS]:
        one, other = divmod(int(position), len(found.texts))
        score = f"{pairs[one, other]:.2f}"
        for place, start in ((one, score), (other, " " * len(score))):
            _line(console, (start, "cyan"), "  ", (str(place + 1).rjust(width), "bold"), "  ", text=found.texts[place])
    _show_rest(console)


def _show_answers(console: Console, found: Compared, queries: Sequence[str]) -> None:
    names, rows = _names(found)
    width = len(names[-1])
    for row, query, scores in zip(rows[:_MOST], queries, found.matrix, strict=False):
        _line(console, (row, "bold"), "  ", text=query)
        for position in np.argsort(-scores, kind="stable")[:_ANSWERS]:
            start = (f"  {scores[position]:.2f}", "cyan")
            _line(console, start, "  ", (names[position].rjust(width), "bold"), "  ", text=found.texts[position])
    if len(queries) > _MOST:
        console.print(Text(f"and {len(queries) - _MOST:,} more", style="dim"))
    _show_rest(console)


def _show_rest(console: Console) -> None:
    console.print("\nAll pairs: --to heat.html draws them, --json prints them.")


def _names(found: Compared) -> tuple[list[str], list[str]]:
    """The labels of the columns and of the rows."""
    names = [str(number) for number in range(1, len(found.texts) + 1)]
    return names, names if found.queries is None else [f"Q{number}" for number in range(1, len(found.queries) + 1)]


def _line(console: Console, *parts: str | tuple[str, str], text: str) -> None:
    shown = Text.assemble(*parts, terminal.shown(" ".join(text.split())))
    console.print(shown, no_wrap=True, overflow="ellipsis")


def _pair(rows: Sequence[str], pairs: NDArray[np.float32], position: int) -> str:
    row, column = divmod(position, pairs.shape[1])
    return f"{rows[row]} and {column + 1} ({pairs[row, column]:.2f})"


def _styles(pairs: NDArray[np.float32]) -> list[list[Style]]:
    low, high = np.nanmin(pairs), np.nanmax(pairs)
    parts = (pairs - low) / (high - low) if high > low else np.where(np.isnan(pairs), np.nan, 0.5)
    return [[_style(float(part)) for part in row] for row in parts]


def _style(part: float) -> Style:
    """The style of a cell by the position of its value on the scale, from 0 to 1; NaN for no value.

    Sets both foreground and background, so that it looks the same on dark and light terminals.
    """
    if np.isnan(part):
        return Style(dim=True)
    steps = np.linspace(0, 1, len(_SCALE))
    color = np.array([np.interp(part, steps, channel) for channel in _SCALE.T])
    ink = Color.from_rgb(0, 0, 0) if color @ _LUMINANCE > 115 else Color.from_rgb(255, 255, 255)
    return Style(color=ink, bgcolor=Color.from_rgb(*color))


def _show_cells(
    console: Console, names: Sequence[str], values: NDArray[np.float32], styles: Sequence[Sequence[Style]]
) -> None:
    """Prints as many columns as fit in the terminal side by side, and the rest below."""
    shown = [[f" {value:.2f} " for value in row] for row in values]
    label = max(map(len, names))
    cell = max(len(text) for row in shown for text in row)
    fitting = max(1, (console.width - label) // cell)
    for first in range(0, values.shape[1], fitting):
        block = range(first, min(first + fitting, values.shape[1]))
        header = "".join(f"{column + 1} ".rjust(cell) for column in block)
        console.print(Text(" " * label + header, style="bold"))
        for name, texts, looks in zip(names, shown, styles, strict=True):
            cells = ((texts[column].rjust(cell), looks[column]) for column in block)
            console.print(Text.assemble((name.rjust(label), "bold"), *cells))
        console.print()
