"""The root of the command line: its commands, its exit codes, and how errors and warnings are shown.

Exit codes: 0 success, 1 something failed, 2 wrong usage or input, 130 interrupted, 143 terminated.
"""

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, NoReturn, TextIO

import typer
from typer.core import TyperGroup
from typer.main import get_command

from embedry import (
    EmbedryError,
    EmbedryWarning,
    OptionError,
    TextError,
    UnknownBackendError,
    UnknownModelError,
    __version__,
)
from embedry_cli import commands, terminal
from embedry_cli.errors import InputError

_WRONG_USAGE = (InputError, OptionError, TextError, UnknownBackendError, UnknownModelError)

_STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a process to end: a service manager's, and that of a terminal that was closed."""

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
    assert isinstance(result, TyperGroup)  # noqa: S101  it has a callback, so Typer makes a group of it
    for command in commands.installed():
        result.add_command(command)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line, by default on the process's arguments, and ends with `SystemExit`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what a code page lacks
    with _stoppable(), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            try:
                group().main(arguments, prog_name="embedry")
            finally:
                sys.stdout.flush()  # here, where a closed pipe can still be dealt with
        except BrokenPipeError:  # the reader has seen enough: `embedry models | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)
        except (EmbedryError, OSError) as error:
            if os.environ.get("EMBEDRY_DEBUG"):
                raise
            terminal.note(f"error: {error}")
            sys.exit(2 if isinstance(error, _WRONG_USAGE) else 1)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Lets a signal that asks to end raise `SystemExit`, so that what is unfinished is removed as after any error."""

    def stop(number: int, _: object) -> NoReturn:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)  # a second one must not interrupt the removal
        sys.exit(128 + number)

    caught = [number for number in _STOPS if signal.getsignal(number) is signal.SIG_DFL]  # nohup ignores some
    for number in caught:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, EmbedryWarning):
        terminal.warn(str(message))
    else:
        terminal.note(warnings.formatwarning(message, category, filename, lineno, line).rstrip("\n"))
