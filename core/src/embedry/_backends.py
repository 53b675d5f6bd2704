"""Finds installed backends by their entry points, and checks that they support a model and its options."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from embedry import chains, discovery
from embedry.backend import Backend, LoadRequest
from embedry.errors import (
    BackendError,
    BackendImportError,
    OptionError,
    SpecError,
    UnknownBackendError,
    UnsupportedModelError,
)
from embedry.spec import ModelSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import numpy as np
    from numpy.typing import NDArray

GROUP = "embedry.backends"
"""The entry-point group of backends; an entry point's name is the backend's name."""

_PACKAGES = ("onnxruntime", "openvino", "static", "transformers", "sentence-transformers", "remote")
"""Backends with a package of ours, by the name embedry-NAME. No other name is ever advised: anybody could register it."""


@runtime_checkable
class Calibrator(Protocol):
    """What a backend has besides, if it makes the calibrations that int8 needs."""

    def calibrate(self, request: LoadRequest, texts: "Iterable[NDArray[np.int32]]") -> bytes:
        """The content of a calibration file, from the token ids of texts, (tokens,) each; see `Backend.load` for its errors."""


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
            f"the backend {name!r} is not installed; {discovery.nearest(name, list(installed))}"
            f"installed: {', '.join(installed) or 'none'}{_to_install(name)}"
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
            f"the entry point {matches[0].value!r} of {discovery.origin(matches[0])} is not a backend of this version: it must be "
            f"an instance of embedry.backend.Backend, got {backend!r}; a package for embedry 0.1 needs its next version"
        )
    return backend


def check(backend: Backend, name: str, spec: ModelSpec, device: str | None, precision: str | None) -> str:
    """The device to load `spec` on, after asking whether the backend can do all three.

    Raises:
        UnsupportedModelError: the backend refuses the model.
        OptionError: the backend does not run on that device or not in that precision, or the model was not calibrated.
        SpecError: the entry names a calibration that is not there.
    """
    reason = _refusal(backend, spec)
    if reason is not None:
        raise UnsupportedModelError(
            f"the backend {name!r} cannot load {spec.name!r}: {reason}; {_alternatives(spec, name)}"
        )
    if precision is not None and precision not in backend.precisions:
        raise OptionError(
            f"the backend {name!r} does not support precision={precision!r}; it supports {', '.join(backend.precisions)}"
        )
    if precision == "int8":
        _check_calibrated(backend, spec)
    if device is None:
        return backend.devices[0]
    if not isinstance(device, str) or device.split(":")[0] not in backend.devices:
        raise OptionError(
            f"the backend {name!r} does not run on device={device!r}; it runs on {', '.join(backend.devices)}; "
            f"installed backends: {', '.join(names())}"
        )
    return device


def _refusal(backend: Backend, spec: ModelSpec) -> str | None:
    """Why the backend cannot load the model: a kind or a type of module that it does not run, or a reason of its own."""
    if spec.kind not in backend.outputs:
        return f"it runs {', '.join(backend.outputs)} models, and this is a {spec.kind} model"
    missing = [chains.label(module) for module in spec.body if not isinstance(module, tuple(backend.modules))]
    return f"it does not run {', '.join(dict.fromkeys(missing))}" if missing else backend.refusal(spec)


def _to_install(name: str) -> str:
    origin = "; the name comes from EMBEDRY_BACKEND" if os.environ.get("EMBEDRY_BACKEND") == name else ""
    return (f"; try: pip install embedry-{name}" if name in _PACKAGES else "") + origin


def _alternatives(spec: ModelSpec, name: str) -> str:
    """What to try instead: the backends that are installed and take the model, or the one that takes most models."""
    able = []
    for other in names():
        if other != name:
            try:
                backend = find(other)
            except BackendError:  # which is its own trouble
                continue
            # Without files the model is elsewhere, and whether it is there is not known here.
            if backend.needs_files and _refusal(backend, spec) is None:
                able.append(other)
    if able:
        return f"try backend={' or '.join(map(repr, able))}"
    return "no installed backend supports it; try: pip install embedry-sentence-transformers"


def _check_calibrated(backend: Backend, spec: ModelSpec) -> None:
    reason = backend.int8_refusal(spec)
    if reason is not None:
        raise OptionError(f"precision='int8' is not supported for {spec.name!r}: {reason}")
    if spec.int8 is None:
        from embedry.lock import command

        raise OptionError(
            f"precision='int8' is not supported: {spec.name!r} was not calibrated for it, and without calibration its vectors "
            f"would be wrong by an unknown amount; calibrate it: {command('calibrate', spec.name, 'TEXTS')}"
        )
    if not spec.int8.calibration.locate().is_file():
        raise SpecError(
            f"model entry {spec.name!r}: there is no file {spec.int8.calibration.locate()}, which int8.calibration names"
        )
