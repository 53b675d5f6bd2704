"""The interface of engines, and helpers for engine authors.

The interface is small: an engine receives token ids and a mask and returns vectors. The pipeline handles prompts, lengths,
batches, truncation of vectors, normalization and validation, so they are the same for every engine.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedry._config import ModelConfig
from embedry.chains import Kind
from embedry.errors import is_failure
from embedry.modules import Chain, Module
from embedry.spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry._cpu import features as cpu_features
    from embedry._files.artifacts import artifact
    from embedry._files.isolation import only_listed
    from embedry._files.resources import resource_file
    from embedry._files.tokenizer_file import terms, unknown_token
    from embedry._files.weights import Tensor, is_read, tensors
    from embedry._threads import PROCESS_SETTING, LibraryThreads

_HELPERS = {
    "artifact": "_files.artifacts",
    "LibraryThreads": "_threads",
    "only_listed": "_files.isolation",
    "PROCESS_SETTING": "_threads",
    "resource_file": "_files.resources",
    "Tensor": "_files.weights",
    "is_read": "_files.weights",
    "tensors": "_files.weights",
    "terms": "_files.tokenizer_file",
    "unknown_token": "_files.tokenizer_file",
}
"""Name -> module, for names imported on first use, because every program that resolves a model imports this module."""

__all__ = [
    "PROCESS_SETTING", "Backend", "Encoder", "LibraryThreads", "LoadRequest", "ModelConfig", "PairEncoder", "Tensor", "TextEncoder",
    "artifact", "cpu_features", "is_failure", "is_read", "only_listed", "resource_file", "tensors", "terms", "unknown_token",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "cpu_features":
        from embedry._cpu import features

        return features
    if name in _HELPERS:
        return getattr(import_module(f"embedry.{_HELPERS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Encoder(ABC):
    """A loaded model that takes token ids. It is called from several threads at once."""

    workers: int = 1
    """The number of batches to run at the same time."""
    batch_tokens: int = 4096
    """The number of padded tokens per batch, texts times length."""
    packs: bool = False
    """Whether padding costs the engine nothing. Then `batch_tokens` counts real tokens, and a batch may mix texts of any length."""
    info: Mapping[str, str]
    """Details for display: engine, provider, threads. Programs also read "precision"; "fp32" if omitted."""

    @abstractmethod
    def forward(self, ids: "NDArray[np.int32]", mask: "NDArray[np.int32]") -> "NDArray[np.float32]":
        """Token ids and mask, both (batch, sequence), right-padded -> the output of the chain's body, float32.

        The output is (batch, width) for a dense model, (batch, vocabulary) for a sparse model and (batch, sequence, width) for
        a multi-vector model, where the values at padding do not matter. For multi-vector models, the mask may be 0 at the end
        of a text: the other tokens do not attend to these tokens, but their vectors are used.

        Every row has at least one token. A text's result must not depend on the other texts in its batch. `workers` threads
        call this method at the same time, so it should compute on the calling thread.
        """

    def forward_wide(self, ids: "NDArray[np.int32]", mask: "NDArray[np.int32]") -> "NDArray[np.float32]":
        """Computes a batch that runs alone, such as a single query, on all threads if that is faster.

        The thread that made the request calls it.
        """
        return self.forward(ids, mask)


class PairEncoder(ABC):
    """A loaded reranker that takes token ids, called from several threads at once. A class may also be an `Encoder`."""

    workers: int = 1
    """See `Encoder`."""
    batch_tokens: int = 4096
    """See `Encoder`."""
    packs: bool = False
    """See `Encoder`."""
    info: Mapping[str, str]
    """See `Encoder`."""

    @abstractmethod
    def forward(
        self, ids: "NDArray[np.int32]", mask: "NDArray[np.int32]", segments: "NDArray[np.int32]", /
    ) -> "NDArray[np.float32]":
        """Token ids, mask and segments of pairs, each (batch, sequence), right-padded -> their logits, float32 (batch, labels).

        Segments are 1 for the tokens of the document if the tokenizer marks them, and 0 otherwise. For everything else see
        `Encoder.forward`.
        """

    def forward_wide(
        self, ids: "NDArray[np.int32]", mask: "NDArray[np.int32]", segments: "NDArray[np.int32]", /
    ) -> "NDArray[np.float32]":
        """See `Encoder.forward_wide`."""
        return self.forward(ids, mask, segments)


class TextEncoder(ABC):
    """A loaded model that takes texts, such as a remote service or a model with its own tokenization."""

    info: Mapping[str, str]
    """See `Encoder`."""

    def check(self, spec: ModelSpec, chain: Chain) -> None:  # noqa: B027  most engines have nothing to refuse here
        """Raises an `EmbedryError` if it does not support what an embedder needs. Called before each call; must be fast.

        Args:
            spec: the embedder's complete entry, with its prompts and the tail of its chain.
            chain: the entry's chain with the changes of `dims` and `normalize`.
        """

    @abstractmethod
    def lengths(self, texts: Sequence[str]) -> Sequence[int]:
        """The number of tokens in each text without truncation. Called only if an overflow policy needs it."""

    @abstractmethod
    def forward_texts(self, texts: Sequence[str], prompt: str) -> "NDArray[np.float32]":
        """Texts, and the prompt to prepend to each -> the output of the chain's body, float32 (texts, width)."""


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """The model to load and its settings. Later versions may add fields."""

    spec: ModelSpec
    """The entry. The engine runs `spec.body`; the pipeline runs the end of the chain that needs no weights."""
    folder: Path
    """The folder with the verified files of `spec.files`. Do not read any other files in it. It contains no file if
    `Backend.needs_files` is False."""
    config: ModelConfig | None
    """The transformer's config.json, parsed and compared with the entry; None for a model without a transformer, and if
    `Backend.needs_files` is False."""
    device: str
    """One of the backend's `devices`, optionally with a number, as in "cuda:1"."""
    precision: str | None
    """One of the backend's `precisions`; None for the backend's choice."""
    threads: int
    """The number of threads to compute with."""
    cache_dir: Path
    """The folder for compiled artifacts; see `artifact`."""


