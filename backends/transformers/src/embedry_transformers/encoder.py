"""Running a loaded model: padded batches everywhere, packed ones on CUDA, and memory that runs out is not the end."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import PreTrainedModel

from embedry import BackendError
from embedry.backend import Encoder
from embedry_torch.loading import precision
from embedry_torch.loading import threads as torch_threads
from embedry_transformers import packing
from embedry_transformers.chain import Body

_CPU_BATCH_TOKENS = 512
_DEVICE_BATCH_TOKENS = 32_768
"""Padded tokens a batch. On a CPU small batches stay in its caches; an accelerator wants enough to fill it."""


class TorchEncoder(Encoder):
    """See `embedry.backend.Encoder`.

    On the CPU each of the pipeline's workers computes its batches on one thread, and several run at the same time. A batch
    that comes alone, such as a query, is computed on all threads. On a device two workers take turns, so that one prepares
    a batch while the other's is computed.
    """

    def __init__(self, model: PreTrainedModel, body: Body, *, threads: int) -> None:
        self._model = model
        self._body = body
        self._on_cpu = model.device.type == "cpu"
        self._packed = body.mode in packing.POOLINGS and packing.possible(model)
        if self._packed:
            packing.prepare(model)
        self.workers = threads if self._on_cpu else 2
        self._threads = torch_threads(threads if self._on_cpu else None)
        self.batch_tokens = _CPU_BATCH_TOKENS if self._on_cpu else _DEVICE_BATCH_TOKENS
        self.info: Mapping[str, str] = {
            "engine": f"torch {torch.__version__}, transformers {transformers.__version__}",
            "device": str(model.device),
            "precision": precision(model.dtype),
            "attention": "packed, without padding" if self._packed else str(model.config._attn_implementation),
            "workers": f"{self.workers} of 1 thread, or 1 of {threads}" if self._on_cpu else str(self.workers),
            "memory": f"{model.get_memory_footprint() / 1e6:,.0f} MB of weights",
        }

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        """Pooled vectors of a batch, float32 (batch, dims). Where memory runs out the batch is halved."""
        return self._threads.narrow(partial(self._forward, ids, mask))

    def forward_wide(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        """The same, on a CPU with all threads."""
        return self._threads.wide(partial(self._forward, ids, mask))

    @torch.inference_mode()
    def _forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        try:
            pooled = self._pooled(ids, mask)
        except torch.OutOfMemoryError as error:
            if len(ids) == 1:
                raise BackendError(
                    f"one text of {ids.shape[1]} tokens does not fit into the memory of {self._model.device}: {error}"
                ) from error
        else:
            vectors: NDArray[np.float32] = pooled.float().cpu().numpy()
            return vectors
        # Outside the handler, whose traceback would keep the tensors of the failed attempt alive.
        torch.cuda.empty_cache()
        half = len(ids) // 2
        return np.concatenate(
            [self._forward(*_trimmed(ids[part], mask[part])) for part in (slice(half), slice(half, None))]
        )

    def _pooled(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> torch.Tensor:
        if self._packed:
            return self._body.after_pooling(packing.pooled(self._model, ids, mask, self._body.mode))
        device = self._model.device
        inputs = torch.from_numpy(ids).to(device, torch.long), torch.from_numpy(mask).to(device, torch.long)
        return self._body(self._model(input_ids=inputs[0], attention_mask=inputs[1])[0], inputs[1])


def _trimmed(ids: NDArray[np.int32], mask: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    width = int(mask.sum(axis=1).max())
    return ids[:, :width], mask[:, :width]
