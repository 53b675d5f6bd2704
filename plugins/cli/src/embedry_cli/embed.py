"""`embedry embed`: files of texts to files of vectors, block by block."""

import sys
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from embedry import TextError, TextTooLongError, TruncationWarning, resolve
from embedry.options import OnOverflow
from embedry_cli import outputs, terminal
from embedry_cli.errors import InputError
from embedry_cli.lengths import Lengths
from embedry_cli.options import DEFAULT_MODEL, Backend, Column, Model, Precision, Role, Threads
from embedry_cli.row import Row
from embedry_cli.rows import STDIN, Kind, Rows, kind_of

_MOST_PLACES = 5
"""Locations that a message names; of the others it gives the number."""


def embed(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Files, or - for standard input.", show_default=False),
    ] = None,
    *,
    to: Annotated[
        str, typer.Option(help="File to write: .npy, .jsonl or .parquet; - for JSON lines on standard output.")
    ],
    model: Model = DEFAULT_MODEL,
    role: Role = "document",
    kind: Annotated[
        Kind | None,
        typer.Option("--format", help="Format of the inputs; by default by file extension, else lines of text."),
    ] = None,
    column: Column = "text",
    vector_column: Annotated[str, typer.Option(help="The column that the vectors are written to.")] = "embedding",
    backend: Backend = None,
    precision: Precision = None,
    threads: Threads = None,
    dims: Annotated[int | None, typer.Option(help="Shorter vectors, where the model was trained for them.")] = None,
    on_overflow: Annotated[
        OnOverflow, typer.Option(help="What to do with texts that are longer than the model reads.")
    ] = "truncate",
    stats: Annotated[bool, typer.Option("--stats", help="Also show how many tokens the texts have.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
) -> None:
    """Embed lines, JSONL, CSV or Parquet into .npy, .jsonl or .parquet.

    Rows keep their order, and .jsonl and .parquet keep their other columns.
    The output file appears only when everything has succeeded.
    """
    embedder = resolve(model, backend=backend, precision=precision, threads=threads, dims=dims, on_overflow=on_overflow)
    embedder.spec.prompt(role)  # an unknown role is an error before anything is read
    names = _named(inputs)
    others = not to.lower().endswith(".npy")
    rows = Rows(names, kind, column, "embed", others=others)
    kinds = {kind or kind_of(name) for name in names}
    texts = Texts(rows, vector_column if others else None)
    output = outputs.opened(
        to,
        column=vector_column,
        dims=embedder.dims,
        overwrite=overwrite,
        parquet_inputs=names if kinds == {"parquet"} else (),
    )
    lengths = Lengths(embedder.max_seq_length)
    start = time.perf_counter()
    with (
        output as writer,
        terminal.progress("texts", rows.size) as advance,
        _told_by_place(texts, embedder.max_seq_length),
    ):
        for block in embedder.encode_blocks(texts, role=role):
            lengths.add(block)
            texts.note_cut(block.truncated)
            writer.write(texts.taken(len(block.vectors)), block.vectors)
            advance(texts.done, rows.read)
    seconds = time.perf_counter() - start
    if lengths.truncated and on_overflow == "truncate":
        of_all = f"{lengths.truncated:,} of {terminal.counted(texts.done, 'text')}"
        longer = f"longer than the {embedder.max_seq_length} tokens that the model reads"
        where = some_places(texts.cut, lengths.truncated)
        terminal.warn(f"{of_all} {'is' if lengths.truncated == 1 else 'are'} {longer}, and cut: {where}")
    for line in lengths.lines() if stats else ():
        terminal.note(line)
    terminal.note(f"{terminal.counted(texts.done, 'text')} -> {to} in {seconds:.1f} s")


class Texts:
    """The texts of rows, one after the other. Each row is held until its vector is written."""

    def __init__(self, rows: Iterable[Row], vector_column: str | None) -> None:
        self._rows = rows
        self._vector_column = vector_column
        self._held: deque[Row] = deque()
        self.done = 0
        """Rows that were taken."""
        self.cut: list[str] = []
        """The locations of the first texts that were cut."""

    def __iter__(self) -> Iterator[str]:
        """Reads the next rows.

        Raises:
            InputError: a row already has a column with the name of the vector column.
        """
        for row in self._rows:
            if self._vector_column in row.record:
                raise InputError(
                    f"{row.place}: there is a column {self._vector_column!r} already; name another with --vector-column"
                )
            self._held.append(row)
            yield row.text

    def taken(self, count: int) -> list[Row]:
        """The next rows, which are then released."""
        self.done += count
        return [self._held.popleft() for _ in range(count)]

    def note_cut(self, positions: Sequence[int]) -> None:
        """Keeps the locations of texts that were cut, before they are taken."""
        self.cut += [self._held[position - self.done].place for position in positions[: _MOST_PLACES - len(self.cut)]]

    def places(self, positions: Sequence[int]) -> str:
        """Locations of texts in the input, by their positions among all texts."""
        return some_places(
            [self._held[position - self.done].place for position in positions[:_MOST_PLACES]], len(positions)
        )


def some_places(places: Sequence[str], count: int) -> str:
    """The first locations of so many."""
    shown = ", ".join(places)
    return f"{shown} and {count - len(places):,} more" if count > len(places) else shown


def _named(inputs: Sequence[str] | None) -> Sequence[str]:
    if inputs:
        return inputs
    if sys.stdin.isatty():
        raise InputError("nothing to embed; pass files, or pipe text in")
    return [STDIN]


@contextmanager
def _told_by_place(texts: Texts, max_seq_length: int) -> Iterator[None]:
    """Reports invalid and truncated texts by their location in the input, not by their position in the stream."""
    length = f"the {max_seq_length} tokens that the model reads"
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, *about: Any, **named: Any) -> None:
            if isinstance(message, TruncationWarning):
                terminal.warn(f"longer than {length}, and cut: {texts.places(message.positions)}")
            else:
                others(message, *about, **named)

        warnings.showwarning = show
        warnings.simplefilter("always", TruncationWarning)
        try:
            yield
        except TextTooLongError as error:
            where = texts.places(error.positions)
            raise InputError(f"longer than {length}: {where}; split them, or use --on-overflow truncate") from error
        except TextError as error:
            raise InputError(f"{texts.places(error.positions)}: {error}") from error
