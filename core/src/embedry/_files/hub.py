"""The Hugging Face hub and its cache, through the hub's own client, whose environment variables all hold."""

import os
from collections.abc import Iterable
from pathlib import Path

from embedry.errors import WeightsNotFoundError


def cached(repo: str, revision: str | None, files: Iterable[str]) -> Path | None:
    """The snapshot folder in the Hugging Face cache if it holds all these files; the network is not asked."""
    if not (_cache_root() / f"models--{repo.replace('/', '--')}").is_dir():
        return None  # and the client, a tenth of a second of imports, is not needed
    from huggingface_hub import try_to_load_from_cache

    folder = None
    for file in files:
        path = try_to_load_from_cache(repo, file, revision=revision)
        if not isinstance(path, str):
            return None
        folder = Path(path).parents[len(Path(file).parts) - 1]
    return folder


def download(repo: str, revision: str | None, files: Iterable[str], *, force: bool = False) -> Path:
    """Fetches these files at this revision into the Hugging Face cache and returns the snapshot folder.

    Raises:
        WeightsNotFoundError: the hub cannot be reached, `HF_HUB_OFFLINE` is set, or the repository lacks them.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(files), force_download=force))
    except Exception as error:  # the client lets through what its HTTP library raises, and that library has changed
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsNotFoundError(
            f"{repo} at {revision or 'main'} could not be fetched from the hub: {reason}"
        ) from error


def _cache_root() -> Path:
    # The client's own rule (huggingface_hub.constants), restated so that a look costs no import of it.
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    root = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(root)).expanduser()
