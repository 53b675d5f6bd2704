"""Options of the commands that create and use indexes."""

from pathlib import Path
from typing import Annotated

import typer

from embedry_cli.options import DEFAULT_MODEL, model_names

IndexModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help=f"A name, an alias, a repository id, or a folder; by default the index's model, or {DEFAULT_MODEL}.",
        autocompletion=model_names,
    ),
]
IndexFile = Annotated[
    Path | None, typer.Option("--index", metavar="FILE", help="The index file; by default in the cache folder.")
]
