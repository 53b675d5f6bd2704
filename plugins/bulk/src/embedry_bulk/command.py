"""`embedry bulk`: plan, run, status, verify."""

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedry_bulk import arguments
from embedry_bulk.errors import IncompleteError, PlanError
from embedry_bulk.inputs import Kind as Format

if TYPE_CHECKING:
    from embedry.chains import Kind
    from embedry.options import Options
    from embedry_bulk.plan import Plan

bulk = typer.Typer(no_args_is_help=True, help="Embed a corpus of any size, in shards that survive interruptions.")


@bulk.command("plan")
def plan_command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Parquet, JSONL, CSV or TSV: files, folders, patterns.")
    ],
    *,
    to: Annotated[str, typer.Option("--to", "-o", help="The job's folder, created if missing: a path or a URL.")],
    model: arguments.Model = "all-MiniLM-L6-v2",
    kind: arguments.VectorKind = None,
    role: arguments.Role = "document",
    column: arguments.Column = "text",
    vector_column: arguments.VectorColumn = "embedding",
    keep: arguments.Keep = None,
    input_format: arguments.Format = None,
    output: arguments.OutputFormat = "parquet",
    id_column: arguments.Id = None,
    encoding: arguments.EncodingOption = "float32",
    lists: arguments.ListOption = "fixed",
    on_overflow: arguments.Overflow = "truncate",
    shard_tokens: arguments.ShardTokens = 2_000_000,
    shard_rows: arguments.ShardRows = None,
    dims: arguments.Dims = None,
    backend: arguments.Backend = None,
    device: arguments.Device = None,
    precision: arguments.Precision = None,
    threads: arguments.Threads = None,
) -> None:
    """Read the inputs and write the immutable plan of a job.

    Examples:
        embedry bulk plan corpus.parquet --to vectors
    """
    made = _planned(
        inputs, to, model, kind, role, input_format, keep, arguments.options(dims, backend, device, precision, threads),
        column=column, vector_column=vector_column, output=output, id_column=id_column, encoding=encoding,
        lists=lists, on_overflow=on_overflow, shard_tokens=shard_tokens, shard_rows=shard_rows,
    )  # fmt: skip
    rows, shards = _counted(made.total, "row"), _counted(made.shards, "shard")
    _print(f"{rows} in {shards}; run it: embedry bulk run {made.url}")


