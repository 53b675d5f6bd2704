"""Every error and warning that embedry raises, in one place.

    EmbedryError
    ├── OptionError            an option has a value that cannot be honoured
    │   └── UnknownOptionError
    ├── TextError              a text cannot be embedded
    │   ├── TextTypeError
    │   └── TextTooLongError
    ├── ModelError             a model is not known, or not usable as it is described
    │   ├── UnknownModelError
    │   ├── AmbiguousModelError
    │   ├── UnsupportedModelError
    │   └── SpecError
    ├── BackendError           an engine failed
    │   ├── UnknownBackendError
    │   ├── BackendImportError
    │   └── BackendContractError
    ├── FilesError             a model's files are missing, wrong, or cannot be fetched or kept
    │   ├── WeightsNotFoundError
    │   ├── IntegrityError
    │   ├── DownloadError
    │   ├── CacheError
    │   └── LockError
    ├── SpaceError             vectors of two spaces were about to be mixed
    └── EncodeTimeoutError     a call was not ready in the time that it was given

Each also derives from the built-in exception that fits. A message says what was wrong, with the value, and what to do.
"""

from collections.abc import Sequence


class EmbedryError(Exception):
    """The base of all errors raised by embedry and its backends."""


class OptionError(EmbedryError, ValueError):
    """An option has a value that the model or the backend cannot honour."""


class UnknownOptionError(OptionError, TypeError):
    """`resolve` was called with an option that does not exist."""


class TextError(EmbedryError, ValueError):
    """A text cannot be embedded; `positions` are its positions in the call's texts, from 0."""

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message, tuple(positions))
        self.positions = tuple(positions)

    def __str__(self) -> str:
        return str(self.args[0])


class TextTypeError(TextError, TypeError):
    """Something other than a `str` stands where a text should be."""


class TextTooLongError(TextError):
    """A text is longer than the model reads, under `on_overflow="error"`."""


class ModelError(EmbedryError):
    """A model is not known, or cannot be used as it is described."""


class UnknownModelError(ModelError, LookupError):
    """No registry entry, folder or repository has a model's name."""


class AmbiguousModelError(ModelError, LookupError):
    """Two plugins register the same model name; raised when that name is resolved."""


class UnsupportedModelError(ModelError, ValueError):
    """The backend cannot reproduce this model exactly, and so refuses it."""


class SpecError(ModelError, ValueError):
    """A registry entry contradicts itself; raised where the entry is written."""


class BackendError(EmbedryError, RuntimeError):
    """An engine failed. The subclasses say how, where that is known."""


class UnknownBackendError(BackendError, LookupError):
    """No installed package provides the backend."""


class BackendImportError(BackendError, ImportError):
    """A backend is installed but cannot be imported, or is not a backend."""


class BackendContractError(BackendError):
    """An engine, or embeddings of another library, gave vectors of a wrong shape, number or dtype, or that are not finite."""


class FilesError(EmbedryError):
    """A model's files are missing, are not the right ones, or cannot be fetched or kept."""


class WeightsNotFoundError(FilesError, FileNotFoundError):
    """A model's files are in none of the places where they are looked for."""


class IntegrityError(FilesError, ValueError):
    """A file is not the one that the registry entry names, is damaged, or contradicts another file of the model."""


class DownloadError(FilesError, ConnectionError):
    """A model's files could not be fetched: the network, the hub or the package index gave an error."""


class CacheError(FilesError, OSError):
    """The cache folder cannot hold what has to be written."""


class LockError(FilesError, ValueError):
    """A lock file cannot be used, or a model or a file is not the one that it names."""


class SpaceError(EmbedryError, ValueError):
    """Vectors of two different spaces were about to be mixed."""


class EncodeTimeoutError(EmbedryError, TimeoutError):
    """The texts of a call were not encoded within its `timeout`; what was not being computed by then was dropped."""


def some(values: Sequence[object], most: int) -> str:
    """The first values for a message, with dots where there are more."""
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")


def is_failure(error: BaseException) -> bool:
    """Whether a library failed: any Exception, or a panic of Rust code, which its bindings raise as something else.

    An interrupt and an exit are none.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


class EmbedryWarning(UserWarning):
    """The base of all warnings issued by embedry."""


class PluginWarning(EmbedryWarning):
    """A plugin could not be loaded; its models are missing."""


class CacheWarning(EmbedryWarning):
    """The cache folder cannot be read, written or trusted, so work is repeated at each start."""


class TruncationWarning(EmbedryWarning):
    """Texts were truncated to the model's length under `on_overflow="warn"`; `positions` says which."""

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message, tuple(positions))
        self.positions = tuple(positions)

    def __str__(self) -> str:
        return str(self.args[0])
