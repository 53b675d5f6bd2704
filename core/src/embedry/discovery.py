"""Entry points: what installed packages offer, found without importing any of them."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@cache
def entry_points(group: str) -> "tuple[EntryPoint, ...]":
    """The installed entry points of a group, ordered by name and package; scanned once a process."""
    # Importing importlib.metadata costs more than the rest of `import embedry`, hence here.
    from importlib import metadata

    return tuple(sorted(metadata.entry_points(group=group), key=lambda point: (point.name, origin(point))))


def origin(point: "EntryPoint") -> str:
    """The package that an entry point comes from, with its version: "embedry-models 0.1.0"."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def nearest(name: str, known: "list[str]") -> str:
    """The known names that are close, as the end of a message: `; did you mean 'x' or 'y'?`, or nothing."""
    from difflib import get_close_matches

    by_lower = {candidate.lower(): candidate for candidate in known}
    close = [repr(by_lower[match]) for match in get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    return f"; did you mean {' or '.join(close)}?" if close else ""
