"""Implements `embedry new`: creates a package of models or a backend in a new folder."""

from typing import Annotated

import typer

from embedry._backends import names
from embedry_cli import packages, terminal
from embedry_cli.errors import InputError

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the package and of the new folder.")]

new = typer.Typer(no_args_is_help=True, help="Create a package of models or a backend in a new folder.")


@new.command("pack")
def pack_command(name: Name) -> None:
    """Create a package that registers models by name.

    It contains an example model that works offline, and tests that run the conformance checks on every model.
    For a repository on the hub, use: embedry pin ORG/NAME --package NAME

    Examples:
        embedry new pack acme-models
    """
    packages.check(name)
    _write(name, packages.example("pack", name, f"{name}-example"))


@new.command("backend")
def backend_command(name: Name) -> None:
    """Create a package that adds a backend.

    It contains an example model that works offline, and tests that run the conformance checks.

    Examples:
        embedry new backend acme-engine
    """
    if name in names():
        raise InputError(f"a backend {name!r} is installed already; choose another name")
    packages.check(name)
    _write(name, packages.example("backend", name, f"{name}-example"))


def _write(name: str, files: packages.Files) -> None:
    packages.write(name, files)
    terminal.show_facts(packages.next_steps(name))
