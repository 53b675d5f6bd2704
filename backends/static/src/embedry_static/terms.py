"""Looks up the weights of the terms in a text: the query side of inference-free sparse models."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedry import IntegrityError, ModelSpec
from embedry.backend import Encoder, tensors, terms
from embedry.heads import TermTable

_WEIGHTS = 2**24
"""Weights of a batch, 64 MB, if every text in it has a single token."""


class TermEncoder(Encoder):
    """See `embedry.backend.Encoder`."""

    def __init__(self, spec: ModelSpec, folder: Path, *, threads: int) -> None:
        (module,) = (each for each in spec.body if isinstance(each, TermTable))
        vocabulary = terms(folder / module.tokenizer)
        if len(vocabulary) > module.outputs:
            raise IntegrityError(
                f"{folder / module.tokenizer} has token ids up to {len(vocabulary) - 1}, and the entry of {spec.name!r} weights "
                f"for 0 to {module.outputs - 1}: the files are of two different models"
            )
        self._table = _table(folder / module.weights, module.outputs, vocabulary)
        self.batch_tokens = max(1, _WEIGHTS // module.outputs)
        self.workers = threads
        self.info: Mapping[str, str] = {
            "engine": f"numpy {np.__version__}",
            "precision": "fp32",
            "workers": f"{threads} of 1 thread",
            "memory": f"{self._table.nbytes / 1e6:,.1f} MB of weights",
        }

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        """The weight of each distinct term in a text, float32 (batch, outputs)."""
        weights = np.zeros((len(ids), len(self._table)), dtype=np.float32)
        rows, columns = np.nonzero(mask)
        found = ids[rows, columns]
        weights[rows, found] = self._table[found]
        return weights


def _table(path: Path, outputs: int, vocabulary: list[str]) -> NDArray[np.float32]:
    """The weight of each term, float32 (outputs,).

    Raises:
        IntegrityError: the file has another format or an invalid weight.
    """
    table = _of_json(path, outputs, vocabulary) if path.suffix == ".json" else _of_tensor(path, outputs)
    if not (np.isfinite(table).all() and table.min() >= 0):
        raise IntegrityError(f"{path} has weights below 0 or not finite; a term's weight is neither")
    return table


def _of_tensor(path: Path, outputs: int) -> NDArray[np.float32]:
    stored = tensors(path)
    tensor = stored.get("weight")
    if tensor is None or tensor.shape != (outputs,):
        found = f"it is {tensor.shape}" if tensor is not None else f"it has {', '.join(sorted(stored))}"
        raise IntegrityError(f"{path} must have the tensor 'weight' of {(outputs,)}, and {found}")
    return tensor.values()


def _of_json(path: Path, outputs: int, vocabulary: list[str]) -> NDArray[np.float32]:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(stated, dict) or not all(isinstance(weight, int | float) for weight in stated.values()):
        raise IntegrityError(f"{path} must be an object of terms and their weights")
    ids = {term: number for number, term in enumerate(vocabulary)}
    table = np.zeros(outputs, dtype=np.float32)
    for term, weight in stated.items():
        if term not in ids:
            raise IntegrityError(
                f"{path} has a weight for {term!r}, which the tokenizer does not know: the files are of two different models"
            )
        table[ids[term]] = weight
    return table
