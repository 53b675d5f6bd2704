"""Reads the weights of a checkpoint strictly: missing or leftover tensors and wrong shapes raise an error."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedry import IntegrityError
from embedry.backend import Tensor, is_read, tensors


class Checkpoint:
    """Tensors of one or several safetensors files as float32, without the prefix of a model with a head."""

    def __init__(self, paths: Sequence[Path], prefixes: Sequence[str] = ()) -> None:
        self._where = ", ".join(map(str, paths))
        found: dict[str, Tensor] = {}
        for path in paths:
            shard = tensors(path)
            twice = sorted(found.keys() & shard)
            if twice:
                raise IntegrityError(f"the tensor {twice[0]!r} is in two files: {found[twice[0]].path} and {path}")
            found |= shard
        prefix = next((each for each in prefixes if any(name.startswith(each) for name in found)), "")
        self._tensors: dict[str, Tensor] = {}
        for name, tensor in found.items():
            short = name.removeprefix(prefix)
            if short in self._tensors:
                raise IntegrityError(
                    f"{self._where} has the tensor {short!r} twice, with and without the prefix {prefix!r}"
                )
            self._tensors[short] = tensor
        self._unread = set(self._tensors)

    def read(self, name: str, *shape: int) -> NDArray[np.float32]:
        """The tensor with this name and shape; -1 allows any length.

        Raises:
            IntegrityError: the tensor is missing or has another shape.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            raise IntegrityError(f"{self._where} has no tensor {name!r}")
        if len(tensor.shape) != len(shape) or any(
            wanted not in (-1, length) for wanted, length in zip(shape, tensor.shape, strict=True)
        ):
            raise IntegrityError(
                f"the tensor {name!r} of {self._where} is {tensor.shape}, and config.json says {shape}"
            )
        self._unread.discard(name)
        return tensor.values()

    def linear(self, name: str, inputs: int, outputs: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weight, transposed to (inputs, outputs), and the bias, (outputs,), of a linear layer."""
        return self.read(f"{name}.weight", outputs, inputs).T, self.read(f"{name}.bias", outputs)

    def mark_used(self, name: str, *shape: int) -> None:
        """Marks a required tensor as read, although no result depends on it."""
        self.read(name, *shape)

    def has(self, name: str) -> bool:
        """Whether the tensor exists."""
        return name in self._tensors

    def check_all_read(self, architecture: str = "", heads: Sequence[str] = ()) -> None:
        """Raises IntegrityError if there are trained values that the model's configuration does not account for.

        Args:
            architecture: of the encoder that was read, which may have parts of its own that do not matter.
            heads: how names begin of parts that matter here, though token vectors do not depend on them.
        """
        left = sorted(name for name in self._unread if is_read(name, architecture) or name.startswith(tuple(heads)))
        if left:
            shown = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
            raise IntegrityError(f"{self._where} has tensors that config.json does not account for: {shown}")
