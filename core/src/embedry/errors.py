"""Every error that embedry raises, in one place.

Each derives from `EmbedryError` and from the built-in that fits, so callers can catch either. A message says what was
wrong, with the value, and what to do next.
"""

from collections.abc import Sequence


class EmbedryError(Exception):
    """The base of all errors raised by embedry and its backends."""


class SpecError(EmbedryError, ValueError):
    """A registry entry contradicts itself; raised where the entry is written."""


class SpaceError(EmbedryError, ValueError):
    """Vectors of two different spaces were about to be mixed."""


class UnknownModelError(EmbedryError, LookupError):
    """No registry entry, folder or repository answers to a model's name."""


class AmbiguousModelError(EmbedryError, LookupError):
    """Two plugins claim the same model name; raised when that name is asked for."""


class UnknownBackendError(EmbedryError, LookupError):
    """No installed package provides the backend that was asked for."""


class BackendImportError(EmbedryError, ImportError):
    """A backend is installed but cannot be imported, or is not a backend."""


class UnsupportedModelError(EmbedryError, ValueError):
    """The backend cannot reproduce this model exactly, and so refuses it."""


class OptionError(EmbedryError, ValueError):
    """An option of `resolve` has a value that the model or the backend cannot honour."""


class UnknownOptionError(EmbedryError, TypeError):
    """`resolve` was called with an option that does not exist."""


class TextTypeError(EmbedryError, TypeError):
    """Something other than a `str` stands where a text should be."""


class TextError(EmbedryError, ValueError):
    """A text cannot be embedded; `positions` are its places in the call's texts, from 0."""

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message, tuple(positions))
        self.positions = tuple(positions)

    def __str__(self) -> str:
        return str(self.args[0])


class TextTooLongError(TextError):
    """A text is longer than the model reads, under `on_overflow="error"`."""


class WeightsNotFoundError(EmbedryError, FileNotFoundError):
    """A model's files are in none of the places where they are looked for."""


class IntegrityError(EmbedryError, ValueError):
    """A file is not the one that the registry entry promises, or is damaged."""


class CacheError(EmbedryError, OSError):
    """The cache folder cannot hold what has to be written."""


class BackendError(EmbedryError, RuntimeError):
    """A backend broke its contract: wrong shape, wrong dtype, or values that are not finite."""


class EmbedryWarning(UserWarning):
    """The base of all warnings issued by embedry."""


class PluginWarning(EmbedryWarning):
    """A plugin could not be loaded; its models are missing."""


class CacheWarning(EmbedryWarning):
    """The cache folder cannot be written, so work is repeated at each start."""


class TruncationWarning(EmbedryWarning):
    """Texts were cut to the model's length under `on_overflow="warn"`; `positions` says which."""

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message, tuple(positions))
        self.positions = tuple(positions)

    def __str__(self) -> str:
        return str(self.args[0])
