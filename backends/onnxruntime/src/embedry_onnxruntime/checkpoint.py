"""The weights of a checkpoint by name, read strictly: what is missing or left over is an error."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from embedry import IntegrityError
from embedry._files.weights import is_read


class Checkpoint:
    """Tensors of a safetensors file as float32, without the prefix that a model with a head puts before them."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        try:
            self._file = safe_open(path, framework="numpy")
            names = list(self._file.keys())
        except (SafetensorError, OSError) as error:
            raise IntegrityError(
                f"{path} cannot be read as safetensors, it is damaged or cut short: {error}"
            ) from error
        self._prefix = prefix if any(name.startswith(prefix) for name in names) else ""
        self._unread = {name.removeprefix(self._prefix) for name in names}

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """The tensor of this name.

        Raises:
            IntegrityError: it is missing, or of a type that numpy lacks.
        """
        try:
            tensor = np.asarray(self._file.get_tensor(self._prefix + name), dtype=np.float32)
        except (SafetensorError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{self._path} has no tensor {name!r} that can be read: {error}") from error
        self._unread.discard(name)
        return tensor

    def linear(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight, turned to (in, out), and bias of a linear layer."""
        return self[f"{name}.weight"].T, self[f"{name}.bias"]

    def mark_used(self, name: str) -> None:
        """Accounts for a tensor that must be there, though no result depends on it."""
        self[name]

    def check_all_read(self) -> None:
        """IntegrityError if the file has tensors that the model's configuration does not account for."""
        left = sorted(name for name in self._unread if is_read(name))
        if left:
            shown = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
            raise IntegrityError(f"{self._path} has tensors that config.json does not account for: {shown}")
