"""Implements `embedry compare`: shows how similar texts are, as a heat map in the terminal or on an HTML page."""

import sys
from pathlib import Path
from typing import Annotated, Unpack

import numpy as np
import typer
from numpy.typing import NDArray

from embedry import LazyEmbedder, resolve
from embedry_cli import heat_map, heat_page, terminal
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.heat_map import Compared
from embedry_cli.options import DEFAULT_MODEL, AsJson, Engine, Model, Overwrite, Role, engine_options, in_utf8, output
from embedry_cli.outputs import whole
from embedry_cli.rows import STDIN, Rows

_MOST = 2000
"""The maximum number of texts and of queries: a page with four million numbers opens in a second or two."""


@engine_options
def compare(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            callback=in_utf8,
            help="The texts; by default the lines of standard input.",
            show_default=False,
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(callback=in_utf8, help="Compare this query with the texts; repeatable."),
    ] = None,
    *,
    to: Annotated[str | None, output("Write the heat map to this HTML page, which works offline.")] = None,
    overwrite: Overwrite = False,
    model: Model = DEFAULT_MODEL,
    role: Role = "document",
    as_json: AsJson = False,
    **engine: Unpack[Engine],
) -> None:
    """Show how similar texts are, as a heat map.

    Uses the similarity that the model was trained for; distances are negated.
    Colors range from the least to the most similar pair.
    For more than 20 texts, shows the most similar pairs; --to draws all of them.

    Examples:
      embedry compare "Where is my parcel?" "Track a shipment." "Opening hours"
      embedry compare --query "Where is my parcel?" < answers.txt
      embedry compare --to heat.html < questions.txt
    """
    if to is not None and not to.lower().endswith((".html", ".htm")):
        raise InputError(f"{to} must end in .html")
    embedder = resolve(entry(model, "dense"), **engine)
    embedder.spec.prompt(role)  # rejects an unknown role before reading anything
    named = texts or _lines()
    _check(len(named), len(query or ()))
    if to is None:
        found = _compared(embedder, named, query or None, role)
    else:
        with whole(Path(to), overwrite=overwrite) as page:
            found = _compared(embedder, named, query or None, role)
            page.write(_page(found))
        terminal.note(f"{terminal.counted(len(named), 'text')} -> {to}")
    if as_json:
        terminal.show_json(found._asdict() | {"matrix": found.matrix.tolist()})
    elif to is None:
        heat_map.show(found)


def _lines() -> list[str]:
    if sys.stdin.isatty():
        raise InputError('nothing to compare; pass texts: embedry compare "one" "another", or pipe lines in')
    lines = [row.text for row in Rows([STDIN], "text", "text")]
    texts = [text for text in lines if text.strip()]
    if len(texts) < len(lines):
        terminal.note(f"skipped: {terminal.counted(len(lines) - len(texts), 'blank text')}")
    return texts


def _check(texts: int, queries: int) -> None:
    if texts < (1 if queries else 2):
        raise InputError(
            f"there is nothing to compare {terminal.counted(texts, 'text')} with; give two or more, or use --query"
        )
    for count, what in ((texts, "texts"), (queries, "queries")):
        if count > _MOST:
            raise InputError(
                f"{count:,} {what} are too many, at most {_MOST:,} are compared; draw more as a map: embedry map FILE --to map.html"
            )


def _compared(embedder: LazyEmbedder, texts: list[str], queries: list[str] | None, role: str) -> Compared:
    with terminal.waiting(f"embedding {terminal.counted(len(texts), 'text')}"):
        columns = embedder.encode(texts, role=role)
        rows = columns if queries is None else embedder.encode_query(queries)
        matrix: NDArray[np.float32] = embedder.similarity(rows, columns)
    return Compared(embedder.name, embedder.spec.similarity, texts, queries, matrix)


def _page(found: Compared) -> bytes:
    texts = terminal.counted(len(found.texts), "text")
    queries = f"{len(found.queries or ()):,} {'query' if len(found.queries or ()) == 1 else 'queries'}"
    title = f"Similarity of {texts}" if found.queries is None else f"Similarity of {texts} to {queries}"
    with terminal.waiting("writing"):
        return heat_page.html(title, f"by {found.model}", found)
