"""The root command, with all installed commands. Imports Typer, which takes as long as loading a model."""

from typing import Annotated

import typer
from typer.core import TyperGroup
from typer.main import get_command

from embedry import __version__
from embedry_cli import commands

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"embedry {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Text embeddings: the right model, ready and shared, the same vectors from every engine."""


def group() -> TyperGroup:
    """The root command with all installed commands."""
    result = get_command(app)
    assert isinstance(result, TyperGroup)  # noqa: S101  Typer builds a group because there is a callback
    for command in commands.installed():
        result.add_command(command)
    return result
