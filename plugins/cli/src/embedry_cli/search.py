"""Implements `embedry search`: finds the passages of text files that match a question by meaning."""

from typing import Annotated, Unpack

import typer

from embedry_cli import folder_hits, folder_search
from embedry_cli.folder_search import CANDIDATES
from embedry_cli.index_options import IndexFile, IndexModel
from embedry_cli.options import AsJson, Engine, engine_options, in_utf8


@engine_options
def search(
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", callback=in_utf8, help="What to search for, in your own words.")
    ],
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Files, or folders to search recursively; by default the current folder, if it has an index.",
            show_default=False,
        ),
    ] = None,
    *,
    top: Annotated[int, typer.Option(min=1, help="How many passages to show.")] = 5,
    model: IndexModel = None,
    rerank: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A reranker that reorders the passages; its scores are shown."),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, help=f"How many passages the reranker scores; by default {CANDIDATES}.")
    ] = None,
    index: IndexFile = None,
    as_json: AsJson = False,
    **engine: Unpack[Engine],
) -> None:
    """Search the text files of a folder by meaning.

    Uses the index that `embedry index` made of the folder or of a parent folder.
    Without an index, each search embeds all files.
    Skips hidden files, binary files, files larger than 10 MB and files that .gitignore excludes.

    Examples:
        embedry search "When do I get my money back?" docs/
        embedry search "where is the cache written?" src/ --top 10 --json
        embedry search "how do I cancel?" docs/ --rerank ms-marco-MiniLM-L6-v2
    """
    best = folder_search.search(
        question, paths, top=top, model=model, rerank=rerank, candidates=candidates, index=index, **engine
    )
    folder_hits.show(best, as_json=as_json)
