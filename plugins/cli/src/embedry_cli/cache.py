"""Implements `embedry cache`: lists, measures and clears the cache folder."""

from collections.abc import Iterable
from typing import Annotated, get_args

import typer
from rich.table import Table

from embedry import CachedItem, clear_cache, list_cached
from embedry.cached import CachedKind
from embedry_cli import amounts, terminal
from embedry_cli.errors import InputError
from embedry_cli.options import AsJson

cache = typer.Typer(
    no_args_is_help=True,
    help="List, measure and clear the cache folder.\n\nExamples:\n    embedry cache list\n    embedry cache clear --kind graph",
)

OfKind = Annotated[CachedKind | None, typer.Option("--kind", help="Only items of this kind.")]


@cache.command("list")
def list_items(kind: OfKind = None, as_json: AsJson = False) -> None:
    """List the contents of the cache folder.

    Shows models, the graphs that engines built from them, vectors and indexes.

    Examples:
        embedry cache list
        embedry cache list --kind model --json
    """
    items = _items(kind)
    if as_json:
        terminal.show_json([item._asdict() | {"path": str(item.path)} for item in items])
        return
    table = Table.grid(padding=(0, 2))
    for item in items:
        table.add_row(item.kind, amounts.size(item.size), terminal.shown(item.name))
    if items:
        terminal.console().print(table)
    terminal.note(f"{terminal.counted(len(items), 'item')}, {amounts.size(_total(items))}")


@cache.command("size")
def size(as_json: AsJson = False) -> None:
    """Show the size of the cache by kind of item.

    Examples:
        embedry cache size
    """
    items = list_cached()
    sizes = {kind: _total(item for item in items if item.kind == kind) for kind in get_args(CachedKind)}
    if as_json:
        terminal.show_json(sizes | {"total": _total(items)})
        return
    terminal.show_facts(
        [*((kind, amounts.size(size)) for kind, size in sizes.items()), ("total", amounts.size(_total(items)))]
    )


@cache.command("clear")
def clear(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only items with these names; by default all.")
    ] = None,
    kind: OfKind = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove items from the cache folder, after confirmation.

    Models are downloaded again and graphs are rebuilt when needed.

    Examples:
        embedry cache clear --kind vectors
        embedry cache clear all-MiniLM-L6-v2 --yes
    """
    items = _items(kind)
    unknown = [name for name in names or () if not any(_has_name(item, name) for item in items)]
    if unknown:
        raise InputError(f"nothing in the cache is named {unknown[0]!r}; list it: embedry cache list")
    chosen = [item for item in items if not names or any(_has_name(item, name) for name in names)]
    if not chosen:
        terminal.note("nothing to remove")
        return
    what = f"{terminal.counted(len(chosen), 'item')}, {amounts.size(_total(chosen))}"
    if not yes and not typer.confirm(f"Remove {what}?", err=True):
        return
    clear_cache(chosen if names or kind else None)
    terminal.note(f"removed {what}")


def _items(kind: CachedKind | None) -> list[CachedItem]:
    return [item for item in list_cached() if kind in (None, item.kind)]


def _has_name(item: CachedItem, name: str) -> bool:
    """Whether the item has this name or was made from the model with this name."""
    return item.name == name or repr(name) in item.name


def _total(items: Iterable[CachedItem]) -> int:
    return sum(item.size for item in items)
