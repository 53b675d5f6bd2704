"""Runs a model of the library on the pipeline's token ids, or on texts if the model has custom input handling."""

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
        model: a model of the library, of any kind.
        name: the library's name for its results.
        threads: the number of CPU threads.
        unpadded: whether a batch only has texts of one length, for modules that ignore the mask.
        one_by_one: whether each batch has one text.
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
        """The same, with all threads on a CPU."""
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
    """See `embedry.backend.TextEncoder`: for models with custom input handling, including prompts."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self._lock = Lock()  # truncation is a shared setting of the tokenizer
        self.info: Mapping[str, str] = _info(model) | {"input": f"the model's own {type(model[0]).__name__}"}

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text by the model's tokenizer, before truncation."""
        tokenizer = self._model.tokenizer
        if hasattr(tokenizer, "encode_batch"):  # a plain tokenizer, as in static models
            return [len(encoding) for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        with self._lock:
            return [len(ids) for ids in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]

    def forward_texts(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """The vectors of texts with the prompt, float32 (texts, dims), not normalized."""
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
