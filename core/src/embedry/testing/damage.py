"""Copies of a model's files with weights damaged in ways that some loaders accept without an error."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from embedry._files.sources import ensure_local
from embedry._files.weights import is_read
from embedry.options import Config
from embedry.testing.subject import NotApplicable

INVERTED = "inverted bytes"

_LARGE = 1 << 20
"""Minimum size in bytes of a file for which inverted numbers are sure to contain a value that no trained model has."""

Tensors = dict[str, NDArray[np.float32]]


@contextmanager
def copies(config: Config) -> Iterator[Iterator[tuple[str, Path]]]:
    """Yields each kind of damage with a folder of the model's files that has it.

    Raises:
        NotApplicable: the model has no safetensors file.
    """
    source = ensure_local(config.spec, config.cache_dir)
    others = (file for file in config.spec.files if file.endswith(".safetensors"))
    weights = next(iter((*config.spec.weights, *others)), None)
    if weights is None:
        raise NotApplicable("the model has no safetensors file")
    with tempfile.TemporaryDirectory(prefix="embedry-damage-") as name:
        kinds = set(_KINDS)
        if config.spec.files[weights] is None and (source / weights).stat().st_size < _LARGE:
            kinds.discard(INVERTED)
        yield ((kind, _damaged(source, Path(name), config, weights, kind)) for kind in sorted(kinds))


def _damaged(source: Path, root: Path, config: Config, weights: str, kind: str) -> Path:
    folder = root / kind.replace(" ", "-")
    for file in config.spec.files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if file != weights:
            shutil.copyfile(source / file, folder / file)
    if kind == "its end cut off":
        data = (source / weights).read_bytes()
        (folder / weights).write_bytes(data[: len(data) * 3 // 4])
    else:
        save_file(_KINDS[kind](load_file(source / weights)), folder / weights, metadata={"format": "pt"})
    for earlier in root.iterdir():  # one damaged copy at a time is enough on any disk
        if earlier != folder:
            shutil.rmtree(earlier)
    os.utime(folder / weights)
    return folder


def _inverted(tensors: Tensors) -> Tensors:
    return {name: np.invert(tensor.view(np.uint8)).view(tensor.dtype) for name, tensor in tensors.items()}


def _half_zero(tensors: Tensors) -> Tensors:
    zeroed = sorted(tensors)[::2]
    return {name: np.zeros_like(tensor) if name in zeroed else tensor for name, tensor in tensors.items()}


def _one_nan(tensors: Tensors) -> Tensors:
    name = max(tensors, key=lambda name: tensors[name].size)
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] = np.nan
    return tensors


def _one_missing(tensors: Tensors) -> Tensors:
    # The last by name that counts: a layer's, deep inside, not the first thing that a loader looks at.
    name = max(name for name in tensors if is_read(name))
    return {other: tensor for other, tensor in tensors.items() if other != name}


_KINDS: dict[str, Callable[[Tensors], Tensors]] = {
    INVERTED: _inverted,
    "half its tensors zero": _half_zero,
    "one NaN": _one_nan,
    "one tensor missing": _one_missing,
    "its end cut off": lambda tensors: tensors,
}
