"""Finds the registry entry for a name on the command line, and adds the digest of every file."""

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
    """The entry of a model, or its locked entry if a lock file is in use. The backend need not be installed.

    Args:
        model: as on the command line.
        kinds: the accepted kinds; by default any.

    Raises:
        InputError: the model is of another kind; the message names the command for it.
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
    """Resolves a model for vectors of this kind; by default its first kind.

    Raises:
        As `entry` and `resolve`.
    """
    kinds = OF_TEXTS if kind is None else (kind,)
    spec = entry(model, *kinds)
    chosen = next(each for each in spec.kinds if each in kinds)
    return cast("LazyTextModel[Any]", resolve_kind(chosen, spec, **options))


def is_repository(model: str) -> bool:
    """Whether a name has the form of a repository id, "owner/name", and not of a folder."""
    return model.count("/") == 1 and all(model.split("/")) and not model.startswith((".", "~"))


def complete(spec: ModelSpec, folder: Path, on_hub: Mapping[str, "FileOnHub"] | None = None) -> lock.LockedModel:
    """The entry with the digest and size, in bytes, of every file.

    Missing values come from the hub, or else from the file itself.

    Args:
        spec: the entry.
        folder: contains the files whose digest or size neither the entry nor the hub states.
        on_hub: the hub's information about each file; None if the hub was not queried.
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
