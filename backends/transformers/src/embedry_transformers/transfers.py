"""Copies between the host and a device that do not wait for what the device computes meanwhile.

The two workers of an encoder share the device's stream. A copy from or to ordinary memory waits for everything in the stream, so
that a worker could not prepare its next batch while the other one's is computed. A copy from or to pinned memory does not
(https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html).
"""

import numpy as np
import torch
from numpy.typing import NDArray


def to_device(array: NDArray[np.int32], device: torch.device) -> torch.Tensor:
    """The array on the device, in stream order."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: torch.Tensor) -> NDArray[np.float32]:
    """The values as float32, as soon as they are computed."""
    values = tensor.float()
    if tensor.device.type != "cuda":
        found: NDArray[np.float32] = values.cpu().numpy()
        return found
    pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    pinned.copy_(values, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(tensor.device))
    copied.synchronize()
    result: NDArray[np.float32] = pinned.numpy()
    return result
