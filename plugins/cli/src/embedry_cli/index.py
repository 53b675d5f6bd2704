"""Implements `embedry index`: stores the vectors of a folder's text files for fast searches."""

import os
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Unpack

import typer

from embedry import LazyEmbedder, Space
from embedry_cli import downloads, folder_encode, index_choice, index_list, index_places, index_update, terminal
from embedry_cli.errors import InputError, OutputError
from embedry_cli.folder_files import LARGEST_MB, reasons
from embedry_cli.index_options import IndexFile, IndexModel
from embedry_cli.index_store import Facts, Index, writing
from embedry_cli.index_update import Changes, Update
from embedry_cli.options import DEFAULT_MODEL, Engine, engine_options
from embedry_cli.passages import longest

_LONG = 10
"""Seconds after which the report names the slowest files."""

_MUCH = 0.05
"""The minimum share of the total time for a file to be named."""

_NAMED = 5
"""The maximum number of files to name."""


@engine_options
def index(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="FOLDER", help="Folders to index recursively.", show_default=False)
    ] = None,
    *,
    model: IndexModel = None,
    file: IndexFile = None,
    max_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MB",
            help=f"Skip files larger than this many MB; by default the index's limit, initially {LARGEST_MB}.",
        ),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the indexes in the cache folder.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the indexes of the folders.")] = False,
    **engine: Unpack[Engine],
) -> None:
    """Store the vectors of a folder's text files for fast searches.

    Later runs embed only new and changed files. You can interrupt a run at any time.
    Skips hidden files, binary files, large files and files that .gitignore excludes.

    Examples:
        embedry index docs/
        embedry search "When do I get my money back?" docs/
        embedry index --list
        embedry index docs/ --remove
    """
    if list_all:
        index_list.show_all()
        return
    if not folders:
        raise InputError("name a folder to index, or list the indexes: embedry index --list")
    if file is not None and (remove or len(folders) > 1):
        raise InputError("--index names the file of one folder's index; to remove it, remove the file")
    for folder in folders:
        if remove:
            index_list.remove(folder, None if model is None else index_choice.named(model, **engine))
        else:
            _index(folder, model, file, max_size, **engine)


def _index(folder: str, model: str | None, file: Path | None, max_size: int | None, **engine: Unpack[Engine]) -> None:
    if not Path(folder).is_dir():
        raise InputError(f"there is no folder {folder}")
    start = time.perf_counter()
    real = os.path.realpath(folder)
    embedder = _embedder(real, model, file, **engine)
    facts = Facts(
        folder=real,
        space=Space.of(embedder).as_dict(),
        role=folder_encode.ROLE,
        longest=longest(embedder.max_seq_length),
        largest_mb=LARGEST_MB,
    )
    place = file or index_places.place(facts)
    with writing(place) as is_free:
        if not is_free:
            raise OutputError(f"another process is indexing {folder}; wait until it ends, and search meanwhile")
        with Index.create(place, facts) as index:
            index_choice.check(index, embedder)
            if index.facts.folder != real:
                raise InputError(f"{place} is the index of {index.facts.folder}; name another file for {folder}")
            if max_size is not None:
                index.save(replace(index.facts, largest_mb=max_size))
            found = index_update.changes(index)
            if found.changed:
                downloads.load(embedder)
            update = Update(index, embedder, found)
            deque(folder_encode.shown(update.run(update.texts()), update.size(), lambda: update.bytes), 0)
            _report(folder, index, found, update, time.perf_counter() - start)


def _embedder(folder: str, model: str | None, file: Path | None, **engine: Unpack[Engine]) -> LazyEmbedder:
    """The embedder of `model`, or else of the index in `file` or the folder's latest one, or else the default one."""
    existing = index_places.indexes(folder) if file is None else [file] if file.exists() else []
    if model is not None or not existing:
        return index_choice.named(model or DEFAULT_MODEL, **engine)
    with Index(existing[0]) as latest:
        return index_choice.embedder_of(latest, **engine)


def _report(folder: str, index: Index, found: Changes, update: Update, seconds: float) -> None:
    files, passages = index.counts()
    terminal.show(
        f"{folder}: {terminal.counted(files, 'file')}, {terminal.counted(passages, 'passage')}, by {index.facts.model}"
    )
    terminal.show(
        f"embedded {terminal.counted(update.passages, 'passage')} of {terminal.counted(update.files, 'file')} "
        f"in {seconds:,.1f} s; {found.unchanged:,} unchanged, {len(found.gone):,} removed"
    )
    skipped = found.skipped + update.skipped
    if skipped:
        terminal.note(f"skipped: {reasons(skipped)}")
    longest_first = sorted(update.seconds.items(), key=lambda each: -each[1])
    slow = [each for each in longest_first[:_NAMED] if each[1] > _MUCH * seconds]
    if seconds >= _LONG and slow:
        terminal.note("most of the time took: " + ", ".join(f"{name} ({took:,.0f} s)" for name, took in slow))