class Backend(ABC):
    """An engine. Importing it must be cheap; import heavy libraries in `load`."""

    devices: tuple[str, ...]
    """Supported device kinds, the preferred one first: "cpu", "cuda", "mps"; "auto" lets the backend choose."""
    precisions: tuple[str, ...]
    """Supported precisions: "fp32", "bf16", "fp16"; "int8" for models with a calibration."""
    modules: tuple[type[Module], ...]
    """Supported types of `embedry.modules`. Models with other types in their body are rejected before `refusal` is called."""
    outputs: tuple[Kind, ...] = ("dense",)
    """Supported kinds of models, see `embedry.chains.kind`. Other kinds are rejected before `refusal` is called."""
    needs_files: bool = True
    """Whether the model's files must be on this machine. If False, `load` returns a `TextEncoder` for a remote model."""

    def refusal(self, spec: ModelSpec) -> str | None:
        """The reason, as a sentence, why the backend cannot reproduce this model exactly, or None. Uses only the entry.

        Check every setting of the modules in `spec.body`: the backend must run each exactly as written, or reject the model.
        """
        return None

    def int8_refusal(self, spec: ModelSpec) -> str | None:
        """The reason, as a sentence, why this model cannot run in int8, calibrated or not, or None. Uses only the entry."""
        return None

    @abstractmethod
    def load(self, request: LoadRequest) -> Encoder | PairEncoder | TextEncoder:
        """Loads a model; returns a `PairEncoder` for a reranker.

        Raises:
            UnsupportedModelError: the configuration needs something that this backend does not support.
            IntegrityError: weights are missing or have wrong shapes. The core has already checked the files for damage.
        """
