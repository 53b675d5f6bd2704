"""Implements `embedry embed`: reads files of texts and writes files of vectors, in blocks."""

import time
from typing import Annotated, Unpack

import typer

from embedry import Space
from embedry.options import OnOverflow
from embedry_cli import downloads, formats, outputs, terminal
from embedry_cli.entries import text_model
from embedry_cli.lengths import Lengths
from embedry_cli.options import (
    DEFAULT_MODEL,
    Column,
    Engine,
    Model,
    Overwrite,
    Role,
    TextKind,
    engine_options,
    output,
)
from embedry_cli.rows import Rows, kind_of
from embedry_cli.texts import Texts, named, told_by_place
from embedry_cli.vectors import VectorColumn


@engine_options
def embed(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Files, or - for standard input.", show_default=False),
    ] = None,
    *,
    to: Annotated[str, output("File to write: .npy, .jsonl or .parquet; - for JSON lines on standard output.")],
    model: Model = DEFAULT_MODEL,
    kind: TextKind = None,
    role: Role = "document",
    input_format: Annotated[
        formats.Kind | None,
        typer.Option("--format", help="Format of the inputs; by default by file extension, else lines of text."),
    ] = None,
    column: Column = "text",
    vector_column: Annotated[str, typer.Option(help="The column for the vectors.")] = "embedding",
    dims: Annotated[
        int | None, typer.Option(help="Shorten the vectors to this length, if the model was trained for it.")
    ] = None,
    on_overflow: Annotated[
        OnOverflow, typer.Option(help="What to do with texts that are too long for the model.")
    ] = "truncate",
    stats: Annotated[bool, typer.Option("--stats", help="Also show the lengths of the texts in tokens.")] = False,
    overwrite: Overwrite = False,
    **engine: Unpack[Engine],
) -> None:
    """Embed lines, JSONL, CSV or Parquet into .npy, .jsonl or .parquet.

    Rows keep their order, and .jsonl and .parquet keep their other columns.
    The output file is created only after everything has succeeded. The model
    and the vector space are recorded in OUTPUT.npy.json next to a .npy file,
    and in the metadata of a .parquet file.

    A sparse vector is written as an object with two lists, indices and values;
    a multi-vector as a list of lists. The .npy format supports neither.

    Examples:
        embedry embed questions.txt --to vectors.npy
        embedry embed tickets.jsonl --column body --to tickets.parquet
        cat questions.txt | embedry embed --to - | head -1
    """
    embedder = text_model(model, kind, dims=dims, on_overflow=on_overflow, **engine)
    embedder.spec.prompt(role)  # rejects an unknown role before reading anything
    names = named(inputs, "embed")
    others = not to.lower().endswith(".npy")
    rows = Rows(names, input_format, column, "embed", others=others)
    texts = Texts(rows, vector_column if others else None)
    downloads.load(embedder)
    about = {"space": Space.of(embedder).as_dict(), "role": role}
    opened = outputs.opened(
        to,
        VectorColumn(vector_column, embedder.spec.kind, embedder.dims, about),
        overwrite=overwrite,
        parquet_inputs=names if {input_format or kind_of(name) for name in names} == {"parquet"} else (),
    )
    read = embedder.config.length(role)
    lengths = Lengths(read)
    start = time.perf_counter()
    with opened as writer, terminal.progress("texts", rows.size) as advance, told_by_place(texts, read):
        for block in embedder.encode_blocks(texts, role=role):
            lengths.add(block)
            texts.note_cut(block.truncated)
            writer.write(texts.taken(len(block.vectors)), block.vectors)
            advance(texts.done, rows.read)
    seconds = time.perf_counter() - start
    if on_overflow == "truncate":
        texts.warn_of_cut(read)
    for line in lengths.lines() if stats else ():
        terminal.note(line)
    terminal.note(f"{terminal.counted(texts.done, 'text')} -> {to} in {seconds:.1f} s")
