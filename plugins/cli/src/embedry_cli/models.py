"""`embedry models`: the registered models, as a table or as JSON."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from embedry import NO_LIMIT, ModelSpec, list_models
from embedry.chains import KINDS, Kind
from embedry.registry import installed
from embedry_cli import terminal
from embedry_cli.kinds import SIZES
from embedry_cli.options import AsJson

_WIDE = 110
"""Width of a terminal from which the beginnings of the descriptions fit as well."""

_MARKS = {
    "!": "its license forbids commercial use",
    "*": "not every file has a sha256 in its entry; the revision alone pins the others",
}
"""What is put behind a license, and what it says of the model."""


_TITLES: dict[Kind, str] = {
    "dense": "dense: a vector for a text",
    "reranker": "reranker: a score for a question and a text",
    "sparse": "sparse: weights of the terms of a vocabulary for a text",
    "multi_vector": "multi_vector: a vector for each token of a text",
}


def models(
    kind: Annotated[Kind | None, typer.Option(help="Only models that give this.")] = None, as_json: AsJson = False
) -> None:
    """List the models that are registered, by what they give.

    A model that gives several kinds of results is listed with each of them.
    Nothing is loaded or downloaded. Plugins add models: `embedry doctor` shows which. `embedry info` tells all of one.
    """
    specs = [spec for spec in list_models() if kind is None or kind in spec.kinds]
    for name, owners in installed().conflicts().items():
        if any(each.spec.name.lower() == name for each in owners):  # otherwise only an alias is lost
            packages = " and ".join(each.plugin for each in owners)
            terminal.warn(f"the name {name!r} is registered by {packages}, so it cannot be used; see embedry doctor")
    if as_json:
        terminal.show_json([_facts(spec) for spec in specs])
        return
    if not specs:
        terminal.note(
            f"no {f'{kind} ' if kind else ''}model is registered; packages with models add some, such as embedry-models"
        )
        return
    console = terminal.console()
    described = console.width >= _WIDE
    # The other commands take the name, so it is never cut, however narrow the terminal.
    console.width = max(console.width, *(len(spec.name) for spec in specs))
    for place, shown in enumerate(each for each in KINDS if kind in (None, each)):
        alike = [spec.for_kind(shown) for spec in specs if shown in spec.kinds]
        if alike:
            console.print(Text(("\n" if place else "") + _TITLES[shown], style="bold cyan"))
            console.print(_table(alike, shown, described=described))
    for mark in sorted(set("".join(map(_marks, specs)))):
        console.print(f"{mark} {_MARKS[mark]}")


def _facts(spec: ModelSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "aliases": list(spec.aliases),
        "kind": spec.kind,
        "kinds": list(spec.kinds),
        "repo": spec.repo,
        "dims": spec.dims,
        "matryoshka_dims": list(spec.matryoshka.dims),
        "max_seq_length": spec.max_seq_length,
        "prompts": dict(spec.prompts),
        "size_mb": spec.size_mb,
        "license": spec.license,
        "noncommercial": spec.noncommercial,
        "languages": list(spec.languages),
        "backend": spec.preferred_backend,
        "has_digests": None not in spec.files.values(),
        "description": spec.description,
    }


def _table(specs: Sequence[ModelSpec], kind: Kind, *, described: bool) -> Table:
    """One line for each model; where there is no room, the license and the description are cut first."""
    longest = max(len(spec.name) for spec in specs)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("name", no_wrap=True, min_width=longest, style="cyan")
    for heading in (SIZES[kind], "tokens", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("prompts", no_wrap=True)
    for heading in ("license", "", *(["description"] if described else [])):
        table.add_column(heading, no_wrap=heading == "")
    for spec in specs:
        tokens = spec.max_seq_length if spec.max_seq_length != NO_LIMIT else "any"
        numbers = (spec.dims, tokens, spec.size_mb if spec.size_mb is not None else "?")
        texts = (_prompts(spec), spec.license or "?", _marks(spec), *([spec.description] if described else []))
        cells = map(terminal.shown, (spec.name, *map(str, numbers), *texts))
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
    return table


def _marks(spec: ModelSpec) -> str:
    return "!" * spec.noncommercial + "*" * (None in spec.files.values())


def _prompts(spec: ModelSpec) -> str:
    roles = [role for role in ("query", "document") if spec.prompts.get(role)]
    return "both" if len(roles) == 2 else "".join(roles) or "none"
