"""Implements `embedry pin`: prints the registry entry of a model, with a digest for every file, as Python source."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from embedry import EmbedryError, ModelSpec, _layouts
from embedry._files import cache, hub, sources
from embedry.registry import installed
from embedry.resolver import resolve_kind
from embedry_cli import downloads, packages, source, terminal
from embedry_cli.entries import complete, entry, is_repository
from embedry_cli.errors import InputError
from embedry_cli.options import ModelArgument


def pin(
    model: ModelArgument,
    revision: Annotated[
        str | None, typer.Option(help="A commit, branch or tag of the repository; by default main.")
    ] = None,
    package: Annotated[
        str | None, typer.Option(help="Write an installable package with this name and the entry into a new folder.")
    ] = None,
) -> None:
    """Print the registry entry of a model as Python source, to register it by name.

    Downloads the files, and compares them with the digests on the hub.

    Examples:
        embedry pin acme/support-v2 > support.py
        embedry pin acme/support-v2 --package acme-support
    """
    if package is not None:
        packages.check(package)
        registered = installed().find(model)
        if registered is not None:
            raise InputError(
                f"{model!r} is registered already, as {registered.name!r}: by a second package it would be ambiguous"
            )
    spec = _pinned(model, revision, cache.default_folder())
    if package is not None and spec.folder is not None:
        raise InputError(f"a package cannot contain {spec.folder}, which is a folder of this machine; pin a repository")
    for kind in spec.kinds:
        try:
            resolve_kind(kind, spec)
        except EmbedryError as error:  # the entry is still valid
            terminal.warn(str(error))
    if package is None:
        typer.echo(_printable(source.module(spec)), nl=False)
    else:
        packages.write(package, packages.pack_of(spec, package))
        terminal.show_facts([("model", spec.name), *packages.next_steps(package)])


def _pinned(model: str, revision: str | None, cache_dir: Path) -> ModelSpec:
    """The entry of a model with a digest for every file.

    Raises:
        InputError: the model has no revisions.
        Others: as `_layouts.from_hub` and `sources.pull`.
    """
    registered = installed().find(model)
    repo = registered.repo if registered is not None else model if is_repository(model) else None
    if revision is None and (registered is not None or repo is None):
        return _with_digests(entry(model), cache_dir)
    if repo is None:
        raise InputError(f"--revision is for a repository on the hub, and {model!r} names none")
    with terminal.waiting(f"reading {repo}"):
        described = _layouts.from_hub_at(repo, revision, cache_dir)
        card = hub.card(repo, str(described.revision))
    read = _with_digests(described, cache_dir)
    return replace(
        read,
        name=registered.name if registered is not None else _free_name(repo),
        license=card.license,
        languages=card.languages,
        description="",
    )


def _with_digests(spec: ModelSpec, cache_dir: Path) -> ModelSpec:
    """Adds missing digests to an entry, computed from the downloaded files or the files in its folder."""
    if None not in spec.files.values():
        return spec
    on_hub = spec.repo is not None and spec.folder is None
    found = downloads.pulled(spec, source="hub" if on_hub else None)
    lacking = {file for file, digest in spec.files.items() if digest is None}
    unknown = sorted(lacking - set(sources.stated(spec, found, cache_dir)))
    if on_hub and unknown:
        terminal.warn(f"the hub states no digest of {', '.join(unknown)}; the entry has those of what came")
    return complete(spec, found.folder).spec


def _free_name(repo: str) -> str:
    """The name of a repository without its owner, or with it if a model with the short name is registered."""
    name = repo.split("/")[1]
    return repo if installed().registrations(name) else name


def _printable(text: str) -> str:
    """Escapes characters that standard output cannot encode. They occur only in string literals."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
