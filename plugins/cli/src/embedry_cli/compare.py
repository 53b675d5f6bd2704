"""`embedry compare`: how similar a few texts are to a model, as a heat map in the terminal."""

import sys
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from embedry import resolve
from embedry.spec import Similarity
from embedry_cli import terminal
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.options import DEFAULT_MODEL, AsJson, Model, Role
from embedry_cli.rows import STDIN, Rows

# Viridis: equal steps of the number look like equal steps, to the colour-blind too. A cell sets its background and its
# ink, so it reads the same on a dark terminal and on a light one.
_SCALE = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], dtype=np.float64)
_LUMINANCE = np.array([0.299, 0.587, 0.114])


class Compared(NamedTuple):
    """Texts, and how similar they are."""

    similarity: Similarity
    texts: Sequence[str]
    """One a column."""
    queries: Sequence[str] | None
    """One a row; None where the texts are compared with each other."""
    matrix: NDArray[np.float32]
    """Float32 (rows, columns); higher is more similar."""


def compare(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="The texts; by default the lines of standard input.", show_default=False),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(help="Compare this query with the texts; may be repeated."),
    ] = None,
    model: Model = DEFAULT_MODEL,
    role: Role = "document",
    as_json: AsJson = False,
) -> None:
    """Show how similar a few texts are, as a heat map.

    Uses the similarity that the model was trained for; distances are negated.
    Colours range from the least to the most similar pair of the call.
    """
    embedder = resolve(entry(model, "dense"))
    embedder.spec.prompt(role)  # an unknown role is an error before anything is read
    named = texts or _lines()
    if len(named) < (1 if query else 2):
        raise InputError(
            f"there is nothing to compare {terminal.counted(len(named), 'text')} with; give two or more, or use --query"
        )
    columns = embedder.encode(named, role=role)
    rows = embedder.encode_query(query) if query else columns
    similarity = embedder.spec.similarity
    found = Compared(similarity, named, query or None, matrix(similarity, rows, columns))
    if as_json:
        terminal.show_json(found._asdict() | {"model": embedder.name, "matrix": found.matrix.tolist()})
    else:
        _show(found)


def matrix(similarity: Similarity, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """How similar each row (n, dims) is to each column (m, dims): float32 (n, m), higher is more similar.

    Distances are negated, as in sentence-transformers.
    """
    if similarity == "cosine":
        rows, columns = _unit(rows), _unit(columns)
    if similarity in ("cosine", "dot"):
        products: NDArray[np.float32] = rows @ columns.T
        return products
    gaps = rows[:, None] - columns[None]
    distances: NDArray[np.float32] = np.linalg.norm(gaps, ord=2 if similarity == "euclidean" else 1, axis=-1)
    return -distances


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)  # zeros stay zeros
    return unit


def _lines() -> list[str]:
    if sys.stdin.isatty():
        raise InputError('nothing to compare; pass texts: embedry compare "one" "another", or pipe lines in')
    return [row.text for row in Rows([STDIN], "text", "text")]


def _show(found: Compared) -> None:
    console = terminal.console()
    count = len(found.texts)
    # The similarity of a text to itself says nothing, and would take the brightest colour from all other pairs.
    own = np.eye(count, dtype=bool) if found.queries is None else np.zeros_like(found.matrix, dtype=bool)
    pairs = np.where(own, np.nan, found.matrix)
    names = [str(number) for number in range(1, count + 1)]
    rows = names if found.queries is None else [f"Q{number}" for number in range(1, len(found.queries) + 1)]
    _show_cells(console, rows, found.matrix, _styles(pairs))
    listed = [*zip(names, found.texts, strict=True)]
    if found.queries is not None:
        listed = [*zip(rows, found.queries, strict=True), *listed]
    width = max(len(name) for name, _ in listed)
    for name, text in listed:
        line = Text.assemble((name.rjust(width), "bold"), "  ", terminal.shown(" ".join(text.split())))
        console.print(line, no_wrap=True, overflow="ellipsis")
    extremes = [_pair(rows, pairs, int(position)) for position in (np.nanargmin(pairs), np.nanargmax(pairs))]
    console.print(f"\n{found.similarity}: least alike {extremes[0]}, most alike {extremes[1]}")


def _pair(rows: Sequence[str], pairs: NDArray[np.float32], position: int) -> str:
    row, column = divmod(position, pairs.shape[1])
    return f"{rows[row]} and {column + 1} ({pairs[row, column]:.2f})"


def _styles(pairs: NDArray[np.float32]) -> list[list[Style]]:
    low, high = np.nanmin(pairs), np.nanmax(pairs)
    parts = (pairs - low) / (high - low) if high > low else np.where(np.isnan(pairs), np.nan, 0.5)
    return [[_style(float(part)) for part in row] for row in parts]


def _style(part: float) -> Style:
    """The look of a cell whose value is this part, 0 to 1, of the way along the scale; nan for none."""
    if np.isnan(part):
        return Style(dim=True)
    steps = np.linspace(0, 1, len(_SCALE))
    colour = np.array([np.interp(part, steps, channel) for channel in _SCALE.T])
    ink = Color.from_rgb(0, 0, 0) if colour @ _LUMINANCE > 115 else Color.from_rgb(255, 255, 255)
    return Style(color=ink, bgcolor=Color.from_rgb(*colour))


def _show_cells(
    console: Console, names: Sequence[str], values: NDArray[np.float32], styles: Sequence[Sequence[Style]]
) -> None:
    """As many columns beside each other as the terminal has room for, the rest below."""
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
