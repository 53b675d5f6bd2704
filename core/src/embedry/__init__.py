"""embedry: one line gives an application the right text embedder, ready and shared.

    from embedry import resolve

    embedder = resolve("bge-small-en-v1.5")
    vectors = embedder.encode_document(["a text", "another"])  # float32 (2, 384)

Importing this package, listing models and reading an entry import no engine and load nothing.
"""

from embedry.backend import Backend, Encoder, TextEncoder
from embedry.embedder import Embedder
from embedry.errors import (
    AmbiguousModelError,
    BackendError,
    BackendImportError,
    CacheError,
    CacheWarning,
    EmbedryError,
    EmbedryWarning,
    IntegrityError,
    OptionError,
    PluginWarning,
    SpaceError,
    SpecError,
    TextError,
    TextTooLongError,
    TextTypeError,
    TruncationWarning,
    UnknownBackendError,
    UnknownModelError,
    UnknownOptionError,
    UnsupportedModelError,
    WeightsNotFoundError,
)
from embedry.hooks import hookimpl
from embedry.registry import list_models, register
from embedry.resolver import resolve
from embedry.space import Space
from embedry.spec import Int8, ModelSpec, WheelSource

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "BackendError",
    "BackendImportError",
    "CacheError",
    "CacheWarning",
    "WheelSource",
    "Embedder",
    "EmbedryError",
    "EmbedryWarning",
    "Encoder",
    "Int8",
    "IntegrityError",
    "AmbiguousModelError",
    "ModelSpec",
    "OptionError",
    "PluginWarning",
    "Space",
    "SpaceError",
    "SpecError",
    "TextEncoder",
    "TextError",
    "TextTooLongError",
    "TextTypeError",
    "TruncationWarning",
    "UnknownBackendError",
    "UnknownModelError",
    "UnknownOptionError",
    "UnsupportedModelError",
    "WeightsNotFoundError",
    "hookimpl",
    "list_models",
    "register",
    "resolve",
]
