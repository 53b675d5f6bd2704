"""Downloads and loads models. Shows a spinner, and a progress bar during downloads, on stderr if it is a terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column
from rich.text import Text

from embedry import EmbedryError, ModelSpec
from embedry._files import cache, hub_cache, sources
from embedry.lazy import LazyModel
from embedry_cli.terminal import shown

# Disables the progress bars of huggingface_hub, which would overwrite this one. It reads the variable on import, later.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

_EVERY = 0.2
"""Seconds between updates of the progress bar."""


def pulled(spec: ModelSpec, *, source: sources.Source | None = None, force: bool = False) -> sources.Location:
    """Downloads a model's files if necessary, and verifies them.

    Raises:
        As `sources.pull`.
    """
    size = f" ({spec.size_mb} MB)" if spec.size_mb else ""
    with _shown(spec, f"downloading {spec.name}{size}"):
        return sources.pull(spec, cache.default_folder(), source=source, force=force)


def load(model: LazyModel[Any, Any]) -> None:
    """Loads a model. Downloads its files if necessary.

    Raises:
        As `model.load`.
    """
    with _shown(model.spec, f"loading {model.name}"):
        model.load()


@contextmanager
def _shown(spec: ModelSpec, text: str) -> Iterator[None]:
    console = Console(stderr=True, markup=False)
    if not console.is_terminal:
        yield
        return
    ended = Event()
    watch = Thread(target=_watch, args=(spec, text, _bytes(spec), console, ended), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def _watch(spec: ModelSpec, text: str, before: int, console: Console, ended: Event) -> None:
    with console.status(Text(shown(text))):
        while not (arrived := _bytes(spec) - before):
            if ended.wait(_EVERY):
                return
    whole = Column(no_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(overflow="ellipsis")),
        BarColumn(table_column=Column(ratio=1), bar_width=None),
        DownloadColumn(table_column=whole),
        TransferSpeedColumn(table_column=whole),
        TimeRemainingColumn(table_column=whole),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        task = bar.add_task(shown(spec.name), total=_size(spec))
        while True:
            bar.update(task, completed=max(arrived, 0))  # negative while a file is removed to be downloaded again
            if ended.wait(_EVERY):
                return
            arrived = _bytes(spec) - before


def _bytes(spec: ModelSpec) -> int:
    """Bytes of a model's repository in embedry's cache, including partial downloads."""
    repo = hub_cache.own_cache(cache.default_folder()) / f"models--{(spec.repo or spec.name).replace('/', '--')}"
    with suppress(OSError):
        return sum(_file_bytes(path) for path in (repo / "blobs").iterdir())
    return 0


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # renamed meanwhile
        return 0


def _size(spec: ModelSpec) -> int | None:
    """The size of all files of a model in bytes; None if neither the entry nor the hub states it."""
    if spec.size_mb:
        return spec.size_mb * 1_000_000
    if spec.repo and spec.revision:
        from embedry._files import hub

        with suppress(EmbedryError):
            on_hub = hub.files(spec.repo, spec.revision)
            return sum(on_hub[file].size for file in spec.files if file in on_hub) or None
    return None
