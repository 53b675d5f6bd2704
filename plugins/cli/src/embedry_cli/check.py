"""`embedry check`: whether this installation gives the right vectors."""

import os
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from embedry import ModelSpec, lock, use_lock
from embedry.chains import Kind
from embedry.testing import CHECKS, NotApplicable, Subject, Violation, description, run
from embedry_cli import terminal
from embedry_cli.entries import entry
from embedry_cli.options import Backend, Device, ModelArgument, Precision

_STYLES = {"passed": "green", "failed": "bold red", "not applicable": "dim"}


def check(
    model: ModelArgument,
    kind: Annotated[
        Kind | None, typer.Option(help="What to check, where the model gives several kinds; by default its first.")
    ] = None,
    backend: Backend = None,
    device: Device = None,
    precision: Precision = None,
) -> None:
    """Run the conformance checks for a model on this machine. Exit code 1 if a check fails."""
    options: dict[str, Any] = {"backend": backend, "device": device, "precision": precision}
    spec = entry(model, *([kind] if kind is not None else []))
    checked: str | ModelSpec = model
    if lock.in_use() is not None:
        checked = spec
        # The checks resolve changed entries too, here and in other processes, which the lock file would refuse.
        use_lock(None)
        os.environ.pop(lock.VARIABLE, None)
    subject = Subject(checked, kind, **{name: value for name, value in options.items() if value is not None})
    subject.embedder.load()  # a model that cannot be loaded is one error, not a table of them
    table = Table("check", "", box=None, header_style="bold")
    verdicts: list[str] = []
    with terminal.waiting("checking") as show:
        for name, function in CHECKS.items():
            show(f"checking: {description(function)}")
            verdict, why = _verdict(name, subject)
            verdicts.append(verdict)
            reason = terminal.shown(f": {why}" if why else "")
            table.add_row(description(function), Text.assemble((verdict, _STYLES[verdict]), reason))
    facts = ", ".join(f"{name} {value}" for name, value in subject.embedder.info.items())
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in _STYLES)
    terminal.console().print(table)
    terminal.show(f"\n{subject.embedder.name}: {counts} ({facts})")
    raise typer.Exit(1 if "failed" in verdicts else 0)


def _verdict(name: str, subject: Subject) -> tuple[str, str]:
    try:
        run(name, subject)
    except NotApplicable as answer:
        return "not applicable", str(answer)
    except Violation as violation:
        return "failed", str(violation).removeprefix(description(CHECKS[name])).lstrip(": ")
    return "passed", ""
