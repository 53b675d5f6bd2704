"""Implements `embedry map`: draws the texts of a file as points in the plane, on one HTML page."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import numpy as np
import typer
from numpy.typing import NDArray

from embedry import LazyEmbedder, TextError, resolve
from embedry_cli import map_page, terminal
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.map_page import Groups, Scale
from embedry_cli.options import DEFAULT_MODEL, Column, Engine, Model, Overwrite, Role, engine_options, output
from embedry_cli.outputs import whole
from embedry_cli.row import Row
from embedry_cli.rows import Kind, Rows
from embedry_cli.stages import notes

_FEWEST = 3
"""The minimum number of texts: two texts have only one distance."""

_FEW_VALUES = 12
"""The maximum number of distinct numbers for treating a column as categories."""


@engine_options
def map(  # noqa: A001  a command's function has the command's name
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Lines, JSONL, CSV, TSV or Parquet; - for standard input.")
    ],
    *,
    to: Annotated[str, output("The HTML page to write.")],
    color: Annotated[
        str | None,
        typer.Option("--color", help="Color by this column; by default by cluster."),
    ] = None,
    model: Model = DEFAULT_MODEL,
    role: Role = "document",
    kind: Annotated[
        Kind | None,
        typer.Option("--format", help="Format of the file; by default by its extension, else lines of text."),
    ] = None,
    column: Column = "text",
    overwrite: Overwrite = False,
    **engine: Unpack[Engine],
) -> None:
    """Draw the texts of a file as a map, on one HTML page that works offline.

    Texts with similar meaning are near each other.
    Needs: pip install "embedry[map]"

    Examples:
      embedry map questions.txt --to map.html
      embedry map reviews.csv --column review --color stars --to map.html
    """
    if not to.lower().endswith((".html", ".htm")):
        raise InputError(f"{to} must end in .html")
    embedder = resolve(entry(model, "dense"), **engine)
    embedder.spec.prompt(role)  # rejects an unknown role before reading anything
    with whole(Path(to), overwrite=overwrite) as page:
        rows = _read(file, kind, column, color)
        with terminal.waiting("starting"):
            from embedry_cli import projection  # takes seconds to compile
        distinct = list(dict.fromkeys(row.text for row in rows))
        note = notes()
        vectors = _embedded(embedder, rows, distinct, role, note)
        with terminal.waiting("finding neighbors") as spin:

            def show(text: str) -> None:
                spin(text)
                note(text)

            show("projecting")
            points = projection.plane(vectors, embedder.spec.similarity, show)
            show("writing")
            where = {text: number for number, text in enumerate(distinct)}
            of_row = np.array([where[row.text] for row in rows])
            if color is None:
                labels = projection.clusters(points)
                names = projection.names(distinct, labels)
                colors: Groups | Scale = Groups("Clusters", names, labels[of_row], True, "")
            else:
                colors = _by_column(color, [row.record.get(color) for row in rows])
            others = {name: None for row in rows for name in row.record if name != column}
            page.write(
                map_page.html(
                    "standard input" if file == "-" else Path(file).name,
                    f"{terminal.counted(len(rows), 'text')} by similarity of their {embedder.name} embeddings",
                    points[of_row],
                    [row.text for row in rows],
                    {name: [_shown(row.record.get(name)) for row in rows] for name in others},
                    colors,
                )
            )
    terminal.note(f"{terminal.counted(len(rows), 'text')} -> {to}")


def _read(file: str, kind: Kind | None, column: str, color: str | None) -> list[Row]:
    every = list(Rows([file], kind, column, "map"))
    rows = [row for row in every if row.text.strip()]
    if len(rows) < len(every):
        terminal.note(f"skipped: {terminal.counted(len(every) - len(rows), 'blank text')}")
    distinct = len({row.text for row in rows})
    if distinct < _FEWEST:
        raise InputError(f"{file} has {terminal.counted(distinct, 'different text')}; a map needs {_FEWEST} or more")
    columns = {name: None for row in rows for name in row.record}
    if color is not None and color not in columns:
        raise InputError(f"{file} has no column {color!r} to color by; choose one of {', '.join(columns)}")
    return rows


def _embedded(
    embedder: LazyEmbedder, rows: Sequence[Row], distinct: Sequence[str], role: str, note: Callable[[str], None]
) -> NDArray[np.float32]:
    """The vectors of the distinct texts. Equal texts would be neighbors only of each other."""
    vectors = np.empty((len(distinct), embedder.dims), dtype=np.float32)
    done = 0
    note(f"embedding {terminal.counted(len(distinct), 'text')}")
    with terminal.progress("texts", len(distinct)) as advance:
        try:
            for block in embedder.encode_stream(distinct, role=role):
                vectors[done : done + len(block)] = block
                done += len(block)
                advance(done, done)
                note(f"embedding {terminal.counted(len(distinct), 'text')}: {done / len(distinct):.0%}")
        except TextError as error:
            wrong = distinct[error.positions[0]]
            raise InputError(f"{next(row.place for row in rows if row.text == wrong)}: {error}") from error
    return vectors


def _by_column(name: str, values: Sequence[Any]) -> Groups | Scale:
    """A scale for many distinct numbers; otherwise groups, with names for the most frequent ones."""
    numbers = _numbers(values)
    if numbers is not None and len(set(numbers[~np.isnan(numbers)].tolist())) > _FEW_VALUES:
        return Scale(name, numbers)
    shown = [_shown(value) for value in values]
    counts = Counter(value for value in shown if value)
    named = [value for value, _ in counts.most_common(len(map_page.PALETTE))]
    place = {value: number for number, value in enumerate(named)}
    labels = np.array([place.get(value, -1) for value in shown])
    others = len(counts) - len(named)
    return Groups(name, named, labels, False, f"{others:,} others" if others else "none")


def _numbers(values: Sequence[Any]) -> NDArray[np.float64] | None:
    """The values as numbers, with NaN for missing values; None if a value is not a number."""
    try:
        numbers = np.array([np.nan if value in (None, "") else float(value) for value in values])
    except (TypeError, ValueError, OverflowError):
        return None
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _shown(value: object) -> str:
    return "" if value is None else str(value)
