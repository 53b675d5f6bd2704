"""All errors and warnings that embedry raises.

    EmbedryError
    ├── OptionError            an option has an invalid or unsupported value
    │   └── UnknownOptionError
    ├── TextError              a text cannot be embedded
    │   ├── TextTypeError
    │   └── TextTooLongError
    ├── ModelError             a model is unknown, or cannot be used as described
    │   ├── UnknownModelError
    │   ├── AmbiguousModelError
    │   ├── UnsupportedModelError
    │   └── SpecError
    ├── BackendError           an engine failed
    │   ├── UnknownBackendError
    │   ├── BackendImportError
    │   └── BackendContractError
    ├── FilesError             a model's files are missing, wrong, or cannot be downloaded or stored
    │   ├── WeightsNotFoundError
    │   ├── IntegrityError
    │   ├── DownloadError
    │   ├── CacheError
    │   └── LockError
    ├── SpaceError             vectors of two different spaces would be mixed
    └── EncodeTimeoutError     a call did not finish within its timeout

Each class also derives from a matching built-in exception. A message states what is wrong, with the value, and what to do.
"""

from collections.abc import Sequence


class EmbedryError(Exception):
    """Base class of all errors raised by embedry and its backends."""


class OptionError(EmbedryError, ValueError):
    """An option has a value that is invalid, or that the model or the backend does not support."""


class UnknownOptionError(OptionError, TypeError):
    """`resolve` was called with an option that does not exist."""


class TextError(EmbedryError, ValueError):
    """A text cannot be embedded; `positions` lists the 0-based positions of such texts in the call."""

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message, tuple(positions))
        self.positions = tuple(positions)

    def __str__(self) -> str:
        return str(self.args[0])


class TextTypeError(TextError, TypeError):
    """A value that should be a text is not a `str`."""


class TextTooLongError(TextError):
    """A text has more tokens than the model reads, and `on_overflow` is "error"."""


class ModelError(EmbedryError):
    """A model is unknown, or cannot be used as described."""


class UnknownModelError(ModelError, LookupError):
    """No registry entry, folder or repository has this name."""


class AmbiguousModelError(ModelError, LookupError):
    """Two plugins register the same model name; raised when that name is resolved."""


class UnsupportedModelError(ModelError, ValueError):
    """The backend cannot reproduce this model exactly."""


class SpecError(ModelError, ValueError):
    """A registry entry is malformed or contradicts itself; raised when the entry is created."""


class BackendError(EmbedryError, RuntimeError):
    """An engine failed. Subclasses cover specific causes."""


class UnknownBackendError(BackendError, LookupError):
    """No installed package provides the backend."""


class BackendImportError(BackendError, ImportError):
    """A backend is installed but cannot be imported, or is not a backend."""


class BackendContractError(BackendError):
    """An engine or another library's embeddings returned vectors with a wrong shape, count or dtype, or non-finite values."""


class FilesError(EmbedryError):
    """A model's files are missing, wrong, or cannot be downloaded or stored."""


class WeightsNotFoundError(FilesError, FileNotFoundError):
    """A model's files were not found in any of the places that embedry searches."""


class IntegrityError(FilesError, ValueError):
    """A file does not match the registry entry, is damaged, or contradicts another file of the model."""


class DownloadError(FilesError, ConnectionError):
    """A model's files could not be downloaded: the network, the hub or the package index returned an error."""


class CacheError(FilesError, OSError):
    """The cache folder cannot be read or written."""


class LockError(FilesError, ValueError):
    """A lock file cannot be used, or a model or a file does not match it."""


class SpaceError(EmbedryError, ValueError):
    """Vectors of two different spaces would be mixed."""


class EncodeTimeoutError(EmbedryError, TimeoutError):
    """The texts of a call were not encoded within its `timeout`; batches that had not started were dropped."""


def some(values: Sequence[object], most: int) -> str:
    """The first values for a message, with dots where there are more."""
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")


def is_failure(error: BaseException) -> bool:
    """Whether an error is a library failure: any Exception, or a Rust panic, which does not derive from Exception.

    Interrupts and exits are not failures.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


class EmbedryWarning(UserWarning):
    """Base class of all warnings issued by embedry."""


class PluginWarning(EmbedryWarning):
    """A plugin could not be loaded, so its models are missing."""


class CacheWarning(EmbedryWarning):
    """The cache folder cannot be read, written or trusted, so work is repeated at each start."""


class TruncationWarning(EmbedryWarning):
    """Texts were truncated to the model's length, and `on_overflow` is "warn"; `positions` lists them."""

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message, tuple(positions))
        self.positions = tuple(positions)

    def __str__(self) -> str:
        return str(self.args[0])
