"""`embedry models`: the registered models, as a table or as JSON."""

from typing import Annotated

import typer
from rich.table import Table

from embedry import ModelSpec, list_models
from embedry.registry import installed
from embedry_cli import terminal

_WIDE = 110
"""Width of a terminal from which the descriptions fit as well."""


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the models that are registered.

    Nothing is loaded or downloaded. Plugins add models: `embedry doctor` shows which.
    """
    specs = list_models()
    for name, owners in installed().conflicts().items():
        if any(each.spec.name.lower() == name for each in owners):  # otherwise only an alias is lost
            packages = " and ".join(each.plugin for each in owners)
            terminal.warn(f"the name {name!r} is registered by {packages}, so it cannot be used; see embedry doctor")
    if as_json:
        terminal.show_json([_facts(spec) for spec in specs])
        return
    console = terminal.console()
    console.print(_table(specs, described=console.width >= _WIDE))


def _facts(spec: ModelSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "aliases": list(spec.aliases),
        "repo": spec.repo,
        "dims": spec.dims,
        "matryoshka_dims": list(spec.matryoshka.dims),
        "max_seq_length": spec.max_seq_length,
        "prompts": dict(spec.prompts),
        "size_mb": spec.size_mb,
        "license": spec.license,
        "languages": list(spec.languages),
        "backend": spec.preferred_backend,
        "description": spec.description,
    }


def _table(specs: tuple[ModelSpec, ...], *, described: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    # The other commands take the name, so it is never cut, however narrow the terminal.
    table.add_column("name", no_wrap=True, min_width=max((len(spec.name) for spec in specs), default=0), style="cyan")
    for heading in ("dims", "tokens", "MB"):
        table.add_column(heading, justify="right")
    for heading in ("prompts", "license", "backend", *(["description"] if described else [])):
        table.add_column(heading)
    for spec in specs:
        numbers = (spec.dims, spec.max_seq_length, spec.size_mb if spec.size_mb is not None else "?")
        texts = (_prompts(spec), spec.license or "?", spec.preferred_backend, spec.description)
        table.add_row(*map(terminal.shown, (spec.name, *map(str, numbers), *texts[: 4 if described else 3])))
    return table


def _prompts(spec: ModelSpec) -> str:
    roles = [role for role in ("query", "document") if spec.prompts.get(role)]
    return "both" if len(roles) == 2 else "".join(roles) or "none"
