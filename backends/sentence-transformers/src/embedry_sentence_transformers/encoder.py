"""Running a model of the library: over the pipeline's token ids, or over texts where the model reads them in its own way."""

from collections.abc import Mapping, Sequence
from functools import partial
from threading import Lock

import numpy as np
import sentence_transformers
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedry.backend import Encoder, TextEncoder
from embedry_torch.loading import precision
from embedry_torch.loading import threads as torch_threads

_CPU_BATCH_TOKENS = 512
_DEVICE_BATCH_TOKENS = 16_384


class ModuleEncoder(Encoder):
    """See `embedry.backend.Encoder`: the pipeline's ids go through the model's chain of modules.

    With `unpadded` only texts of one length go through together, for modules that do not look at the mask.
    """

    def __init__(self, model: SentenceTransformer, *, threads: int, unpadded: bool) -> None:
        self._model = model
        self._unpadded = unpadded
        self._on_cpu = model.device.type == "cpu"
        self.workers = threads if self._on_cpu else 1
        self._threads = torch_threads(threads if self._on_cpu else None)
        self.batch_tokens = _CPU_BATCH_TOKENS if self._on_cpu else _DEVICE_BATCH_TOKENS
        self.info: Mapping[str, str] = _info(model) | {"workers": str(self.workers)}

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        """Pooled vectors of a batch, float32 (batch, dims)."""
        return self._threads.narrow(partial(self._vectors, ids, mask))

    def forward_wide(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        """The same, on a CPU with all threads."""
        return self._threads.wide(partial(self._vectors, ids, mask))

    def _vectors(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        if not self._unpadded:
            return self._forward(ids, mask)
        lengths = mask.sum(axis=1)
        groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
        parts = [self._forward(ids[rows, : lengths[rows[0]]], mask[rows, : lengths[rows[0]]]) for rows in groups]
        return np.concatenate(parts)[np.argsort(np.concatenate(groups))]

    @torch.inference_mode()
    def _forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        device = self._model.device
        features = {
            "input_ids": torch.from_numpy(ids).to(device, torch.long),
            "attention_mask": torch.from_numpy(mask).to(device, torch.long),
        }
        pooled: NDArray[np.float32] = self._model(features)["sentence_embedding"].float().cpu().numpy()
        return pooled


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
