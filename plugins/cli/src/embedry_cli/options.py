"""Options that several commands share."""

from typing import Annotated, Literal

import typer

DEFAULT_MODEL = "all-MiniLM-L6-v2"
DEFAULT_RERANKER = "ms-marco-MiniLM-L6-v2"

_MODEL = "A name, an alias, a repository id, or a folder."

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)]
Model = Annotated[str, typer.Option(help=_MODEL)]
Role = Annotated[str, typer.Option(help="query, document, or a task that the model defines.")]
TextKind = Annotated[
    Literal["dense", "sparse", "multi_vector"] | None,
    typer.Option("--kind", help="Kind of vectors, where the model gives several; by default its first."),
]
Column = Annotated[str, typer.Option(help="The column that holds the text.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Backend = Annotated[str | None, typer.Option(help="The engine; by default the one that the model prefers.")]
Device = Annotated[str | None, typer.Option(help="Where to compute; by default the backend's choice.")]
Precision = Annotated[str | None, typer.Option(help="fp32, int8, bf16 or fp16; by default the backend's choice.")]
Threads = Annotated[int | None, typer.Option(help="Threads to compute with; by default all that this process may use.")]
