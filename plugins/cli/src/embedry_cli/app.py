"""The entry point of the command line: runs commands, sets exit codes, and shows errors and warnings.

Exit codes: 0 success, 1 something failed, 2 wrong usage or input, 130 interrupted, 143 terminated.
"""

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TextIO

from embedry import (
    EmbedryError,
    EmbedryWarning,
    OptionError,
    TextError,
    UnknownBackendError,
    UnknownModelError,
)
from embedry_cli import folder_quick, terminal
from embedry_cli.errors import InputError

if TYPE_CHECKING:
    from typer.core import TyperGroup

_WRONG_USAGE = (InputError, OptionError, TextError, UnknownBackendError, UnknownModelError)

_STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that stop a process: sent by service managers, and when a terminal is closed."""


def group() -> "TyperGroup":
    """The root command with all installed commands."""
    from embedry_cli import root

    return root.group()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line, by default with the process's arguments. Always raises `SystemExit`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for characters that a code page lacks
    with _stoppable(), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            try:
                if not folder_quick.answered(sys.argv[1:] if arguments is None else arguments):
                    group().main(arguments, prog_name="embedry")
            finally:
                sys.stdout.flush()  # here, where a closed pipe can still be handled
        except BrokenPipeError:  # the reader closed the pipe: `embedry models | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)
        except (EmbedryError, OSError) as error:
            if os.environ.get("EMBEDRY_DEBUG"):
                raise
            terminal.note(f"error: {error}")
            sys.exit(2 if isinstance(error, _WRONG_USAGE) else 1)
        sys.exit()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Makes stop signals raise `SystemExit`, so that unfinished files are removed as after any error."""

    def stop(number: int, _: object) -> NoReturn:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)  # a second signal must not interrupt the cleanup
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
