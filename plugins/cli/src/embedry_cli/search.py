"""`embedry search`: the passages of text files that match a query by meaning, best first."""

import heapq
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from embedry import LazyEmbedder, LazyReranker, resolve, resolve_reranker
from embedry_cli import terminal
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.options import DEFAULT_MODEL, AsJson, Model
from embedry_cli.passages import Passage, files, passages
from embedry_cli.rerank import check_ranks

_BLOCK = 512
"""Passages in memory at a time; only the best of the others are kept."""

_CHARS_PER_TOKEN = 3
"""Fewer than running text has, so that a passage is nearly always read to its end."""

_LONGEST = 1000
"""Characters of a passage, even for models that read more: the vector of a long text resembles nothing in particular."""

_SHOWN_LINES = 4

_CANDIDATES = 50
"""Passages that a reranker reads: a second or two of a small one on a CPU."""


def search(
    question: Annotated[str, typer.Argument(help="What you look for, in your own words.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files, or folders to search in depth.")],
    top: Annotated[int, typer.Option(min=1, help="How many passages to show.")] = 5,
    model: Model = DEFAULT_MODEL,
    rerank: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A reranker, which orders what the model finds; its scores are shown."),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, help=f"How many passages the reranker reads; by default {_CANDIDATES}.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search the text files of a folder by meaning.

    Nothing is indexed: every file is read and embedded again.
    Hidden files, binary files and files larger than 64 MB are left out.
    """
    if candidates is not None and rerank is None:
        raise InputError("--candidates is how many passages a reranker reads; give --rerank MODEL too")
    spec = entry(model, "dense")
    # On unit vectors the other similarities rank as the dot product does.
    embedder = resolve(spec, normalize=None if spec.similarity == "dot" else True)
    reranker = _reranker(rerank) if rerank is not None else None
    skipped: Counter[str] = Counter()
    found = files(paths, skipped)
    most = min(_LONGEST, _CHARS_PER_TOKEN * embedder.max_seq_length)
    wanted = top if reranker is None else max(top, candidates or _CANDIDATES)
    best = _best(embedder, question, passages(found, most, skipped), wanted)
    if +skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()) if count)
        terminal.note(f"skipped: {reasons}")
    if not best:
        raise InputError(f"no text to search in {', '.join(paths)}")
    if reranker is not None:
        ranked = reranker.rank(question, [passage.text for _, passage in best], top_k=top)
        best = [(each.score, best[each.position][1]) for each in ranked]
    if as_json:
        terminal.show_json([{"score": score} | passage._asdict() for score, passage in best])
    else:
        _show(best)


def _reranker(model: str) -> LazyReranker:
    reranker = resolve_reranker(entry(model, "reranker"))
    check_ranks(reranker)
    return reranker


def _best(embedder: LazyEmbedder, question: str, found: Iterator[Passage], top: int) -> list[tuple[float, Passage]]:
    best: list[tuple[float, Passage]] = []
    query = None
    done = 0
    with terminal.progress("passages", None) as advance:
        while block := list(islice(found, _BLOCK)):
            if query is None:
                query = embedder.encode_query([question])[0]
            scores = (embedder.encode_document([passage.text for passage in block]) @ query).tolist()
            best = heapq.nlargest(top, [*best, *zip(scores, block, strict=True)], key=lambda hit: hit[0])
            done += len(block)
            advance(done, done)
    return best


def _show(best: Sequence[tuple[float, Passage]]) -> None:
    console = terminal.console()
    for score, passage in best:
        place = terminal.shown(f"{passage.file}:{passage.line}")
        console.print(Text.assemble((f"{score:.3f}", "cyan"), "  ", (place, "bold")))
        lines = [line for line in textwrap.dedent(passage.text).splitlines() if line]
        for line in lines[:_SHOWN_LINES]:
            console.print(Text("       " + terminal.shown(line)), no_wrap=True, overflow="ellipsis")
        if len(lines) > _SHOWN_LINES:
            console.print(Text(f"       ... {len(lines)} lines in all", style="dim"))
