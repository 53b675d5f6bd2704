"""Manages unfinished outputs. Their names identify the writing process, so that leftovers can be removed."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedry._files import makers

_ABANDONED_AFTER = 7 * 24 * 3600
"""Seconds without a change after which a part counts as abandoned if the state of its process is unknown, because it ran on
another machine or before a restart."""

_in_use: set[str] = set()
"""The parts of this process, to distinguish them from those of an earlier process with the same ID."""


@contextmanager
def part_of(final: Path) -> Iterator[Path]:
    """Yields a temporary path next to `final` to write to and rename. Deletes the file if the block fails.

    First removes the parts of `final` that killed processes left.
    """
    _sweep(final)
    # In the same folder, so that renaming is atomic; not from tempfile, so that it has the usual permissions.
    part = final.with_name(f"{_prefix(final)}{makers.mark()}.part")
    _in_use.add(part.name)
    try:
        yield part
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        _in_use.discard(part.name)


def _sweep(final: Path) -> None:
    """Removes abandoned parts. Matches only our own names, and does not follow symbolic links."""
    pattern = re.compile(re.escape(_prefix(final)) + makers.PATTERN + r"\.part")
    with suppress(OSError), os.scandir(final.parent) as entries:
        for entry in entries:
            name = pattern.fullmatch(entry.name)
            with suppress(OSError):  # another process may have removed it
                if name and entry.is_file(follow_symlinks=False) and _is_abandoned(entry, name[1], int(name[2])):
                    Path(entry.path).unlink()


def _is_abandoned(entry: os.DirEntry[str], place: str, process: int) -> bool:
    if place == makers.place() and process == os.getpid():
        return entry.name not in _in_use
    dead = makers.is_dead(place, process)
    if dead is None:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_AFTER
    return dead


def _prefix(final: Path) -> str:
    """The start of a part's name. Shortened, because the full name may be as long as the file system allows."""
    return f".{final.name[:50]}."
