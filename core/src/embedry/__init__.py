"""embedry: one line gives an application the right text embedder, ready and shared.

    from embedry import resolve

    embedder = resolve("bge-small-en-v1.5")
    vectors = embedder.encode_document(["a text", "another"])  # float32 (2, 384)

Importing this package, listing models and reading an entry import no engine and load nothing. What is public is here, in
`embedry.backend` for authors of engines, and in `embedry.testing`; modules that begin with an underscore are private.
"""

from embedry.embedder import BaseEmbedder, Embedder
from embedry.errors import (
    AmbiguousModelError,
    BackendContractError,
    BackendError,
    BackendImportError,
    CacheError,
    CacheWarning,
    DownloadError,
    EmbedryError,
    EmbedryWarning,
    EncodeTimeoutError,
    FilesError,
    IntegrityError,
    LockError,
    ModelError,
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
from embedry.lock import use_lock
from embedry.modules import Dense, LayerNorm, LibraryModule, Matryoshka, Normalize, Pooling, StaticEmbedding
from embedry.options import OnOverflow, Options
from embedry.prepared import Computation, EncodedBlock, Prepared, Token
from embedry.registry import list_models, register
from embedry.resolver import resolve
from embedry.space import Space
from embedry.spec import NO_LIMIT, BertNormalizer, Int8, ModelSpec, Resource, Transformer, WheelSource
from embedry.views import LazyEmbedder

__version__ = "0.1.0"

__all__ = [
    "NO_LIMIT",
    "AmbiguousModelError",
    "BackendContractError",
    "BackendError",
    "BackendImportError",
    "BaseEmbedder",
    "BertNormalizer",
    "CacheError",
    "CacheWarning",
    "Computation",
    "Dense",
    "DownloadError",
    "Embedder",
    "EmbedryError",
    "EmbedryWarning",
    "EncodeTimeoutError",
    "EncodedBlock",
    "FilesError",
    "Int8",
    "IntegrityError",
    "LayerNorm",
    "LazyEmbedder",
    "LibraryModule",
    "LockError",
    "Matryoshka",
    "ModelError",
    "ModelSpec",
    "Normalize",
    "OnOverflow",
    "OptionError",
    "Options",
    "PluginWarning",
    "Pooling",
    "Prepared",
    "Resource",
    "Space",
    "SpaceError",
    "SpecError",
    "StaticEmbedding",
    "TextError",
    "TextTooLongError",
    "TextTypeError",
    "Token",
    "Transformer",
    "TruncationWarning",
    "UnknownBackendError",
    "UnknownModelError",
    "UnknownOptionError",
    "UnsupportedModelError",
    "WeightsNotFoundError",
    "WheelSource",
    "hookimpl",
    "list_models",
    "register",
    "resolve",
    "use_lock",
]
