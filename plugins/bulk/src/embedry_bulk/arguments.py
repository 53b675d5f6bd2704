"""The options that the commands of `embedry bulk` share, and their parsing."""

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
    typer.Option("--kind", help="Kind of vectors, if the model supports several; default: its first."),
]
Role = Annotated[str, typer.Option(help="document, query, or a task that the model defines.")]
Column = Annotated[str, typer.Option(help="The column with the texts.")]
VectorColumn = Annotated[str, typer.Option(help="The column to write the vectors to.")]
Keep = Annotated[str | None, typer.Option(help="Other columns to keep, separated by commas; default: all.")]
Format = Annotated[Kind | None, typer.Option("--format", help="The format of the inputs; default: by file extension.")]
OutputFormat = Annotated[Output, typer.Option("--output-format", help="The format of the result.")]
Id = Annotated[
    str | None,
    typer.Option(
        "--id", help="For npy: the column of the ids; default: the row number. `verify` reports repeated ids."
    ),
]
EncodingOption = Annotated[Encoding, typer.Option("--encoding", help="How vectors are stored.")]
ListOption = Annotated[
    Lists, typer.Option("--list", help="List type of vectors in Parquet; ClickHouse only reads variable.")
]
Overflow = Annotated[
    OnOverflow, typer.Option("--on-overflow", help="What to do with texts that are longer than the model's limit.")
]
ShardTokens = Annotated[
    int, typer.Option(help="Approximate tokens per shard; an interruption loses at most one shard.")
]
ShardRows = Annotated[int | None, typer.Option(help="Exact number of rows per shard, instead of --shard-tokens.")]
Dims = Annotated[int | None, typer.Option(help="Length of the vectors, if the model supports shorter ones.")]
Backend = Annotated[str | None, typer.Option(help="The backend; default: the model's preferred one.")]
Device = Annotated[str | None, typer.Option(help="The device to compute on; default: the backend's choice.")]
Precision = Annotated[str | None, typer.Option(help="fp32, int8, bf16 or fp16; default: the backend's choice.")]
Threads = Annotated[int | None, typer.Option(help="Number of threads; default: all that the process may use.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_OF_THE_PLAN = (
    "model", "kind", "role", "column", "vector_column", "keep", "input_format", "output", "id_column", "encoding", "lists",
    "on_overflow", "shard_tokens", "shard_rows", "dims",
)  # fmt: skip
"""Parameters that determine the result."""


def options(
    dims: int | None, backend: str | None, device: str | None, precision: str | None, threads: int | None
) -> "Options":
    """The options that were set: a plan's space has its own precision."""
    given = {"dims": dims, "backend": backend, "device": device, "precision": precision, "threads": threads}
    return {name: value for name, value in given.items() if value is not None}  # type: ignore[return-value]


def check_planned(context: typer.Context, folder: str) -> None:
    """Raises PlanError for options that cannot change after planning."""
    given = [
        each.opts[0]
        for each in context.command.params
        if each.name in _OF_THE_PLAN
        and (source := context.get_parameter_source(each.name))
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise PlanError(
            f"{' and '.join(given)} cannot be changed: the plan in {folder} already sets it; leave it out, or plan another job: "
            "embedry bulk run INPUT... --to OUT"
        )


def share(text: str) -> tuple[int, int]:
    """The number of this worker, and the number of workers."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise PlanError(f"--worker must be a number and how many there are, from 1/8 to 8/8, got {text!r}")
    return int(match[1]), int(match[2])
