"""Implements `embedry check`: runs the conformance checks for a model on this machine."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple, Unpack

import typer
from rich.table import Table
from rich.text import Text

from embedry import ModelSpec, lock, use_lock
from embedry.chains import Kind
from embedry.testing import CHECKS, NotApplicable, Subject, Violation, description, run
from embedry_cli import downloads, terminal
from embedry_cli.entries import entry
from embedry_cli.options import AsJson, Engine, ModelArgument, engine_options

_STYLES = {"passed": "green", "failed": "bold red", "not applicable": "dim"}


class Outcome(NamedTuple):
    """The result of one check."""

    check: str
    """The name of the check."""
    description: str
    verdict: str
    """One of `_STYLES`."""
    reason: str
    """Why it failed or does not apply; empty if it passed."""


@engine_options
def check(
    model: ModelArgument,
    kind: Annotated[
        Kind | None, typer.Option(help="The kind to check, for models with several kinds; by default the first.")
    ] = None,
    as_json: AsJson = False,
    **engine: Unpack[Engine],
) -> None:
    """Run the conformance checks for a model on this machine. Exit code 1 if a check fails.

    Examples:
        embedry check all-MiniLM-L6-v2
        embedry check all-MiniLM-L6-v2 --backend transformers --device cuda
    """
    spec = entry(model, *([kind] if kind is not None else []))
    checked: str | ModelSpec = model
    if lock.in_use() is not None:
        checked = spec
        # The checks also resolve changed entries, here and in other processes, which the lock file would reject.
        use_lock(None)
        os.environ.pop(lock.VARIABLE, None)
    subject = Subject(checked, kind, **engine)
    downloads.load(subject.embedder)  # a model that cannot be loaded causes one error instead of a table of failures
    outcomes = list(_outcomes(subject))
    counts = {verdict: Counter(outcome.verdict for outcome in outcomes)[verdict] for verdict in _STYLES}
    if as_json:
        found = {"model": subject.embedder.name, "kind": subject.kind, "computed_by": dict(subject.embedder.info)}
        terminal.show_json(found | {"counts": counts, "checks": [outcome._asdict() for outcome in outcomes]})
    else:
        _show(outcomes)
        totals = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        facts = ", ".join(f"{name} {value}" for name, value in subject.embedder.info.items())
        terminal.show(f"\n{subject.embedder.name}: {totals} ({facts})")
    raise typer.Exit(1 if counts["failed"] else 0)


def _outcomes(subject: Subject) -> Iterator[Outcome]:
    with terminal.waiting("checking") as show:
        for name, function in CHECKS.items():
            show(f"checking: {description(function)}")
            yield Outcome(name, description(function), *_verdict(name, subject))


def _verdict(name: str, subject: Subject) -> tuple[str, str]:
    try:
        run(name, subject)
    except NotApplicable as answer:
        return "not applicable", str(answer)
    except Violation as violation:
        return "failed", str(violation).removeprefix(description(CHECKS[name])).lstrip(": ")
    return "passed", ""


def _show(outcomes: Sequence[Outcome]) -> None:
    table = Table("check", "", box=None, header_style="bold")
    for outcome in outcomes:
        reason = terminal.shown(f": {outcome.reason}" if outcome.reason else "")
        table.add_row(outcome.description, Text.assemble((outcome.verdict, _STYLES[outcome.verdict]), reason))
    terminal.console().print(table)
