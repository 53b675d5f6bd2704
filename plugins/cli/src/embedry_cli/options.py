"""Options shared by several commands, so that names and meanings are consistent."""

import inspect
import os
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_type_hints

import typer

from embedry_cli.errors import InputError

DEFAULT_MODEL = "all-MiniLM-L6-v2"
DEFAULT_RERANKER = "ms-marco-MiniLM-L6-v2"

_MODEL = "A name, an alias, a repository id, or a folder."

_Command = TypeVar("_Command", bound=Callable[..., None])


def model_names(incomplete: str) -> Iterator[tuple[str, str]]:
    """Shell completions for a model: matching names, or else aliases and repositories."""
    from embedry import list_models

    specs = list_models()
    names = [(spec.name, spec.description) for spec in specs]
    others = [(other, spec.name) for spec in specs for other in (*spec.aliases, spec.repo) if other]
    yield from [each for each in names if each[0].startswith(incomplete)] or others


def _backend_names(incomplete: str) -> list[str]:
    from embedry._backends import names

    return list(names())


ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL, autocompletion=model_names)]
Model = Annotated[str, typer.Option("--model", "-m", help=_MODEL, autocompletion=model_names)]
Role = Annotated[str, typer.Option(help="query, document, or a task that the model defines.")]
TextKind = Annotated[
    Literal["dense", "sparse", "multi_vector"] | None,
    typer.Option("--kind", help="Kind of vectors, for models with several kinds; by default the first."),
]
Column = Annotated[str, typer.Option(help="The column that contains the text.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]

_ENGINE = "Engine"
"""The title of the engine options in the help."""

Backend = Annotated[
    str | None,
    typer.Option(
        help="The backend; by default the one that the model prefers.",
        rich_help_panel=_ENGINE,
        autocompletion=_backend_names,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="The device: cpu, cuda, ...; by default the backend's choice.", rich_help_panel=_ENGINE),
]
Precision = Annotated[
    str | None,
    typer.Option(help="fp32, int8, bf16 or fp16; by default the backend's choice.", rich_help_panel=_ENGINE),
]
Threads = Annotated[
    int | None,
    typer.Option(help="Number of threads; by default all CPUs available to the process.", rich_help_panel=_ENGINE),
]


class Engine(TypedDict, total=False):
    """The engine options, with the parameter names of `resolve`."""

    backend: Backend
    device: Device
    precision: Precision
    threads: Threads


def engine_options(command: _Command) -> _Command:
    """Adds the options of `Engine` to a command that takes `**engine: Unpack[Engine]` and passes them to `resolve`.

    Each option defaults to None.
    """
    signature = inspect.signature(command)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        for name, hint in get_type_hints(Engine, include_extras=True).items()
    ]
    described: Any = command
    described.__signature__ = signature.replace(parameters=[*own, *options])  # Typer reads it
    return command


def in_utf8(value: Any) -> Any:
    """Callback for text arguments: decodes a text, or a list of texts, as UTF-8.

    With another locale, such as LC_ALL=C, Python decodes the command line in the encoding of that locale.

    Raises:
        InputError: a text is not UTF-8.
    """
    if isinstance(value, list):
        return [in_utf8(each) for each in value]
    if not isinstance(value, str) or value.isascii():
        return value
    try:
        return os.fsencode(value).decode()
    except UnicodeDecodeError:
        raise InputError(
            f"{value!a} is not UTF-8; set the encoding of the terminal to UTF-8, or pass the text in a file"
        ) from None


def output(what: str) -> Any:
    """The option for the output file of a command, for `Annotated`.

    Args:
        what: the help of the option.
    """
    return typer.Option("--to", "-o", help=what)
