"""What only the command line can get wrong; shown like every other error of embedry."""

from embedry import EmbedryError


class InputError(EmbedryError, ValueError):
    """A file, a line of it, or an option is not what the command can work with."""


class OutputError(EmbedryError, OSError):
    """The result cannot be written where it was asked for."""


class MissingExtraError(EmbedryError, ImportError):
    """A file format needs a package that is not installed."""


class CommandError(EmbedryError, ImportError):
    """A command of a plugin cannot be imported, or several packages claim its name."""
