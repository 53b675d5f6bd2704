"""From the name on the command line to the registry entry, and to one with the digest of every file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedry import ModelSpec, lock, resolve
from embedry._files import cache, digests
from embedry.registry import installed

if TYPE_CHECKING:
    from embedry._files.hub import FileOnHub


def entry(model: str) -> ModelSpec:
    """The entry of a model, even one whose backend is not installed here; the locked one where a lock file is in use.

    Raises:
        UnknownModelError, AmbiguousModelError: no model has the name, or two plugins register it.
        LockError: a lock file is in use, and the model is not in it.
    """
    if lock.in_use() is not None:
        return resolve(model).spec
    return installed().find(model) or resolve(model).spec


def is_repository(model: str) -> bool:
    """Whether a name has the form of a repository's, "owner/name", and not of a folder's."""
    return model.count("/") == 1 and all(model.split("/")) and not model.startswith((".", "~"))


def complete(spec: ModelSpec, folder: Path, on_hub: Mapping[str, "FileOnHub"] | None = None) -> lock.LockedModel:
    """The entry with the digest of every file, and the size of each, in bytes.

    What the entry does not state is what the hub states of a file, or else what the file itself is.

    Args:
        spec: the entry.
        folder: has the files of which the entry and the hub do not state both.
        on_hub: what the hub states of each file; None where it was not asked.
    """

    def of_file(file: str) -> tuple[str, int]:
        stated = on_hub[file] if on_hub is not None else None
        digest = spec.files[file] or (stated and stated.sha256)
        return (
            digest or digests.remembered_sha256(folder / file, cache.default_folder()),
            (stated and stated.size) or (folder / file).stat().st_size,
        )

    found = {file: of_file(file) for file in spec.files}
    sizes = {file: size for file, (_, size) in found.items()}
    size_mb = spec.size_mb or round(sum(sizes.values()) / 1e6) or None
    return lock.LockedModel(
        replace(spec, files={file: digest for file, (digest, _) in found.items()}, size_mb=size_mb), sizes
    )
