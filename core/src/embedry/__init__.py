"""embedry: one line gives an application the right text embedder, ready and shared.

    from embedry import resolve

    embedder = resolve("bge-small-en-v1.5")
    vectors = embedder.encode_document(["a text", "another"])  # float32 (2, 384)

`resolve_reranker`, `resolve_sparse` and `resolve_multi_vector` do the same for other kinds of models.

Importing this package, listing models and reading an entry do not import an engine or load a model. The public API is this
package, `embedry.backend` for authors of backends, and `embedry.testing`. Modules that begin with an underscore are private.
"""

from embedry.cached import CachedItem, clear_cache, list_cached
from embedry.embedder import BaseEmbedder, Embedder, MultiVectorEmbedder, Reranker, SparseEmbedder
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
from embedry.heads import (
    Classifier,
    LateInteraction,
    LogitScore,
    MaskedLM,
    Score,
    SpladePooling,
    TermTable,
    TermWeights,
)
from embedry.hooks import hookimpl
from embedry.lock import use_lock
from embedry.modules import Dense, LayerNorm, LibraryModule, Matryoshka, Normalize, Pooling, StaticEmbedding
from embedry.options import OnOverflow, Options, RerankerOptions
from embedry.prepared import Computation, EncodedBlock, Passage, Prepared, Token
from embedry.ragged import SparseVectors, TokenVectors, maxsim
from embedry.registry import list_models, register
from embedry.reranking import LazyReranker, Ranked
from embedry.resolver import resolve, resolve_multi_vector, resolve_reranker, resolve_sparse
from embedry.resources import Int8, Resource, WheelSource
from embedry.similarity import Hits
from embedry.space import Space
from embedry.spec import NO_LIMIT, ModelSpec
from embedry.transformer import BertNormalizer, PairFrame, Transformer
from embedry.views import LazyEmbedder, LazyMultiVectorEmbedder, LazySparseEmbedder

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
    "CachedItem",
    "Classifier",
    "Computation",
    "Dense",
    "DownloadError",
    "Embedder",
    "EmbedryError",
    "EmbedryWarning",
    "EncodeTimeoutError",
    "EncodedBlock",
    "FilesError",
    "Hits",
    "Int8",
    "IntegrityError",
    "LateInteraction",
    "LayerNorm",
    "LazyEmbedder",
    "LazyMultiVectorEmbedder",
    "LazyReranker",
    "LazySparseEmbedder",
    "LibraryModule",
    "LockError",
    "LogitScore",
    "MaskedLM",
    "Matryoshka",
    "ModelError",
    "ModelSpec",
    "MultiVectorEmbedder",
    "Normalize",
    "OnOverflow",
    "OptionError",
    "Options",
    "PairFrame",
    "Passage",
    "PluginWarning",
    "Pooling",
    "Prepared",
    "Ranked",
    "Reranker",
    "RerankerOptions",
    "Resource",
    "Score",
    "Space",
    "SpaceError",
    "SparseEmbedder",
    "SparseVectors",
    "SpecError",
    "SpladePooling",
    "StaticEmbedding",
    "TermTable",
    "TermWeights",
    "TextError",
    "TextTooLongError",
    "TextTypeError",
    "Token",
    "TokenVectors",
    "Transformer",
    "TruncationWarning",
    "UnknownBackendError",
    "UnknownModelError",
    "UnknownOptionError",
    "UnsupportedModelError",
    "WeightsNotFoundError",
    "WheelSource",
    "clear_cache",
    "hookimpl",
    "list_cached",
    "list_models",
    "maxsim",
    "register",
    "resolve",
    "resolve_multi_vector",
    "resolve_reranker",
    "resolve_sparse",
    "use_lock",
]
