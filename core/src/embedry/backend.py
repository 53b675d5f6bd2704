"""The contract that an engine fulfils, for those who write one.

The boundary is thin on purpose: token ids and a mask go down, pooled vectors come up. Prompts, lengths, batches,
normalising and checking belong to the pipeline above it, so that every engine treats them alike.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from embedry.spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROCESS_SETTING = Lock()
"""Held by a backend while it changes for a moment what is set for the whole process, such as torch's number of threads:
workers of several embedders and backends start at the same time."""

if hasattr(os, "register_at_fork"):  # a child must not inherit the lock from a thread that it does not have
    os.register_at_fork(
        before=PROCESS_SETTING.acquire, after_in_parent=PROCESS_SETTING.release, after_in_child=PROCESS_SETTING.release
    )


class Encoder(Protocol):
    """A loaded model, called from several threads at once. Subclass it to inherit what is written here."""

    workers: int = 1
    """How many batches are worth running at the same time."""
    batch_tokens: int = 4096
    """Padded tokens that one batch should hold, texts times length."""
    info: Mapping[str, str]
    """What runs where, for people: engine, provider, threads. "precision" is read by programs too; "fp32" if left out."""

    def start_worker(self) -> None:
        """Called once in each thread that the pipeline starts, before its first batch."""
        return

    def forward(self, ids: "NDArray[np.int32]", mask: "NDArray[np.int32]") -> "NDArray[np.float32]":
        """Token ids and mask, both (batch, sequence), right-padded -> pooled vectors, float32 (batch, dims).

        Neither shortened nor normalised; a text's vector must not depend on the others in its batch.
        """
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """A loaded model that reads texts in its own way: a remote service, say, or one with an input handling of its own."""

    info: Mapping[str, str]
    """As an `Encoder`'s."""

    def lengths(self, texts: Sequence[str]) -> Sequence[int]:
        """How many tokens each text would take, were none cut. Asked for only where an overflow policy needs it."""
        ...

    def forward_texts(self, texts: Sequence[str], prompt: str) -> "NDArray[np.float32]":
        """Texts, and the prompt to put before each -> vectors, float32 (texts, dims), neither shortened nor normalised."""
        ...


@runtime_checkable
class Backend(Protocol):
    """An engine. Importing it must be cheap: what is heavy is imported in `load`."""

    devices: tuple[str, ...]
    """Device kinds it can run on, the preferred one first: "cpu", "cuda", "mps"; "auto" leaves the choice to it."""
    precisions: tuple[str, ...]
    """Number formats that can be asked for: "fp32", "bf16", "fp16"; "int8" for models with a calibration."""

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why this model cannot be reproduced exactly, as a sentence, or None. Decided from the entry alone."""
        ...

    def load(
        self, spec: ModelSpec, folder: Path, *, device: str, precision: str | None, threads: int, cache_dir: Path
    ) -> Encoder | TextEncoder:
        """Loads the model whose verified files are in `folder`; `precision` None leaves that to the backend.

        Raises:
            UnsupportedModelError: the model's own configuration asks for what this backend does not do.
            IntegrityError: the weights are incomplete; that they are sound was checked before.
        """
        ...
