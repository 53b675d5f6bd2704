"""`embedry embed`: files of texts to files of vectors, block by block."""

import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from embedry import Embedder, TextError, TextTooLongError, TruncationWarning, resolve
from embedry.config import OnOverflow
from embedry_cli import outputs, terminal
from embedry_cli.errors import InputError
from embedry_cli.rows import STDIN, Kind, Row, Rows, kind_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 512
"""Texts held at a time: enough to fill batches of like length, few enough for the progress to move."""

_DEFAULT = "all-MiniLM-L6-v2"


def embed(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Files, or - for standard input.", show_default=False),
    ] = None,
    *,
    to: Annotated[
        str, typer.Option(help="File to write: .npy, .jsonl or .parquet; - for JSON lines on standard output.")
    ],
    model: Annotated[str, typer.Option(help="A name, an alias, a repository id, or a folder.")] = _DEFAULT,
    role: Annotated[str, typer.Option(help="query, document, or a task that the model names.")] = "document",
    kind: Annotated[
        Kind | None,
        typer.Option("--format", help="What the inputs are; by default as their names end, else lines of text."),
    ] = None,
    column: Annotated[str, typer.Option(help="The column that holds the text.")] = "text",
    vector_column: Annotated[str, typer.Option(help="The column that the vectors are written to.")] = "embedding",
    backend: Annotated[str | None, typer.Option(help="The engine; by default the one that the model prefers.")] = None,
    dims: Annotated[int | None, typer.Option(help="Shorter vectors, where the model was trained for them.")] = None,
    on_overflow: Annotated[
        OnOverflow, typer.Option(help="What to do about texts that are longer than the model reads.")
    ] = "truncate",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
) -> None:
    """Embed lines, JSONL, CSV or Parquet into .npy, .jsonl or .parquet.

    Rows keep their order, and their other columns go along into .jsonl and .parquet.
    The output appears when all is done, or not at all.
    """
    embedder = resolve(model, backend=backend, dims=dims, on_overflow=on_overflow)
    embedder.spec.prompt(role)  # a role that the model does not have is found before anything is read
    names = _named(inputs)
    rows = Rows(names, kind, column)
    kinds = {kind or kind_of(name) for name in names}
    output = outputs.opened(
        to,
        column=vector_column,
        dims=embedder.dims,
        overwrite=overwrite,
        parquet_inputs=names if kinds == {"parquet"} else (),
    )
    start, done = time.perf_counter(), 0
    with output as writer, terminal.progress("texts", rows.size) as advance:
        for block in _blocks(rows):
            if not to.lower().endswith(".npy"):
                _check_free(vector_column, block)
            writer.write([row.record for row in block], _vectors(embedder, block, role))
            done += len(block)
            advance(done, rows.read)
    seconds = time.perf_counter() - start
    typer.echo(f"{done:,} texts -> {to} in {seconds:.1f} s", err=True)


def _named(inputs: Sequence[str] | None) -> Sequence[str]:
    if inputs:
        return inputs
    if sys.stdin.isatty():
        raise InputError("nothing to embed; name files, or pipe text in")
    return [STDIN]


def _blocks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while block := list(islice(remaining, BLOCK)):
        yield block


def _check_free(column: str, block: Sequence[Row]) -> None:
    for row in block:
        if column in row.record:
            raise InputError(f"{row.place}: there is a column {column!r} already; name another with --vector-column")


def _vectors(embedder: Embedder, block: Sequence[Row], role: str) -> "NDArray[np.float32]":
    """The block's vectors; what is wrong with a text is told by its place in the input, not in the block."""
    length = f"the {embedder.max_seq_length} tokens that the model reads"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TruncationWarning)
        try:
            vectors = embedder.encode([row.text for row in block], role=role)
        except TextTooLongError as error:
            where = _places(block, error.positions)
            raise InputError(f"longer than {length}: {where}; split them, or use --on-overflow truncate") from error
        except TextError as error:
            raise InputError(f"{_places(block, error.positions)}: {error}") from error
    for warning in caught:
        if isinstance(warning.message, TruncationWarning):
            where = _places(block, warning.message.positions)
            terminal.warn(f"longer than {length}, and cut: {where}")
        else:
            warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)
    return vectors


def _places(block: Sequence[Row], positions: Sequence[int]) -> str:
    shown = ", ".join(block[position].place for position in positions[:5])
    return f"{shown} and {len(positions) - 5} more" if len(positions) > 5 else shown
