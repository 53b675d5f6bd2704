"""Entry points of installed packages, found without importing the packages."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@cache
def entry_points(group: str) -> "tuple[EntryPoint, ...]":
    """The installed entry points of a group, ordered by name and package."""
    return tuple(sorted(_scanned().select(group=group), key=lambda point: (point.name, origin(point))))


@cache
def _scanned() -> Any:
    """The entry points of all groups. Finding them reads a file of every installed package, so it is done once per process."""
    # Importing importlib.metadata costs more than the rest of `import embedry`, hence here.
    from importlib import metadata

    return metadata.entry_points()  # of one class in Python 3.11 and of another from 3.12 on, both with select()


def origin(point: "EntryPoint") -> str:
    """The package that an entry point comes from, with its version: "embedry-models 0.1.0"."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def nearest(name: str, known: "list[str]") -> str:
    """The beginning of a sentence in a message: `did you mean 'x' or 'y'? `, or an empty string if no known name is similar."""
    from difflib import get_close_matches

    by_lower = {candidate.lower(): candidate for candidate in known}
    close = [repr(by_lower[match]) for match in get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    return f"did you mean {' or '.join(close)}? " if close else ""
