"""Lists and removes indexes."""

import os

from rich.table import Table

from embedry import EmbedryError, LazyEmbedder
from embedry_cli import index_places, index_store, terminal
from embedry_cli.amounts import size
from embedry_cli.errors import InputError, OutputError
from embedry_cli.index_store import Index

_NUMBERS = ("files", "passages", "size")


def show_all() -> None:
    """Prints the indexes in the cache folder, latest first."""
    places = index_places.indexes()
    if not places:
        terminal.note("there is no index; make one: embedry index FOLDER")
        return
    table = Table(box=None, header_style="bold")
    for column in ("folder", "model", *_NUMBERS, "age"):
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for place in places:
        try:
            with Index(place) as index:
                files, passages = index.counts()
                amounts = (f"{files:,}", f"{passages:,}", size(place.stat().st_size))
                table.add_row(terminal.shown(index.facts.folder), index.facts.model, *amounts, index.facts.age)
        except EmbedryError as error:
            terminal.warn(str(error))
    terminal.console().print(table)


def remove(folder: str, embedder: LazyEmbedder | None) -> None:
    """Removes the indexes of a folder. The folder itself may no longer exist.

    Args:
        folder: the path as the user passed it.
        embedder: removes only the index of this embedder; None removes all.

    Raises:
        InputError: the folder has no such index.
        OutputError: another process is writing an index.
    """
    places = index_places.indexes(os.path.realpath(folder))
    found = [
        place for place in places if embedder is None or index_places.fingerprint_of(place) == embedder.fingerprint
    ]
    if not found:
        raise InputError(
            f"{folder} has no index{f' of {embedder.name!r}' if embedder else ''}; see embedry index --list"
        )
    for place in found:
        with index_store.writing(place) as is_free:
            if not is_free:
                raise OutputError(f"another process is indexing {folder}; wait until it ends")
            index_store.remove(place)
        terminal.note(f"removed {place}")
