"""Backends: the contract an engine fulfils, and finding the installed ones by name.

The boundary is thin on purpose: token ids and a mask go down, pooled vectors come up. Prompts, lengths, batches,
normalising and checking belong to the road above it, so that every engine treats them alike.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from embedry import discovery
from embedry.errors import BackendImportError, OptionError, SpecError, UnknownBackendError, UnsupportedModelError
from embedry.spec import ModelSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import numpy as np
    from numpy.typing import NDArray

GROUP = "embedry.backends"
"""The entry-point group of backends; an entry point's name is the backend's name."""

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
        """Called once in each thread that the road starts, before its first batch."""
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


def names(points: "Iterable[EntryPoint] | None" = None) -> tuple[str, ...]:
    """The names of the installed backends; nothing is imported."""
    points = discovery.entry_points(GROUP) if points is None else points
    return tuple(dict.fromkeys(point.name for point in points))


def find(name: str, points: "Iterable[EntryPoint] | None" = None) -> Backend:
    """The installed backend of this name.

    Raises:
        UnknownBackendError: none has it, or several packages do.
        BackendImportError: it cannot be imported.
    """
    points = tuple(discovery.entry_points(GROUP) if points is None else points)
    matches = [point for point in points if point.name == name]
    if not matches:
        installed = names(points)
        raise UnknownBackendError(
            f"the backend {name!r} is not installed{discovery.nearest(name, list(installed))}; "
            f"installed: {', '.join(installed) or 'none'}; try: pip install embedry-{name}"
        )
    if len(matches) > 1:
        owners = " and ".join(discovery.origin(point) for point in matches)
        raise UnknownBackendError(f"the backend {name!r} is provided by {owners}; uninstall one of them")
    try:
        backend = matches[0].load()
    except Exception as error:  # whatever a third party's import does, the user is told whose it was
        raise BackendImportError(
            f"the backend {name!r} of {discovery.origin(matches[0])} cannot be imported: {type(error).__name__}: {error}; "
            f"try: pip install --force-reinstall {matches[0].dist.name if matches[0].dist else name}"
        ) from error
    if not isinstance(backend, Backend):
        raise BackendImportError(
            f"the entry point {matches[0].value!r} of {discovery.origin(matches[0])} is no backend: "
            f"it must have devices, precisions, refusal() and load(), got {backend!r}"
        )
    return backend


def check(backend: Backend, name: str, spec: ModelSpec, device: str | None, precision: str | None) -> str:
    """The device to load `spec` on, after asking whether the backend can do all three.

    Raises:
        UnsupportedModelError: the backend refuses the model.
        OptionError: the backend does not run on that device or not in that precision, or the model was not calibrated.
        SpecError: the entry names a calibration that is not there.
    """
    reason = backend.refusal(spec)
    if reason is not None:
        raise UnsupportedModelError(f"the backend {name!r} cannot load {spec.name!r}: {reason}")
    if precision is not None and precision not in backend.precisions:
        raise OptionError(
            f"the backend {name!r} does not compute in precision={precision!r}; it has {', '.join(backend.precisions)}"
        )
    if precision == "int8":
        _check_calibrated(spec)
    if device is None:
        return backend.devices[0]
    if not isinstance(device, str) or device.split(":")[0] not in backend.devices:
        raise OptionError(
            f"the backend {name!r} does not run on device={device!r}; it runs on {', '.join(backend.devices)}; "
            f"installed backends: {', '.join(names())}"
        )
    return device


def _check_calibrated(spec: ModelSpec) -> None:
    if spec.int8 is None:
        raise OptionError(
            f"precision='int8' is not possible: {spec.name!r} was not calibrated for it, and without calibration its vectors "
            "would be wrong by an unknown amount; a model pack can calibrate it: docs/model-packs.md"
        )
    if not Path(spec.int8.calibration).is_file():
        raise SpecError(
            f"model entry {spec.name!r}: there is no file {spec.int8.calibration}, which int8.calibration names"
        )
