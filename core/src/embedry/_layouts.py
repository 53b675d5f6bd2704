"""The installed layouts, which read unregistered models from the files of a folder or repository.

Each is an entry point in `embedry.layouts`: a module or an object with the functions of `Layout`. They are tried in the order of
their names, and the first one that recognizes the files is used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from embedry import discovery
from embedry.errors import UnknownModelError, WeightsNotFoundError
from embedry.spec import ModelSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "embedry.layouts"


class Layout(Protocol):
    """What an entry point has. Each function gives None for files of another layout, for the next one to read."""

    def from_folder(self, folder: Path) -> ModelSpec | None:
        """The entry that the files of a folder describe."""

    def from_hub(self, repo: str, cache_dir: Path) -> ModelSpec | None:
        """The entry that a repository's files describe, pinned to the commit they were read at: the cached one, else main's."""

    def from_hub_at(self, repo: str, revision: str | None, cache_dir: Path) -> ModelSpec | None:
        """The entry that they describe at a commit, branch or tag, None for main. The hub is always asked."""


def from_folder(folder: Path) -> ModelSpec:
    """See `Layout`. Raises UnknownModelError if no layout is installed, and WeightsNotFoundError if none knows the files."""
    return _first(str(folder), lambda layout: layout.from_folder(folder))


def from_hub(repo: str, cache_dir: Path) -> ModelSpec:
    """See `Layout`. Raises as `from_folder`."""
    return _first(repo, lambda layout: layout.from_hub(repo, cache_dir))


def from_hub_at(repo: str, revision: str | None, cache_dir: Path) -> ModelSpec:
    """See `Layout`. Raises as `from_folder`."""
    return _first(repo, lambda layout: layout.from_hub_at(repo, revision, cache_dir))


def _first(model: str, read: Callable[[Layout], ModelSpec | None]) -> ModelSpec:
    points = discovery.entry_points(GROUP)
    if not points:
        raise UnknownModelError(
            f"no entry describes {model!r}, and nothing that reads models from their own files is installed; "
            "try: pip install embedry-layouts"
        )
    for point in points:
        found = read(_loaded(point))
        if found is not None:
            return found
    raise WeightsNotFoundError(
        f"the files of {model!r} follow no layout that is installed ({', '.join(point.name for point in points)}); write a "
        "ModelSpec for it and pass that to resolve"
    )


def _loaded(point: "EntryPoint") -> Layout:
    try:
        layout: Layout = point.load()
    except Exception as error:  # whatever a third party's import does, the user is told whose it was
        raise UnknownModelError(
            f"the layout {point.name!r} of {discovery.origin(point)} cannot be imported: {type(error).__name__}: {error}; "
            f"try: pip install --force-reinstall {point.dist.name if point.dist else point.name}"
        ) from error
    return layout
