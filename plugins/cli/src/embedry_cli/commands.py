"""The commands of embedry and of plugins, known by name and imported only when called.

A distribution adds a command through the entry-point group `embedry.commands`:

    [project.entry-points."embedry.commands"]
    bulk = "embedry_bulk.command:bulk"

The object is a function, which Typer turns into a command, or a `typer.Typer`, whose commands become subcommands.
The help lists it with the summary of its distribution. Docstrings and option help are plain text, so brackets are kept, as
in `pip install 'embedry[map]'`. The indented block under "Examples:" in a docstring is shown at the end of the help.
"""

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from embedry import discovery
from embedry_cli.errors import CommandError

GROUP = "embedry.commands"
"""The entry-point group of commands. The name of an entry point is the name of the command."""

_OWN = {
    "models": "List the registered models.",
    "info": "Show a model's entry, files, vector space and engine.",
    "pull": "Download a model's files ahead of time and verify them.",
    "pin": "Print the registry entry of any repository, with digests, to register it by name.",
    "lock": "Pin an application's models in a lock file, and check it for changes.",
    "embed": "Embed lines, JSONL, CSV or Parquet into .npy, .jsonl or .parquet.",
    "index": "Store the vectors of a folder's text files for fast searches.",
    "search": "Search the text files of a folder by meaning.",
    "rerank": "Rank the texts of files by how well they answer a question.",
    "compare": "Show how similar texts are, as a heat map.",
    "map": "Draw the texts of a file as a map, on one HTML page that works offline.",
    "check": "Run the conformance checks for a model on this machine.",
    "bench": "Measure how fast a model is on this machine, in half a minute.",
    "calibrate": "Calibrate a model for int8, and compare its vectors with fp32.",
    "cache": "List, measure and clear the cache folder.",
    "new": "Create a package of models or a backend in a new folder.",
    "doctor": "Check the installation: packages, plugins, backends, caches.",
}

_EXAMPLES = "\n\nExamples:\n"
"""The start of the examples in a docstring."""


class LazyCommand(TyperCommand):
    """A command that is imported when it is called. Until then, only its summary is known."""

    def __init__(self, name: str, points: Sequence[EntryPoint]) -> None:
        panel = None if name in _OWN else "Commands of plugins"
        super().__init__(name, help=_summary(name, points[0]), rich_help_panel=panel)
        self.called = name
        self.points = points

    def load(self) -> Any:
        """Imports the command.

        Raises:
            CommandError: several distributions register the name, or the only one cannot be imported.
        """
        if len(self.points) > 1:
            owners = " and ".join(origin(point) for point in self.points)
            raise CommandError(f"the command {self.called!r} is provided by {owners}; uninstall one of them")
        point = self.points[0]
        try:
            return _built(self.called, point.load())
        except Exception as error:  # a third party's import may raise anything; the message names its distribution
            raise CommandError(
                f"the command {self.called!r} of {origin(point)} cannot be used: {type(error).__name__}: {error}"
            ) from error

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parses the arguments with the loaded command, which Typer then invokes instead of this one."""
        return self.load().make_context(info_name, args, parent, **extra)


def installed() -> list[LazyCommand]:
    """Our commands in the order of `_OWN`, then those of plugins by name. Does not import any of them."""
    points = {name: [EntryPoint(name, f"embedry_cli.{name}:{name}", GROUP)] for name in _OWN}
    for point in discovery.entry_points(GROUP):
        points.setdefault(point.name, []).append(point)
    return [LazyCommand(name, registered) for name, registered in points.items()]


def origin(point: EntryPoint) -> str:
    """The distribution of a command. Our own commands have no entry points in metadata."""
    return discovery.origin(point) if point.dist else "embedry-cli"


def _summary(name: str, point: EntryPoint) -> str:
    if name in _OWN:
        return _OWN[name]
    summary = point.dist.metadata["Summary"] if point.dist else ""
    return escape(f"{summary} ({origin(point)})")


def _built(name: str, found: object) -> Any:
    parent = typer.Typer(add_completion=False)
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
    elif callable(found):
        parent.command(name)(found)
    else:
        raise TypeError(f"a command must be a function or a typer.Typer, got {found!r}")
    command = get_group(parent).commands[name]
    _finish(command)
    return command


def _finish(command: Any) -> None:
    """Escapes the help, which Typer would parse as markup, and moves the examples to the end."""
    text, heading, examples = (command.help or "").partition(_EXAMPLES)
    command.help = escape(text)
    if examples:
        # The empty line before the heading keeps the examples indented below it.
        command.epilog = escape(heading.removeprefix("\n") + examples.rstrip())
    for parameter in command.params:
        parameter.help = escape(parameter.help or "")
    if isinstance(command, TyperGroup):
        for subcommand in command.commands.values():
            _finish(subcommand)
