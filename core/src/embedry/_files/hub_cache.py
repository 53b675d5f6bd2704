"""Reads the hub client's cache without the client, which takes a tenth of a second to import.

Downloads go to `hub` in embedry's cache folder, in the format of the Hugging Face cache, so that one folder can be copied
to another machine. Files in the Hugging Face cache are used from there.
"""

import os
from collections.abc import Collection
from pathlib import Path

from embedry._files import presence


def cached(repo: str, revision: str | None, files: Collection[str], cache_dir: Path) -> Path | None:
    """The snapshot folder that holds all these files, in embedry's cache or else in the Hugging Face cache.

    The network is not asked, and the hub's client is not imported.

    Args:
        repo: the repository.
        revision: a commit, branch or tag; None for main.
        files: paths below the snapshot folder.
        cache_dir: embedry's cache folder.
    """
    for root in (own_cache(cache_dir), hugging_face_cache()):
        home = root / f"models--{repo.replace('/', '--')}"
        folder = home / "snapshots" / _commit(home, revision or "main")
        if presence.has(folder, files):
            return folder
    return None


def own_cache(cache_dir: Path) -> Path:
    """Where downloads go, in the format of the Hugging Face cache."""
    return cache_dir / "hub"


def hugging_face_cache() -> Path:
    """The cache that other programs on this machine share."""
    # The client's own rule (huggingface_hub.constants), restated so that a look costs no import of it.
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    root = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(root)).expanduser()


def _commit(home: Path, revision: str) -> str:
    """The commit that a revision stood for when it was last downloaded; the revision itself if it is a commit."""
    try:
        return (home / "refs" / revision).read_text(encoding="utf-8").strip()
    except PermissionError as error:
        presence.warn(error)
    except OSError:  # no such branch or tag is known here
        pass
    return revision
