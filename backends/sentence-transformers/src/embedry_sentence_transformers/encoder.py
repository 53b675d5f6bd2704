"""Running a model of the library: over the pipeline's token ids, or over texts where the model reads them in its own way."""

from collections.abc import Mapping, Sequence
from functools import partial
from threading import Lock
from typing import TypeAlias

import numpy as np
import sentence_transformers
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedry.backend import Encoder, PairEncoder, TextEncoder
from embedry_torch.loading import precision
from embedry_torch.loading import threads as torch_threads

Ints: TypeAlias = NDArray[np.int32]
Floats: TypeAlias = NDArray[np.float32]

_CPU_BATCH_TOKENS = 512
_DEVICE_BATCH_TOKENS = 16_384


class ModuleEncoder(Encoder, PairEncoder):
    """See `embedry.backend.Encoder` and `PairEncoder`: the pipeline's ids go through the model's chain of modules.

    Args:
        model: in the library's own form, whatever its kind.
        name: what the library calls its results.
        threads: to compute with on a CPU.
        unpadded: whether only texts of one length go through together, for modules that do not look at the mask.
        one_by_one: whether no two texts go through together.
    """

    def __init__(
        self, model: SentenceTransformer, name: str, *, threads: int, unpadded: bool, one_by_one: bool
    ) -> None:
        self._model = model
        self._name = name
        self._unpadded = unpadded
        self._one_by_one = one_by_one
        self._on_cpu = model.device.type == "cpu"
        self._has_segments = getattr(model[0].config, "type_vocab_size", 0) > 1
        self.workers = threads if self._on_cpu else 1
        self._threads = torch_threads(threads if self._on_cpu else None)
        self.batch_tokens = _CPU_BATCH_TOKENS if self._on_cpu else _DEVICE_BATCH_TOKENS
        self.info: Mapping[str, str] = _info(model) | {"workers": str(self.workers)}

    def forward(self, ids: Ints, mask: Ints, *segments: Ints) -> Floats:
        """The results of a batch, float32, see `embedry.backend`."""
        return self._threads.narrow(partial(self._results, ids, mask, *segments))

    def forward_wide(self, ids: Ints, mask: Ints, *segments: Ints) -> Floats:
        """The same, on a CPU with all threads."""
        return self._threads.wide(partial(self._results, ids, mask, *segments))

    def _results(self, *arrays: Ints) -> Floats:
        if not self._unpadded and not self._one_by_one:
            return self._forward(*arrays)
        lengths = arrays[1].sum(axis=1)
        groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
        if self._one_by_one:
            groups = [rows[place : place + 1] for rows in groups for place in range(len(rows))]
        parts = [self._forward(*(array[rows, : lengths[rows[0]]] for array in arrays)) for rows in groups]
        return np.concatenate(parts)[np.argsort(np.concatenate(groups))]

    @torch.inference_mode()
    def _forward(self, *arrays: Ints) -> Floats:
        names = ("input_ids", "attention_mask", *(("token_type_ids",) if self._has_segments else ()))
        device = self._model.device
        features = {
            name: torch.from_numpy(array).to(device, torch.long) for name, array in zip(names, arrays, strict=False)
        }
        found: Floats = self._model(features)[self._name].float().cpu().numpy()
        return found


class OwnInputEncoder(TextEncoder):
    """See `embedry.backend.TextEncoder`: the model reads texts in its own way, prompt included."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self._lock = Lock()  # the tokenizer's cut is switched on and off for all who use it
        self.info: Mapping[str, str] = _info(model) | {"input": f"the model's own {type(model[0]).__name__}"}

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text by the model's tokenizer, before any cut."""
        tokenizer = self._model.tokenizer
        if hasattr(tokenizer, "encode_batch"):  # a plain tokenizer, as static models have
            return [len(encoding) for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        with self._lock:
            return [len(ids) for ids in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]

    def forward_texts(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """Vectors of texts that the prompt is put before, float32 (texts, dims), not normalised."""
        with self._lock:
            vectors = self._model.encode(
                list(texts), prompt=prompt, normalize_embeddings=False, show_progress_bar=False
            )
        return np.asarray(vectors, dtype=np.float32)


def _info(model: SentenceTransformer) -> dict[str, str]:
    return {
        "engine": f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}",
        "device": str(model.device),
        "precision": precision(model.dtype or torch.float32),
        "memory": f"{sum(tensor.nbytes for tensor in model.state_dict().values()) / 1e6:,.0f} MB of weights",
        "modules": ", ".join(type(module).__name__ for module in model.children()),
    }
