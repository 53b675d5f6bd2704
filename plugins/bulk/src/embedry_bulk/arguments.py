"""The options that the commands of `embedry bulk` share, and what their values mean."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from embedry_bulk.encodings import Encoding, Lists
from embedry_bulk.errors import PlanError
from embedry_bulk.inputs import Kind
from embedry_bulk.plan import OnOverflow, Output

if TYPE_CHECKING:
    from embedry.options import Options

Folder = Annotated[
    str, typer.Argument(metavar="OUT", help="The job's folder: a path, or a URL such as s3://bucket/job.")
]
Model = Annotated[str, typer.Option("--model", "-m", help="A name, an alias, a repository id, or a folder.")]
VectorKind = Annotated[
    Literal["dense", "sparse", "multi_vector"] | None,
    typer.Option("--kind", help="Kind of vectors, where the model gives several; by default its first."),
]
Role = Annotated[str, typer.Option(help="document, query, or a task that the model defines.")]
Column = Annotated[str, typer.Option(help="The column that holds the texts.")]
VectorColumn = Annotated[str, typer.Option(help="The column that the vectors are written to.")]
Keep = Annotated[str | None, typer.Option(help="Other columns that go along, separated by commas; by default all.")]
Format = Annotated[
    Kind | None, typer.Option("--format", help="The format of the inputs; by default by file extension.")
]
OutputFormat = Annotated[Output, typer.Option("--output-format", help="The format of the result.")]
Id = Annotated[
    str | None,
    typer.Option(
        "--id", help="For npy: the column of the ids; by default the number of the row. `verify` notes ids that repeat."
    ),
]
EncodingOption = Annotated[Encoding, typer.Option("--encoding", help="How vectors are stored.")]
ListOption = Annotated[
    Lists, typer.Option("--list", help="Lists of vectors in Parquet; ClickHouse reads variable ones only.")
]
Overflow = Annotated[
    OnOverflow, typer.Option("--on-overflow", help="What to do with texts that are longer than the model reads.")
]
ShardTokens = Annotated[
    int, typer.Option(help="Tokens of a shard, about; a shard is what an interruption costs at most.")
]
ShardRows = Annotated[int | None, typer.Option(help="Rows of a shard, exactly, instead.")]
Dims = Annotated[int | None, typer.Option(help="Shorter vectors, where the model was trained for them.")]
Backend = Annotated[str | None, typer.Option(help="The engine; by default the one that the model prefers.")]
Device = Annotated[str | None, typer.Option(help="Where to compute; by default the backend's choice.")]
Precision = Annotated[str | None, typer.Option(help="fp32, int8, bf16 or fp16; by default the backend's choice.")]
Threads = Annotated[int | None, typer.Option(help="Threads to compute with; by default all that a process may use.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_OF_THE_PLAN = (
    "model", "kind", "role", "column", "vector_column", "keep", "input_format", "output", "id_column", "encoding", "lists",
    "on_overflow", "shard_tokens", "shard_rows", "dims",
)  # fmt: skip
"""Parameters that decide the result."""


def options(
    dims: int | None, backend: str | None, device: str | None, precision: str | None, threads: int | None
) -> "Options":
    """Those that were given: a plan's space has a precision of its own."""
    given = {"dims": dims, "backend": backend, "device": device, "precision": precision, "threads": threads}
    return {name: value for name, value in given.items() if value is not None}  # type: ignore[return-value]


def check_planned(context: typer.Context, folder: str) -> None:
    """Raises PlanError for options that a job which is already planned can no longer follow."""
    given = [
        each.opts[0]
        for each in context.command.params
        if each.name in _OF_THE_PLAN
        and (source := context.get_parameter_source(each.name))
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise PlanError(
            f"{' and '.join(given)} cannot be changed: the plan in {folder} has decided it; leave it out, or plan another job: "
            "embedry bulk run INPUT... --to OUT"
        )


def share(text: str) -> tuple[int, int]:
    """Which of several workers this is, and how many there are."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise PlanError(f"--worker must be a number and how many there are, from 1/8 to 8/8, got {text!r}")
    return int(match[1]), int(match[2])
