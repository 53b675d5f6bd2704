"""Implements `embedry rerank`: ranks texts with a reranker by how well they answer a question."""

import heapq
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple, Unpack

import numpy as np
import typer
from rich.text import Text

from embedry import LazyReranker, TextTooLongError, resolve_reranker
from embedry._pipeline.texts import checked
from embedry_cli import downloads, formats, terminal
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.options import DEFAULT_RERANKER, AsJson, Column, Engine, Model, engine_options, in_utf8
from embedry_cli.row import Row
from embedry_cli.rows import Rows
from embedry_cli.texts import Texts, named, told_by_place


class Hit(NamedTuple):
    """A text and its score."""

    score: float
    place: str
    """The location of the text: "notes.txt:12"."""
    text: str


@engine_options
def rerank(
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", callback=in_utf8, help="The question that the texts should answer.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Files, or - for standard input.", show_default=False),
    ] = None,
    *,
    top: Annotated[int, typer.Option(min=1, help="How many texts to show.")] = 5,
    model: Model = DEFAULT_RERANKER,
    input_format: Annotated[
        formats.Kind | None,
        typer.Option("--format", help="Format of the files; by default by extension, else lines of text."),
    ] = None,
    column: Column = "text",
    as_json: AsJson = False,
    **engine: Unpack[Engine],
) -> None:
    """Rank the texts of files by how well they answer a question.

    A text is a line, or a row of JSONL, CSV, TSV or Parquet. Blank texts are skipped.
    To search folders, use: embedry search QUESTION PATH... --rerank MODEL

    Examples:
        embedry rerank "When do I get my money back?" answers.txt
        embedry rerank "Who is locked out?" tickets.jsonl --column body -m ms-marco-MiniLM-L6-v2 --json
    """
    reranker = resolve_reranker(entry(model, "reranker"), on_query_overflow="error", **engine)
    check_ranks(reranker)
    rows = Rows(named(inputs, "rank"), input_format, column, "rerank", others=False)
    best = _best(reranker, question, rows, top)
    if as_json:
        terminal.show_json([hit._asdict() for hit in best])
    else:
        _show(best)


def check_ranks(reranker: LazyReranker) -> None:
    """Raises InputError for a model that returns several scores per pair, because these do not define an order."""
    if reranker.dims != 1:
        raise InputError(f"{reranker.name!r} gives {reranker.dims} scores per pair, so it cannot rank; use another")


def _best(reranker: LazyReranker, question: str, rows: Rows, top: int) -> list[Hit]:
    """The best texts; equal scores keep the input order. Reads block by block and keeps only the best texts."""
    checked([question])  # separately, because errors in pairs are reported by the location of the text
    downloads.load(reranker)
    texts = Texts(row for row in rows if row.text.strip())
    best: list[tuple[float, Row]] = []
    with terminal.progress("texts", rows.size) as advance, told_by_place(texts, reranker.max_seq_length):
        for logits, found in _scored(reranker, question, texts):
            best = heapq.nlargest(top, [*best, *zip(logits, found, strict=True)], key=lambda hit: hit[0])
            advance(texts.done, rows.read)
    texts.warn_of_cut(reranker.max_seq_length)
    if not best:
        raise InputError("there is no text to rank; pass files, or pipe text in")
    scores = reranker.shown(np.array([[logit] for logit, _ in best], dtype=np.float32)).tolist()
    return [Hit(score, row.place, row.text) for score, (_, row) in zip(scores, best, strict=True)]


def _scored(reranker: LazyReranker, question: str, texts: Texts) -> Iterator[tuple[list[float], list[Row]]]:
    try:
        for block in reranker.score_blocks((question, text) for text in texts):
            texts.note_cut(block.truncated)
            yield block.vectors[:, 0].tolist(), texts.taken(len(block.vectors))
    except TextTooLongError as error:  # texts are truncated, so the question is too long
        raise InputError(
            f"the question is too long to be read beside {texts.places(error.positions)}: the model reads "
            f"{reranker.max_seq_length} tokens of both; shorten it"
        ) from error


def _show(best: Sequence[Hit]) -> None:
    console = terminal.console()
    for hit in best:
        place = terminal.shown(hit.place)
        console.print(Text.assemble((f"{hit.score:.3f}", "cyan"), "  ", (place, "bold")))
        text = terminal.shown(" ".join(hit.text.split()))
        console.print(Text(f"       {text}"), no_wrap=True, overflow="ellipsis")
