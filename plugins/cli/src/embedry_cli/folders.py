"""Describes the folders that embedry uses: their paths, permissions and sizes."""

import os
from pathlib import Path
from typing import Any

from embedry._files import artifacts, cache, digests, hub_cache, trust

_MB = 1_000_000


def describe(problems: list[str]) -> dict[str, dict[str, Any]]:
    """The path of each folder, whether it exists, is readable, writable and trusted, and the size of the cache.

    Args:
        problems: receives a message for each problem.
    """
    folder = cache.default_folder()
    return {
        "cache": _cache(folder, problems),
        "hub": _access(hub_cache.own_cache(folder), []),  # part of the cache, which was checked above
        "Hugging Face cache": _access(hub_cache.hugging_face_cache(), problems),
    }


def in_words(facts: dict[str, Any]) -> str:
    """Formats the facts about one folder as a line."""
    origin = f" ({facts['setting']})" if "setting" in facts else ""
    if not facts["exists"]:
        return f"{facts['path']}{origin}: does not exist"
    words = [word if facts[word] else f"not {word}" for word in ("readable", "writable", "trusted")]
    if "size_mb" in facts:
        words.append(f"{facts['size_mb']} MB")
    if facts.get("leftovers_mb"):
        words.append(f"{facts['leftovers_mb']} MB of it unfinished in {cache.STAGING}")
    return f"{facts['path']}{origin}: {', '.join(words)}"


def _cache(folder: Path, problems: list[str]) -> dict[str, Any]:
    setting = "EMBEDRY_CACHE" if os.environ.get("EMBEDRY_CACHE") else "the platform's default; EMBEDRY_CACHE changes it"
    writable = True
    try:
        with cache.staging(folder):  # also removes leftovers of killed processes
            pass
    except OSError as error:
        writable = False
        problems.append(f"the cache cannot be written: {error}; set EMBEDRY_CACHE to a folder that you can write")
    facts = _access(folder, problems) | {"setting": setting, "writable": writable}
    places = (folder, *(folder / name for name in (artifacts.FOLDER, digests.FOLDER, cache.STAGING)))
    faults = [fault for fault in map(_fault, places) if fault]
    problems += [f"what embedry keeps in the cache is not used: {fault}" for fault in faults]
    return facts | {
        "trusted": not faults,
        "size_mb": round(_size(folder, problems if facts["readable"] else []) / _MB),
        "leftovers_mb": round(_size(folder / cache.STAGING, []) / _MB),
    }


def _access(folder: Path, problems: list[str]) -> dict[str, Any]:
    try:
        exists = folder.exists()
    except PermissionError as error:
        problems.append(f"{error}; models in it are treated as absent")
        exists = False
    readable = exists and os.access(folder, os.R_OK | os.X_OK)
    if exists and not readable:
        problems.append(f"{folder} is not readable by this user; what is in it is treated as absent")
    return {
        "path": str(folder),
        "exists": exists,
        "readable": readable,
        "writable": exists and os.access(folder, os.W_OK | os.X_OK),
        "trusted": _fault(folder) is None,
    }


def _fault(folder: Path) -> str | None:
    try:
        return trust.fault(folder)
    except OSError:  # a missing folder is harmless; an unreadable one is reported separately
        return None


def _size(folder: Path, problems: list[str]) -> int:
    """The size in bytes of the readable contents of a folder. Symbolic links are not followed."""

    def report(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # another process may be removing it
            problems.append(f"{error.filename} is not readable by this user; what is in it is treated as absent")

    size = 0
    for path, _, files in os.walk(folder, onerror=report):
        for file in files:
            try:
                size += os.lstat(os.path.join(path, file)).st_size
            except OSError:
                continue
    return size
