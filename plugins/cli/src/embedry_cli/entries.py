"""From the name on the command line to the registry entry, and to one with the digest of every file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from embedry import ModelSpec, Options, lock
from embedry._files import cache, digests
from embedry.chains import NAMES, OF_TEXTS, Kind
from embedry.resolver import find, resolve_kind
from embedry_cli.errors import InputError
from embedry_cli.kinds import COMMANDS

if TYPE_CHECKING:
    from embedry._files.hub import FileOnHub
    from embedry.views import LazyTextModel


def entry(model: str, *kinds: Kind) -> ModelSpec:
    """The entry of a model, even one whose backend is not installed here; the locked one where a lock file is in use.

    Args:
        model: as on the command line.
        kinds: of which the model must be one; none for any.

    Raises:
        InputError: the model is of another kind; names the command for it.
        UnknownModelError, AmbiguousModelError: no model has the name, or two plugins register it.
        LockError: a lock file is in use, and the model is not in it.
    """
    spec = find(model, cache.default_folder())
    if kinds and not set(kinds) & set(spec.kinds):
        raise InputError(
            f"{spec.name!r} is {NAMES[spec.kind]}, and this takes {' or '.join(NAMES[kind] for kind in kinds)}; "
            f"use: {COMMANDS[spec.kind].format(model)}"
        )
    return spec


def text_model(model: str, kind: Kind | None = None, **options: Unpack[Options]) -> "LazyTextModel[Any]":
    """The model that gives vectors of this kind for texts; by default of the first that it has.

    Raises:
        As `entry` and `resolve`.
    """
    kinds = OF_TEXTS if kind is None else (kind,)
    spec = entry(model, *kinds)
    chosen = next(each for each in spec.kinds if each in kinds)
    return cast("LazyTextModel[Any]", resolve_kind(chosen, spec, **options))


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
