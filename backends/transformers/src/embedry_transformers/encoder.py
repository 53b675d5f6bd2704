"""Runs a loaded model: padded batches, packed batches on CUDA, and recovery from out-of-memory errors."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import PreTrainedModel

from embedry import BackendError
from embedry.backend import Encoder, PairEncoder
from embedry.chains import Kind
from embedry_torch.loading import precision
from embedry_torch.loading import threads as torch_threads
from embedry_transformers import packing, transfers
from embedry_transformers.chain import Body, Head

Ints: TypeAlias = NDArray[np.int32]
Floats: TypeAlias = NDArray[np.float32]

_CPU_BATCH_TOKENS = 512
_DEVICE_BATCH_TOKENS = 32_768
"""Padded tokens a batch. On a CPU small batches stay in its caches; an accelerator wants enough to fill it."""

_PACKED_BATCH_TOKENS = 65_536
"""The same without padding, of real tokens: an H100 computes them no faster than half as many, but Python's part of a batch, 5 to 9
ms, weighs less."""

_SPARSE_BATCH_TOKENS = 8192
"""The same where each text has a number for each term of the vocabulary: a thousand texts have a gigabyte of XLM-RoBERTa's."""


class TorchEncoder(Encoder, PairEncoder):
    """See `embedry.backend.Encoder` and `PairEncoder`.

    On the CPU, each of the pipeline's workers computes its batches on one thread, and several run concurrently. A single batch,
    such as a query, uses all threads. On a device, two workers alternate: one prepares a batch while the other computes.
    """

    def __init__(
        self, model: PreTrainedModel, head: Head, *, threads: int, kind: Kind = "dense", one_by_one: bool = False
    ) -> None:
        """Takes a model and its head; with `one_by_one`, each batch has one text."""
        self._model = model
        self._head = head
        self._kind = kind
        self._one_by_one = one_by_one
        self._on_cpu = model.device.type == "cpu"
        self._packed: Body | None = None
        if kind == "dense" and isinstance(head, Body) and head.mode in packing.POOLINGS and packing.possible(model):
            packing.prepare(model)
            self._packed = head
        self.packs = self._packed is not None
        self._has_segments = getattr(model.config, "type_vocab_size", 0) > 1
        self.workers = threads if self._on_cpu else 2
        self._threads = torch_threads(threads if self._on_cpu else None)
        self.batch_tokens = self._tokens_a_batch()
        self.info: Mapping[str, str] = {
            "engine": f"torch {torch.__version__}, transformers {transformers.__version__}",
            "device": str(model.device),
            "precision": precision(model.dtype),
            "attention": "packed, without padding" if self.packs else str(model.config._attn_implementation),
            "workers": f"{self.workers} of 1 thread, or 1 of {threads}" if self._on_cpu else str(self.workers),
            "memory": f"{model.get_memory_footprint() / 1e6:,.0f} MB of weights",
        }

    def _tokens_a_batch(self) -> int:
        if self._on_cpu:
            return _CPU_BATCH_TOKENS
        if self.packs:
            return _PACKED_BATCH_TOKENS
        return _SPARSE_BATCH_TOKENS if self._kind == "sparse" else _DEVICE_BATCH_TOKENS

    def forward(self, ids: Ints, mask: Ints, *segments: Ints) -> Floats:
        """The results of a batch, float32, see `embedry.backend`. Halves the batch if memory runs out."""
        return self._threads.narrow(partial(self._forward, ids, mask, *segments))

    def forward_wide(self, ids: Ints, mask: Ints, *segments: Ints) -> Floats:
        """The same, with all threads on a CPU."""
        return self._threads.wide(partial(self._forward, ids, mask, *segments))

    @torch.inference_mode()
    def _forward(self, *arrays: Ints) -> Floats:
        count = len(arrays[0])
        if self._one_by_one and count > 1:
            return self._in_parts(arrays, range(count + 1))
        try:
            found = self._pooled(*arrays)
        except torch.OutOfMemoryError as error:
            if count == 1:
                raise BackendError(
                    f"one text of {arrays[0].shape[1]} tokens does not fit into the memory of {self._model.device}: {error}"
                ) from error
        else:
            return transfers.to_host(found)
        # Outside the handler, whose traceback would keep the tensors of the failed attempt alive.
        torch.cuda.empty_cache()
        return self._in_parts(arrays, (0, count // 2, count))

    def _in_parts(self, arrays: Sequence[Ints], bounds: Sequence[int]) -> Floats:
        parts = [[array[start:end] for array in arrays] for start, end in pairwise(bounds)]
        if self._kind != "multi_vector":  # of which every position has a result
            parts = [_trimmed(part) for part in parts]
        return np.concatenate([self._forward(*part) for part in parts])

    def _pooled(self, ids: Ints, mask: Ints, *segments: Ints) -> torch.Tensor:
        if self._packed is not None:
            return self._packed.after_pooling(packing.pooled(self._model, ids, mask, self._packed.mode))
        names = ("input_ids", "attention_mask", *(("token_type_ids",) if self._has_segments else ()))
        inputs = {name: self._on_device(array) for name, array in zip(names, (ids, mask, *segments), strict=False)}
        return self._head(self._model(**inputs)[0], inputs["input_ids"], inputs["attention_mask"])

    def _on_device(self, array: Ints) -> torch.Tensor:
        return transfers.to_device(array, self._model.device).long()


def _trimmed(arrays: list[Ints]) -> list[Ints]:
    width = int(arrays[1].sum(axis=1).max())
    return [array[:, :width] for array in arrays]
