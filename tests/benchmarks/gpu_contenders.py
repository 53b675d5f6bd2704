"""What is measured on a device, each in a process of its own: embedry, sentence-transformers, and matrix products alone."""

import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import numpy as np
from apart import Apart
from contenders import MAX_TOKENS
from gpu_files import Size
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Found = TypeVar("Found")

Ask = Callable[..., Any]
"""Takes a function of a contender and its other arguments, and has the contender's process call it."""

LARGE = 8192
"""Rows and columns of the large product."""
SMALL = 512
"""The same on a CPU."""
MODEL_TOKENS = 32_768
"""Rows of the products of the model's own shapes, a batch of the backend's on a device; on a CPU as many as `SMALL`."""


class Embedry:
    """This library on the transformers backend."""

    def __init__(self, model: str, device: str, precision: str, **options: Any) -> None:
        from embedry import resolve

        self._model = model
        self._options = {"device": device, "precision": precision}
        self.embedder: Any = resolve(model, backend="transformers", **self._options, **options)  # type: ignore[arg-type]
        self.embedder.load()

    @cached_property
    def padded(self) -> "Embedry":
        """The same with padding in all batches, loaded when it is asked for first."""
        from embedry_transformers import packing

        with patch.object(packing, "possible", return_value=False):
            # Another number of threads, which a GPU does not use, makes it an engine of its own.
            return Embedry(self._model, **self._options, threads=1)

    def encode_documents(self, texts: list[str]) -> NDArray[np.float32]:
        """float32 (number of texts, dims)."""
        vectors: NDArray[np.float32] = self.embedder.encode_document(texts)
        return vectors

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """float32 (dims,)."""
        vector: NDArray[np.float32] = self.embedder.encode_query([text])[0]
        return vector


class Library:
    """sentence-transformers, with its default settings or with another number of texts a batch."""

    def __init__(self, model: Path, device: str, precision: str) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
        self._model = SentenceTransformer(str(model), device=device, model_kwargs={"dtype": dtype})
        # The bare folder of all-MiniLM-L6-v2 does not say how many tokens it reads.
        self._model.max_seq_length = min(MAX_TOKENS, self._model.max_seq_length or MAX_TOKENS)
        self.options: dict[str, Any] = {}

    def encode_documents(self, texts: list[str]) -> NDArray[np.float32]:
        """float32 (number of texts, dims)."""
        return np.asarray(self._model.encode(texts, **self.options), dtype=np.float32)

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """float32 (dims,)."""
        return np.asarray(self._model.encode_query(text), dtype=np.float32)


class Products:
    """Matrix products by torch, in one precision, of random numbers: a large square one, and those of the model's own shapes."""

    def __init__(self, device: str, precision: str, size: Size) -> None:
        import torch

        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        side = LARGE if on_gpu else SMALL
        make = partial(torch.randn, device=self._device, dtype=dtype)
        square = (side, side)
        shapes = [(size.hidden, size.hidden)] * 4 + [(size.hidden, size.inner), (size.inner, size.hidden)]
        tokens = MODEL_TOKENS if on_gpu else SMALL
        # Scaled so that values neither grow nor vanish.
        self._chains = {
            "large": (make(square), [make(square) / side**0.5]),
            "model": (make((tokens, size.hidden)), [make(shape) / shape[0] ** 0.5 for shape in shapes]),
        }

    def rate(self, which: str, least: float) -> float:
        """TFLOP/s of the products of a chain, multiplied for at least so many seconds."""
        first, factors = self._chains[which]
        flops = sum(2.0 * len(first) * each.shape[0] * each.shape[1] for each in factors)
        self._multiply(first, factors, 3)
        count, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < least:
            self._multiply(first, factors, 10)
            count += 10
        return float(count * flops / passed / 1e12)

    def _multiply(self, value: "torch.Tensor", factors: "list[torch.Tensor]", times: int) -> None:
        for _ in range(times):
            for factor in factors:
                value = value @ factor
        synchronize(self._device)


def synchronize(device: "torch.device") -> None:
    """Waits for what the device was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Processes:
    """Contenders by name, each started when it is asked for first; a `with` block ends them."""

    def __init__(self) -> None:
        self._running: dict[str, Apart] = {}

    def get(self, name: str, load: Callable[[], Any]) -> Ask:
        """A contender's process, as what asks it. Raises what loading raised."""
        (found,) = self.all({name: load})
        return found

    def all(self, loads: Mapping[str, Callable[[], Any]]) -> list[Ask]:
        """Those of several contenders, which load at the same time."""
        new = [name for name in loads if name not in self._running]
        for name in new:
            self._running[name] = Apart(name, loads[name])
        try:
            for name in new:
                self._running[name].wait_until_loaded()
        except BaseException:
            self.end(*new, broken=True)
            raise
        return [self._running[name] for name in loads]

    def end(self, *names: str, broken: bool = False) -> None:
        """Ends processes, without names all; broken ones are not waited for."""
        for name in names or tuple(self._running):
            self._running.pop(name).__exit__(RuntimeError if broken else None, None, None)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(broken=kind is not None)


def rate_of(products: Any, which: str, least: float) -> float:
    """See `Products.rate`."""
    return float(products.rate(which, least))


def with_batches(contender: Any, batch: int | None, work: Callable[..., Found], *arguments: Any) -> Found:
    """What `work` finds for the contender with so many texts a batch; None leaves that to it."""
    if batch is None:
        return work(contender, *arguments)
    contender.options = {"batch_size": batch}
    try:
        return work(contender, *arguments)
    finally:
        contender.options = {}


def of_padded(contender: Any, work: Callable[..., Found], *arguments: Any) -> Found:
    """What `work` finds for embedry with padding in all batches."""
    return work(contender.padded, *arguments)


def info_of(contender: Any) -> dict[str, str]:
    """What embedry says of itself."""
    return dict(contender.embedder.info)


def vectors_of(contender: Any, texts: list[str]) -> NDArray[np.float32]:
    """Vectors of some texts."""
    vectors: NDArray[np.float32] = contender.encode_documents(texts)
    return vectors


def memory_of(contender: Any, device: str, texts: list[str]) -> tuple[float, float, float] | None:
    """What torch takes of the device's memory, in MB: before these texts, at most while they are encoded, and what it then holds.

    None on a CPU.
    """
    import torch

    place = torch.device(device)
    if place.type != "cuda":
        contender.encode_documents(texts)
        return None
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(place)
    torch.cuda.reset_peak_memory_stats(place)
    contender.encode_documents(texts)
    return before / 1e6, torch.cuda.max_memory_allocated(place) / 1e6, torch.cuda.max_memory_reserved(place) / 1e6
