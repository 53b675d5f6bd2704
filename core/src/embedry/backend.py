"""The contract that an engine fulfils, and helpers for those who write one.

The boundary is thin on purpose: token ids and a mask go down, vectors come up. Prompts, lengths, batches, shortening,
normalising and checking belong to the pipeline above it, so that every engine treats them alike.
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
"""What is imported when it is first used, because every program that resolves a model imports this module -> its module."""

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
    """A loaded model over token ids, called from several threads at once."""

    workers: int = 1
    """How many batches are worth running at the same time."""
    batch_tokens: int = 4096
    """Padded tokens that one batch should hold, texts times length."""
    info: Mapping[str, str]
    """What runs where, for people: engine, provider, threads. "precision" is read by programs too; "fp32" if left out."""

    @abstractmethod
    def forward(self, ids: "NDArray[np.int32]", mask: "NDArray[np.int32]") -> "NDArray[np.float32]":
        """Token ids and mask, both (batch, sequence), right-padded -> what the body of the chain gives, float32.

        That is (batch, width) of a dense model, (batch, vocabulary) of a sparse one, and (batch, sequence, width) of a
        multi-vector model, where what stands at padding does not matter. Of the latter the mask may be 0 at the end of a text,
        for tokens that the others do not attend to, and whose vectors count.

        Every row has at least one token. A text's result must not depend on the others in its batch. `workers` threads call
        this at the same time, so it should compute on the thread that calls it.
        """

    def forward_wide(self, ids: "NDArray[np.int32]", mask: "NDArray[np.int32]") -> "NDArray[np.float32]":
        """The same for a batch that nothing else is computed beside, such as a single query: on all threads, if that helps.

        It is called by the thread that made the request.
        """
        return self.forward(ids, mask)


class PairEncoder(ABC):
    """A loaded reranker over token ids, called from several threads at once. A class may be an `Encoder` as well."""

    workers: int = 1
    """As an `Encoder`'s."""
    batch_tokens: int = 4096
    """As an `Encoder`'s."""
    info: Mapping[str, str]
    """As an `Encoder`'s."""

    @abstractmethod
    def forward(
        self, ids: "NDArray[np.int32]", mask: "NDArray[np.int32]", segments: "NDArray[np.int32]", /
    ) -> "NDArray[np.float32]":
        """Token ids, mask and segments of pairs, each (batch, sequence), right-padded -> their logits, float32 (batch, labels).

        Segments are 1 for the tokens of the document where the tokenizer tells it from the query, and else 0. All else is as
        in `Encoder.forward`.
        """

    def forward_wide(
        self, ids: "NDArray[np.int32]", mask: "NDArray[np.int32]", segments: "NDArray[np.int32]", /
    ) -> "NDArray[np.float32]":
        """As `Encoder.forward_wide`."""
        return self.forward(ids, mask, segments)


class TextEncoder(ABC):
    """A loaded model that reads texts in its own way: a remote service, say, or one with an input handling of its own."""

    info: Mapping[str, str]
    """As an `Encoder`'s."""

    def check(self, spec: ModelSpec, chain: Chain) -> None:  # noqa: B027  most engines have nothing to refuse here
        """Raises an `EmbedryError` if it cannot give what an embedder needs. Asked before each call, so it must be quick.

        Args:
            spec: the embedder's whole entry, with its prompts and the tail of its chain.
            chain: the entry's chain as `dims` and `normalize` changed it.
        """

    @abstractmethod
    def lengths(self, texts: Sequence[str]) -> Sequence[int]:
        """How many tokens each text would take, were none cut. Asked for only where an overflow policy needs it."""

    @abstractmethod
    def forward_texts(self, texts: Sequence[str], prompt: str) -> "NDArray[np.float32]":
        """Texts, and the prompt to put before each -> what the body of the chain gives, float32 (texts, width)."""


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """A model to load, and how. Fields may be added in later versions."""

    spec: ModelSpec
    """The entry. `spec.body` is what the engine runs; the end of the chain that needs no weights is the pipeline's."""
    folder: Path
    """Holds the verified files of `spec.files`. It may hold others, which are not to be read. Without `Backend.needs_files` no
    file is in it."""
    config: ModelConfig | None
    """The transformer's config.json, parsed and compared with the entry; None for a model without a transformer, and
    without `Backend.needs_files`."""
    device: str
    """One of the backend's `devices`, perhaps with a number, as in "cuda:1"."""
    precision: str | None
    """One of the backend's `precisions`, or None to choose."""
    threads: int
    """Threads to compute with."""
    cache_dir: Path
    """What is compiled goes below it; see `artifact`."""


class Backend(ABC):
    """An engine. Importing it must be cheap: what is heavy is imported in `load`."""

    devices: tuple[str, ...]
    """Device kinds it can run on, the preferred one first: "cpu", "cuda", "mps"; "auto" leaves the choice to it."""
    precisions: tuple[str, ...]
    """Number formats that can be asked for: "fp32", "bf16", "fp16"; "int8" for models with a calibration."""
    modules: tuple[type[Module], ...]
    """The types of `embedry.modules` that it runs. A model whose body has another is refused before `refusal` is asked."""
    outputs: tuple[Kind, ...] = ("dense",)
    """The kinds of models that it runs, see `embedry.chains.kind`. A model of another kind is refused before `refusal` is asked."""
    needs_files: bool = True
    """Whether the model's files must be on this machine. If not, `load` gives a `TextEncoder`: another machine has the model."""

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why this model cannot be reproduced exactly, as a sentence, or None. Decided from the entry alone.

        All that a module of a listed type says is yours to run or to refuse: `spec.body` has them, in order.
        """
        return None

    def int8_refusal(self, spec: ModelSpec) -> str | None:
        """Why this model cannot be run in int8, calibrated or not, as a sentence, or None. Decided from the entry alone."""
        return None

    @abstractmethod
    def load(self, request: LoadRequest) -> Encoder | PairEncoder | TextEncoder:
        """Loads a model: of a reranker a `PairEncoder`.

        Raises:
            UnsupportedModelError: the configuration asks for what this backend does not do.
            IntegrityError: the weights are incomplete or of wrong shapes; that they are sound was checked before.
        """