@bulk.command("run")
def run_command(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="OUT | INPUT", help="The folder of a planned job; or inputs, with --to."),
    ],
    *,
    to: Annotated[
        str | None, typer.Option("--to", "-o", help="Plan a job in this folder, or continue the existing one.")
    ] = None,
    model: arguments.Model = "all-MiniLM-L6-v2",
    kind: arguments.VectorKind = None,
    role: arguments.Role = "document",
    column: arguments.Column = "text",
    vector_column: arguments.VectorColumn = "embedding",
    keep: arguments.Keep = None,
    input_format: arguments.Format = None,
    output: arguments.OutputFormat = "parquet",
    id_column: arguments.Id = None,
    encoding: arguments.EncodingOption = "float32",
    lists: arguments.ListOption = "fixed",
    on_overflow: arguments.Overflow = "truncate",
    shard_tokens: arguments.ShardTokens = 2_000_000,
    shard_rows: arguments.ShardRows = None,
    dims: arguments.Dims = None,
    backend: arguments.Backend = None,
    device: arguments.Device = None,
    precision: arguments.Precision = None,
    threads: arguments.Threads = None,
    worker: Annotated[
        str, typer.Option(help="The number of this worker and of all workers, such as 3/8; each runs this command.")
    ] = "1/1",
    max_rejected: Annotated[
        str, typer.Option(help="Maximum number of rejected rows before the job fails: 100, or 0.1%.")
    ] = "0.1%",
    on: Annotated[
        str, typer.Option(help="Where to run: local, or a cluster of an installed plugin, such as ray.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the cluster; default: start one on this machine.")
    ] = None,
    actors: Annotated[
        int | None, typer.Option(help="Number of processes in the cluster; default: as many as fit.")
    ] = None,
    gpus: Annotated[float, typer.Option(help="GPUs per process.")] = 0,
    as_json: arguments.AsJson = False,
) -> None:
    """Run or continue a job: `run OUT`; or plan and run it: `run INPUT... --to OUT`.

    Run the same command again after an interruption. Ctrl-C stops after the shards in progress, a second one immediately.

    Examples:
        embedry bulk run corpus.parquet --to vectors
        embedry bulk run vectors
    """
    from embedry_bulk import progress, records, running

    share, allowance = arguments.share(worker), running.Allowance.parsed(max_rejected)
    compute = running.runner(on)
    options = arguments.options(dims, backend, device, precision, threads)
    if to is None:
        made = _loaded(inputs, context)
    else:
        made = _planned(
            inputs, to, model, kind, role, input_format, keep, options,
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
        progress.note(f"stopped: {watch.line()}; to continue: embedry bulk run {made.url}")
        raise typer.Exit(130)
    if as_json:
        _print({"event": "end", "url": made.url, **counts})
    else:
        progress.note(
            f"{counts['rows']:,} rows -> {made.url}/data, {counts['rejected']:,} rejected, {counts['truncated']:,} truncated"
        )


@bulk.command("status")
def status_command(folder: arguments.Folder, *, as_json: arguments.AsJson = False) -> None:
    """Show the progress of a job, from any machine.

    Examples:
        embedry bulk status vectors
    """
    from embedry_bulk import records
    from embedry_bulk.plan import Plan

    made = Plan.load(folder)
    done = records.done_shards(made)
    failed = {shard: each for shard, each in records.failed_shards(made).items() if shard not in done}
    counts = records.total(done.values())
    seconds = sum(each.seconds for each in done.values())
    facts = {
        "model": made.job.space.model,
        "kind": made.job.space.kind,
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
        _print(facts)
        return
    for name, value in facts.items():
        _print(f"{name.replace('_', ' '):>28}  {f'{value:,}' if isinstance(value, int) else value}")
    for shard, each in failed.items():
        _print(f"shard {shard}: {each.reason}")


@bulk.command("verify")
def verify_command(
    folder: arguments.Folder,
    *,
    forget: Annotated[bool, typer.Option("--forget", help="Recompute invalid shards in the next run.")] = False,
    as_json: arguments.AsJson = False,
) -> None:
    """Read everything that a job has written, and compare it with its records.

    Repeated ids are reported but are not an error: a row is identified by its position.

    Examples:
        embedry bulk verify vectors
    """
    from embedry_bulk import records, repeated, verifying
    from embedry_bulk.plan import Plan

    made = Plan.load(folder)
    problems = list(verifying.verify(made))
    for problem in problems:
        shard = "" if problem.shard is None else f"shard {problem.shard} "
        _print(problem._asdict() if as_json else f"{shard}{problem.what}")
    if not problems:
        ids = repeated.repeated_ids(made, records.done_shards(made))
        if ids is not None and not as_json:
            have = "row has" if ids.rows == 1 else "rows have"
            _print(f"note: {ids.rows:,} {have} the id of an earlier row: {ids.first}")
        facts = {"rows": made.total, "shards": made.shards, "repeated_ids": ids.rows if ids else 0}
        _print(facts if as_json else f"no problems: {_counted(made.shards, 'shard')}, {_counted(made.total, 'row')}")
        return
    found = _counted(len(problems), "problem")
    concerned = {problem.shard for problem in problems if problem.shard is not None}
    if not concerned:
        raise IncompleteError(f"{found}, not in a shard")
    if forget:
        verifying.forget(made, problems)
        raise IncompleteError(
            f"{found}; {_counted(len(concerned), 'shard')} will be computed again: embedry bulk run {made.url}"
        )
    raise IncompleteError(
        f"{found}; to compute the shards concerned again: embedry bulk verify {made.url} --forget, then "
        f"embedry bulk run {made.url}"
    )


def _print(what: "str | Mapping[str, Any]") -> None:
    """Prints a line for people, or an object for programs, to standard output."""
    from embedry_bulk import progress

    typer.echo(progress.shown(what) if isinstance(what, str) else json.dumps(what))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _planned(
    names: list[str], to: str, model: str, kind: "Kind | None", role: str, input_format: Format | None,
    keep: str | None, options: "Options",
    **settings: Any,
) -> "Plan":  # fmt: skip
    from embedry_bulk import planning, progress

    kept = None if keep is None else tuple(name.strip() for name in keep.split(",") if name.strip())
    with progress.reading() as advance:
        return planning.make_plan(
            names,
            to,
            model=model,
            kind=kind,
            role=role,
            input_format=input_format,
            advance=advance,
            options=options,
            keep=kept,
            **settings,
        )


def _loaded(names: list[str], context: typer.Context) -> "Plan":
    from embedry_bulk.plan import Plan

    if len(names) != 1:
        raise PlanError(
            f"`bulk run` takes one folder of a job; to plan one for {len(names)} inputs, name its folder: --to OUT"
        )
    plan = Plan.load(names[0])
    arguments.check_planned(context, plan.url)
    return plan


@contextmanager
def _stoppable() -> Iterator[Event]:
    """An event that Ctrl-C sets; a second one interrupts as usual."""
    from embedry_bulk import progress

    stopping = Event()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stopping.set()
        progress.note("stopping after the shards in progress; Ctrl-C again stops immediately and loses only these")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)
