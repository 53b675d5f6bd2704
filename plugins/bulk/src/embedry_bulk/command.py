"""`embedry bulk`: plan, run, status, verify."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedry_bulk.encodings import Encoding, Lists
from embedry_bulk.errors import IncompleteError, PlanError
from embedry_bulk.inputs import Kind
from embedry_bulk.plan import OnOverflow, Output

if TYPE_CHECKING:
    from embedry.options import Options
    from embedry_bulk.plan import Plan

bulk = typer.Typer(no_args_is_help=True, help="Embed a corpus of any size, in shards that survive every interruption.")

_Folder = Annotated[
    str, typer.Argument(metavar="OUT", help="The job's folder: a path, or a URL such as s3://bucket/job.")
]
_Model = Annotated[str, typer.Option(help="A name, an alias, a repository id, or a folder.")]
_Role = Annotated[str, typer.Option(help="document, query, or a task that the model defines.")]
_Column = Annotated[str, typer.Option(help="The column that holds the texts.")]
_VectorColumn = Annotated[str, typer.Option(help="The column that the vectors are written to.")]
_Keep = Annotated[str | None, typer.Option(help="Other columns that go along, separated by commas; by default all.")]
_Format = Annotated[
    Kind | None, typer.Option("--format", help="The format of the inputs; by default by file extension.")
]
_Output = Annotated[Output, typer.Option("--output-format", help="The format of the result.")]
_Id = Annotated[
    str | None, typer.Option("--id", help="For npy: the column of the ids; by default the number of the row.")
]
_Encoding = Annotated[Encoding, typer.Option(help="How vectors are stored.")]
_List = Annotated[
    Lists, typer.Option("--list", help="Lists of vectors in Parquet; ClickHouse reads variable ones only.")
]
_OnOverflow = Annotated[OnOverflow, typer.Option(help="What to do with texts that are longer than the model reads.")]
_ShardTokens = Annotated[
    int, typer.Option(help="Tokens of a shard, about; a shard is what an interruption costs at most.")
]
_ShardRows = Annotated[int | None, typer.Option(help="Rows of a shard, exactly, instead.")]
_Dims = Annotated[int | None, typer.Option(help="Shorter vectors, where the model was trained for them.")]
_Backend = Annotated[str | None, typer.Option(help="The engine; by default the one that the model prefers.")]
_Device = Annotated[str | None, typer.Option(help="Where to compute; by default the backend's choice.")]
_Precision = Annotated[str | None, typer.Option(help="fp32, int8, bf16 or fp16; by default the backend's choice.")]
_Threads = Annotated[int | None, typer.Option(help="Threads to compute with; by default all that a process may use.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@bulk.command("plan")
def plan_command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Parquet, JSONL, CSV or TSV: files, folders, patterns.")
    ],
    *,
    to: Annotated[str, typer.Option(help="The job's folder, which is made: a path or a URL.")],
    model: _Model = "all-MiniLM-L6-v2",
    role: _Role = "document",
    column: _Column = "text",
    vector_column: _VectorColumn = "embedding",
    keep: _Keep = None,
    kind: _Format = None,
    output: _Output = "parquet",
    id_column: _Id = None,
    encoding: _Encoding = "float32",
    lists: _List = "fixed",
    on_overflow: _OnOverflow = "truncate",
    shard_tokens: _ShardTokens = 2_000_000,
    shard_rows: _ShardRows = None,
    dims: _Dims = None,
    backend: _Backend = None,
    device: _Device = None,
    precision: _Precision = None,
    threads: _Threads = None,
) -> None:
    """Read the inputs and write the plan of a job, which never changes."""
    made = _planned(
        inputs, to, model, role, kind, keep, _options(dims, backend, device, precision, threads),
        column=column, vector_column=vector_column, output=output, id_column=id_column, encoding=encoding,
        lists=lists, on_overflow=on_overflow, shard_tokens=shard_tokens, shard_rows=shard_rows,
    )  # fmt: skip
    typer.echo(f"{made.total:,} rows in {made.shards:,} shards; run it: embedry bulk run {made.url}")


@bulk.command("run")
def run_command(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="OUT | INPUT", help="The folder of a job that is planned; or inputs, with --to."),
    ],
    *,
    to: Annotated[
        str | None, typer.Option(help="Plan a job in this folder first, or go on with the one that is there.")
    ] = None,
    model: _Model = "all-MiniLM-L6-v2",
    role: _Role = "document",
    column: _Column = "text",
    vector_column: _VectorColumn = "embedding",
    keep: _Keep = None,
    kind: _Format = None,
    output: _Output = "parquet",
    id_column: _Id = None,
    encoding: _Encoding = "float32",
    lists: _List = "fixed",
    on_overflow: _OnOverflow = "truncate",
    shard_tokens: _ShardTokens = 2_000_000,
    shard_rows: _ShardRows = None,
    dims: _Dims = None,
    backend: _Backend = None,
    device: _Device = None,
    precision: _Precision = None,
    threads: _Threads = None,
    worker: Annotated[
        str, typer.Option(help="Which of several workers this is, such as 3/8; each runs this command.")
    ] = "1/1",
    max_rejected: Annotated[
        str, typer.Option(help="Rows that may be rejected before the job ends: 100, or 0.1%.")
    ] = "0.1%",
    on: Annotated[str, typer.Option(help="Where: local, or a cluster that a package provides, such as ray.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the cluster; by default one is started on this machine.")
    ] = None,
    actors: Annotated[
        int | None, typer.Option(help="Processes in the cluster; by default as many as it has room for.")
    ] = None,
    gpus: Annotated[float, typer.Option(help="GPUs of each of them.")] = 0,
    as_json: _AsJson = False,
) -> None:
    """Run a job, or go on with it: `run OUT`; or plan it as well: `run INPUT... --to OUT`.

    Whatever ends it, the same command goes on. Ctrl-C ends it after the shards under way, a second one at once.
    """
    from embedry_bulk import progress, records, running

    share, allowance = _share(worker), running.Allowance.parsed(max_rejected)
    compute = running.runner(on)
    options = _options(dims, backend, device, precision, threads)
    if to is None:
        made = _loaded(inputs)
    else:
        made = _planned(
            inputs, to, model, role, kind, keep, options,
            column=column, vector_column=vector_column, output=output, id_column=id_column, encoding=encoding,
            lists=lists, on_overflow=on_overflow, shard_tokens=shard_tokens, shard_rows=shard_rows,
        )  # fmt: skip
    done = records.done_shards(made)
    watch = progress.Watch(made, records.total(done.values()), len(done), as_json=as_json)
    settings = running.Settings(options=options, advance=watch.advance, address=address, actors=actors, gpus=gpus)
    with _stoppable() as stopping, watch:
        counts = running.run(
            made, compute, settings, share=share, allowance=allowance, stopping=stopping, watch=watch.outcome
        )
    if stopping.is_set():
        progress.note(f"stopped: {watch.line()}; to go on: embedry bulk run {made.url}")
        raise typer.Exit(130)
    if as_json:
        typer.echo(json.dumps({"event": "end", "url": made.url, **counts}))
    else:
        progress.note(
            f"{counts['rows']:,} rows -> {made.url}/data, {counts['rejected']:,} rejected, {counts['truncated']:,} truncated"
        )


@bulk.command("status")
def status_command(folder: _Folder, *, as_json: _AsJson = False) -> None:
    """Show how far a job is, from anywhere."""
    from embedry_bulk import records
    from embedry_bulk.plan import Plan

    made = Plan.load(folder)
    done = records.done_shards(made)
    failed = {shard: each for shard, each in records.failed_shards(made).items() if shard not in done}
    counts = records.total(done.values())
    seconds = sum(each.seconds for each in done.values())
    facts = {
        "model": made.job.space.model,
        "role": made.job.role,
        "inputs": len(made.job.inputs),
        "rows": made.total,
        "shards": made.shards,
        "shards_done": len(done),
        "shards_failed": sorted(failed),
        "rows_written": counts["rows"],
        "rows_rejected": counts["rejected"],
        "texts_truncated": counts["truncated"],
        "tokens": counts["tokens"],
        "workers": len({each.worker for each in done.values()}),
        "rows_per_second_and_worker": round(counts["rows"] / seconds, 1) if seconds else None,
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' '):>28}  {f'{value:,}' if isinstance(value, int) else value}")
    for shard, each in failed.items():
        typer.echo(f"shard {shard}: {each.reason}")


@bulk.command("verify")
def verify_command(
    folder: _Folder,
    *,
    forget: Annotated[
        bool, typer.Option("--forget", help="Let the next run compute shards again that are wrong.")
    ] = False,
    as_json: _AsJson = False,
) -> None:
    """Read everything that a job has written again, and compare it with what its records say."""
    from embedry_bulk import verifying
    from embedry_bulk.plan import Plan

    made = Plan.load(folder)
    problems = list(verifying.verify(made))
    for problem in problems:
        shard = "" if problem.shard is None else f"shard {problem.shard} "
        typer.echo(json.dumps(problem._asdict()) if as_json else f"{shard}{problem.what}")
    if not problems:
        typer.echo(
            json.dumps({"rows": made.total, "shards": made.shards}) if as_json else f"{made.shards:,} shards are right"
        )
        return
    if forget:
        shards = verifying.forget(made, problems)
        raise IncompleteError(f"{len(shards):,} shards are to be computed again: embedry bulk run {made.url}")
    raise IncompleteError(
        f"{len(problems):,} problems; to compute the shards concerned again: embedry bulk verify {made.url} --forget, then "
        f"embedry bulk run {made.url}"
    )


def _planned(
    names: list[str], to: str, model: str, role: str, kind: Kind | None, keep: str | None, options: "Options",
    **settings: Any,
) -> "Plan":  # fmt: skip
    from embedry_bulk import planning, progress

    kept = None if keep is None else tuple(name.strip() for name in keep.split(",") if name.strip())
    with progress.reading() as advance:
        return planning.make_plan(
            names,
            to,
            model=model,
            role=role,
            kind=kind,
            advance=advance,
            options=options,
            keep=kept,
            **settings,
        )


def _loaded(names: list[str]) -> "Plan":
    from embedry_bulk.plan import Plan

    if len(names) != 1:
        raise PlanError(
            f"`bulk run` takes one folder of a job; to plan one for {len(names)} inputs, name its folder: --to OUT"
        )
    return Plan.load(names[0])


def _options(
    dims: int | None, backend: str | None, device: str | None, precision: str | None, threads: int | None
) -> "Options":
    """Those that were given: a plan's space has a precision of its own."""
    given = {"dims": dims, "backend": backend, "device": device, "precision": precision, "threads": threads}
    return {name: value for name, value in given.items() if value is not None}  # type: ignore[return-value]


def _share(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise PlanError(f"--worker must be a number and how many there are, from 1/8 to 8/8, got {text!r}")
    return int(match[1]), int(match[2])


@contextmanager
def _stoppable() -> Iterator[Event]:
    """An event that Ctrl-C sets; a second one interrupts as usual."""
    from embedry_bulk import progress

    stopping = Event()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stopping.set()
        progress.note("stopping after the shards under way; Ctrl-C again stops at once, and loses only these")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)
