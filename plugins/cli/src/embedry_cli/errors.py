"""Errors of the command line, shown like all other errors of embedry."""

from embedry import EmbedryError


class InputError(EmbedryError, ValueError):
    """A file, a line in it, or an option is invalid."""


class OutputError(EmbedryError, OSError):
    """The result cannot be written to the requested path, or in the requested format."""


class MissingExtraError(EmbedryError, ImportError):
    """A file format needs a package that is not installed."""


class CommandError(EmbedryError, ImportError):
    """A command of a plugin cannot be imported, or several packages register its name."""
