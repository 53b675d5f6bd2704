"""Other users of the machine, for tests of folders that several share. Only root can act for them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

only_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give files away and act for another user"
)

DAEMON = 1
"""A user whom every system has, with a group of the same name and id."""

STRANGER = 65534
"""A user of whom nothing else is known."""

_CODE = """
import json, os, sys, warnings
from pathlib import Path
from embedry import resolve
from embedry_graphs.graph import Graph

model, warm, cache, user, umask = sys.argv[1:]
texts = ["a text", "another text of a few more words", ""]
right = resolve(model, cache_dir=warm, threads=1).encode_query(texts)  # imports all that the other user may not read

compiled, real = [], Graph.__init__
def counting(graph, *arguments, **options):
    compiled.append(graph)
    real(graph, *arguments, **options)
Graph.__init__ = counting

os.umask(int(umask))
os.setgroups([])
os.setgid(int(user))
os.setuid(int(user))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    vectors = resolve(model, cache_dir=cache, threads=1).encode_query(texts)
print(json.dumps({
    "right": bool((vectors == right).all()),
    "compiled": len(compiled),
    "warnings": [f"{type(each.message).__name__}: {each.message}" for each in caught],
}))
"""


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder that every user may look into, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="embedry-shared-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def encode_as(user: int, model: Path, cache_dir: Path, umask: int = 0o022) -> dict[str, Any]:
    """What happens when another user, a member of no group but the one with the same id, encodes with this cache.

    Args:
        user: the user's id.
        model: a folder that this user can read.
        cache_dir: the cache folder.
        umask: the umask to work with.

    Returns:
        Whether the vectors are "right", the number of graphs that were "compiled", and the "warnings".
    """
    with tempfile.TemporaryDirectory() as warm:
        command = [sys.executable, "-c", _CODE, str(model), warm, str(cache_dir), str(user), str(umask)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    """Lets this process be another user while the context lasts."""
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


def give(path: Path, user: int) -> None:
    """Makes another user the owner of a file, or of a folder and all that is in it."""
    for each in (path, *path.rglob("*")):
        shutil.chown(each, user, user)
