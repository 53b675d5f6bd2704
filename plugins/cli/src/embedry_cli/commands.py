"""The commands: ours and those that other distributions add, known by name and imported only when called.

A distribution adds a command through the entry-point group `embedry.commands`:

    [project.entry-points."embedry.commands"]
    bulk = "embedry_bulk.command:bulk"

The object is a function, which Typer turns into a command, or a `typer.Typer`, whose commands become subcommands.
The help lists it with the summary of its distribution. Docstrings and the help of options are plain text: brackets stay, as in
`pip install 'embedry[map]'`. What a docstring has under "Examples:", indented, is shown at the end of the command's help.
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
"""The entry-point group of commands; an entry point's name is the command's name."""

_OWN = {
    "models": "List the models that are registered.",
    "info": "Show a model's entry, files, vector space and engine.",
    "pull": "Fetch a model's files ahead of time and verify them.",
    "pin": "Print the registry entry of any repository, with digests, to register it by name.",
    "lock": "Pin the models of an application in a lock file, and compare it with today.",
    "embed": "Embed lines, JSONL, CSV or Parquet into .npy, .jsonl or .parquet.",
    "index": "Keep the vectors of a folder's text files, so that a search of it answers at once.",
    "search": "Search the text files of a folder by meaning.",
    "rerank": "Rank the texts of files by how well they answer a question.",
    "compare": "Show how similar texts are, as a heat map.",
    "map": "Draw the texts of a file as a map, in one HTML page that works offline.",
    "check": "Run the conformance checks for a model on this machine.",
    "bench": "Measure how fast a model is on this machine, in half a minute.",
    "calibrate": "Measure what int8 needs to know of a model, and how near it comes to fp32.",
    "cache": "List, measure and clear the cache folder.",
    "new": "Start a package of models, or a backend, in a new folder.",
    "doctor": "Check the installation: packages, plugins, backends, caches.",
}

_EXAMPLES = "\n\nExamples:\n"
"""Where the examples begin in a docstring."""


class LazyCommand(TyperCommand):
    """A command of which only the summary is known until it is called; then it is imported and takes over."""

    def __init__(self, name: str, points: Sequence[EntryPoint]) -> None:
        panel = None if name in _OWN else "Commands of plugins"
        super().__init__(name, help=_summary(name, points[0]), rich_help_panel=panel)
        self.called = name
        self.points = points

    def load(self) -> Any:
        """The command itself.

        Raises:
            CommandError: several distributions register the name, or the only one cannot be imported.
        """
        if len(self.points) > 1:
            owners = " and ".join(origin(point) for point in self.points)
            raise CommandError(f"the command {self.called!r} is provided by {owners}; uninstall one of them")
        point = self.points[0]
        try:
            return _built(self.called, point.load())
        except Exception as error:  # whatever a third party's import raises, the message names its distribution
            raise CommandError(
                f"the command {self.called!r} of {origin(point)} cannot be used: {type(error).__name__}: {error}"
            ) from error

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parses the arguments, by the command itself; Typer then invokes the context's command, no longer this one."""
        return self.load().make_context(info_name, args, parent, **extra)


def installed() -> list[LazyCommand]:
    """Our commands in the order of their table, then those of plugins by name. Nothing is imported."""
    points = {name: [EntryPoint(name, f"embedry_cli.{name}:{name}", GROUP)] for name in _OWN}
    for point in discovery.entry_points(GROUP):
        points.setdefault(point.name, []).append(point)
    return [LazyCommand(name, registered) for name, registered in points.items()]


def origin(point: EntryPoint) -> str:
    """The distribution of a command; ours has no entry point of its own."""
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
    """Makes plain text of the help, which Typer would parse as markup, and moves the examples to its end."""
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
