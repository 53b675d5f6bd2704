"""Implements `embedry models`: lists the registered models, as tables or as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from embedry import NO_LIMIT, ModelSpec, WeightsNotFoundError, list_models
from embedry._files import cache, sources
from embedry.chains import KINDS, Kind
from embedry.registry import installed
from embedry_cli import terminal
from embedry_cli.kinds import SIZES
from embedry_cli.options import AsJson

_WIDE = 110
"""Minimum width of a terminal for the column of descriptions."""

_MARKS = {
    "+": "downloaded: its files are on this machine",
    "!": "its license forbids commercial use",
    "*": "not every file has a sha256 in its entry; the revision alone pins the others",
}
"""The marks after a license, and their meanings."""

_OPTIONAL = ("description", "license", "prompts")
"""Columns to omit in a narrow terminal, in this order."""

_TITLES: dict[Kind, str] = {
    "dense": "dense: a vector for a text",
    "reranker": "reranker: a score for a question and a text",
    "sparse": "sparse: weights of the terms of a vocabulary for a text",
    "multi_vector": "multi_vector: a vector for each token of a text",
}


def models(
    kind: Annotated[Kind | None, typer.Option(help="Only models of this kind.")] = None, as_json: AsJson = False
) -> None:
    """List the registered models by kind.

    A model of several kinds is listed under each of them.
    Does not load or download models. Plugins add models: `embedry doctor` shows which.

    Examples:
        embedry models
        embedry models --kind reranker
        embedry models --json
    """
    specs = [spec for spec in list_models() if kind is None or kind in spec.kinds]
    for name, owners in installed().conflicts().items():
        if any(each.spec.name.lower() == name for each in owners):  # otherwise only an alias is affected
            packages = " and ".join(each.plugin for each in owners)
            terminal.warn(f"the name {name!r} is registered by {packages}, so it cannot be used; see embedry doctor")
    downloaded = {spec.name for spec in specs if _is_here(spec)}
    if as_json:
        terminal.show_json([_facts(spec) | {"downloaded": spec.name in downloaded} for spec in specs])
        return
    if not specs:
        terminal.note(
            f"no {f'{kind} ' if kind else ''}model is registered; packages with models add some, such as embedry-models"
        )
        return
    console = terminal.console()
    marks = {spec.name: _marks(spec, here=spec.name in downloaded) for spec in specs}
    _show(console, {each: list(_rows(specs, each, marks)) for each in KINDS if kind in (None, each)})
    for mark in _MARKS:
        if mark in "".join(marks.values()):
            console.print(f"{mark} {_MARKS[mark]}")
    if console.width < _WIDE:
        console.print(f"More of a model: embedry info MODEL. All columns: in {_WIDE} columns, or --json")


def _is_here(spec: ModelSpec) -> bool:
    try:
        return sources.find_local(spec, cache.default_folder()) is not None
    except WeightsNotFoundError:  # the entry names a folder with a missing file
        return False


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


class _Row(NamedTuple):
    """The cells of a model."""

    name: str
    size: str
    """`dims` of the model; `SIZES` has the unit for each kind."""
    tokens: str
    megabytes: str
    prompts: str
    license: str
    marks: str
    description: str


def _rows(specs: Sequence[ModelSpec], kind: Kind, marks: Mapping[str, str]) -> Iterator[_Row]:
    for spec in (each.for_kind(kind) for each in specs if kind in each.kinds):
        row = _Row(
            name=spec.name,
            size=str(spec.dims),
            tokens=str(spec.max_seq_length) if spec.max_seq_length != NO_LIMIT else "any",
            megabytes=str(spec.size_mb) if spec.size_mb is not None else "?",
            prompts=_prompts(spec),
            license=spec.license or "?",
            marks=marks[spec.name],
            description=spec.description,
        )
        yield _Row(*map(terminal.shown, row))


def _show(console: Console, listed: Mapping[Kind, Sequence[_Row]]) -> None:
    """Prints a table for each kind, or two lines for each model if the terminal is too narrow."""
    shown = {kind: rows for kind, rows in listed.items() if rows}
    for place, (kind, rows) in enumerate(shown.items()):
        console.print(Text(("\n" if place else "") + _TITLES[kind], style="bold cyan"))
        table = _fitting(console, rows, kind)
        if table is not None:
            console.print(table)
            continue
        for row in rows:
            # The name is never truncated, because users pass it to other commands.
            console.print(Text.assemble((row.name, "cyan"), " ", row.marks), soft_wrap=True)
            console.print(Text(f"  {row.size} {SIZES[kind]}, {row.tokens} tokens, {row.megabytes} MB"), soft_wrap=True)


def _fitting(console: Console, rows: Sequence[_Row], kind: Kind) -> Table | None:
    """The table with as many columns as fit; None if even the required ones do not fit."""
    if console.width >= _WIDE:
        return _table(rows, kind, ())  # long descriptions are truncated
    unlimited = console.options.update(max_width=terminal.UNLIMITED)
    for end in range(1, len(_OPTIONAL) + 1):
        table = _table(rows, kind, _OPTIONAL[:end])
        if console.measure(table, options=unlimited).maximum <= console.width:
            return table
    return None


def _table(rows: Sequence[_Row], kind: Kind, left_out: Sequence[str]) -> Table:
    """A table with one line for each model, without the columns in `left_out`."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    columns = [name for name in _Row._fields if name not in left_out]
    headings = {"size": SIZES[kind], "megabytes": "MB", "marks": ""}
    for name in columns:
        table.add_column(
            headings.get(name, name),
            justify="right" if name in ("size", "tokens", "megabytes") else "left",
            style="cyan" if name == "name" else "",
            no_wrap=name != "description",  # the table shrinks this column
        )
    for row in rows:
        table.add_row(*(Text(getattr(row, name), no_wrap=True, overflow="ellipsis") for name in columns))
    return table


def _marks(spec: ModelSpec, *, here: bool) -> str:
    return "+" * here + "!" * spec.noncommercial + "*" * (None in spec.files.values())


def _prompts(spec: ModelSpec) -> str:
    roles = [role for role in ("query", "document") if spec.prompts.get(role)]
    return "both" if len(roles) == 2 else "".join(roles) or "none"
