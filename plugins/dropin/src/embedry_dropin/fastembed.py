"""`TextEmbedding` with the API of fastembed 0.9."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from embedry import LazyEmbedder, ModelSpec, OptionError, UnknownOptionError, list_models, resolve
from embedry_dropin.unsupported import check_positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

_NORMALIZED = {
    "intfloat/multilingual-e5-large": False,
    "nomic-ai/nomic-embed-text-v1": False,
    "jinaai/jina-embeddings-v2-base-code": True,
    "jinaai/jina-embeddings-v2-base-en": True,
    "jinaai/jina-embeddings-v2-small-en": True,
    "mixedbread-ai/mxbai-embed-large-v1": True,
}
"""Whether fastembed scales a model's vectors to unit length, for models whose own files say the opposite."""

_UNSUPPORTED = {
    "local_files_only": "set HF_HUB_OFFLINE=1 in the environment",
    "enable_cpu_mem_arena": "leave it out",
    "mmap": "leave it out",
}
"""Arguments that fastembed passes to its classes. Values that request nothing, such as False, are accepted."""


class TextEmbedding:
    """An embedry model with the constructor, methods and results of `fastembed.TextEmbedding`.

    Vectors differ from fastembed's only as far as the model files differ; some of fastembed's files are quantized. As in
    fastembed, texts get no prompt, and vectors are scaled to unit length or not depending on the model.

    Args:
        model_name: a name or a repository, as for `embedry.resolve`; case-insensitive.
        cache_dir: as for `resolve`.
        threads: as for `resolve`.
        providers: names of ONNX Runtime providers. The first one selects the CPU or CUDA. CUDA uses the backend
            `transformers` in fp32.
        cuda: True or "cuda" for CUDA. The default is the CPU.
        device_ids: the number of the GPU; at most one.
        lazy_load: load on first use instead of in the constructor.
        **kwargs: `specific_model_path` is a folder with the model files.

    Raises:
        OptionError, UnknownOptionError: an argument has an unsupported value, or does not exist.
        As `embedry.resolve`, and as `load` of the embedder.
    """

    def __init__(
        self,
        model_name: str = "BAAI/bge-small-en-v1.5",
        cache_dir: str | None = None,
        threads: int | None = None,
        providers: Sequence[Any] | None = None,
        cuda: bool | str = "auto",
        device_ids: list[int] | None = None,
        lazy_load: bool = False,
        **kwargs: Any,
    ) -> None:
        folder = kwargs.pop("specific_model_path", None)
        for name, value in kwargs.items():
            if name not in _UNSUPPORTED:
                raise UnknownOptionError(f"TextEmbedding has no argument {name!r}")
            if value:
                raise OptionError(f"{name}={value!r} is not supported; {_UNSUPPORTED[name]}")
        device = _device(providers, cuda, device_ids)
        on_gpu = device is not None
        self.model_name = model_name
        self.embedder: LazyEmbedder = resolve(
            model_name,
            backend="transformers" if on_gpu else None,
            device=device,
            precision="fp32" if on_gpu else None,
            normalize=_NORMALIZED.get(model_name.lower()),
            threads=threads,
            folder=folder,
            cache_dir=cache_dir,
        )
        """The embedder from `embedry.resolve`, for features that fastembed does not have."""
        if not lazy_load:
            self.embedder.load()

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        """The registered models, with the same keys as in fastembed, such as "model", "dim" and "description"."""
        return [_description(spec) for spec in list_models() if spec.kind == "dense"]

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """The length of a model's vectors. Does not load the model. Raises as `embedry.resolve`."""
        return resolve(model_name).dims

    @classmethod
    def add_custom_model(cls, *_: Any, **__: Any) -> NoReturn:
        """Not supported. Raises OptionError."""
        raise OptionError(
            "add_custom_model is not supported: a folder or a repository with safetensors needs no entry, "
            "TextEmbedding('organization/name'); embedry.register(ModelSpec(...)) adds one"
        )

    @property
    def embedding_size(self) -> int:
        """The length of the vectors."""
        return self.embedder.dims

    def embed(
        self, documents: str | Iterable[str], batch_size: int = 256, parallel: int | None = None, **kwargs: Any
    ) -> "Iterator[NDArray[np.float32]]":
        """Streams the vectors of texts, float32 (dims,), in order. Starts reading and encoding with the first `next`.

        Args:
            documents: a text, or an iterable of texts.
            batch_size: has no effect: batches are made by number of tokens.
            parallel: has no effect: one process uses all CPU cores.
            **kwargs: `show_progress_bar` and the like have no effect.

        Raises:
            OptionError: `batch_size` is not a positive integer.
            TextTypeError, TextError: a text is not a `str`, or not valid Unicode.
        """
        check_positive("batch_size", batch_size)
        texts = [documents] if isinstance(documents, str) else documents
        for block in self.embedder.encode_stream(texts, role="unprompted"):
            yield from block

    def query_embed(self, query: str | Iterable[str], **kwargs: Any) -> "Iterator[NDArray[np.float32]]":
        """Same as `embed`: as in fastembed, queries get no prompt. `self.embedder.encode_query` adds it."""
        return self.embed(query, **kwargs)

    def passage_embed(self, texts: str | Iterable[str], **kwargs: Any) -> "Iterator[NDArray[np.float32]]":
        """Same as `embed`: as in fastembed, documents get no prompt. `self.embedder.encode_document` adds it."""
        return self.embed(texts, **kwargs)

    def token_count(self, texts: str | Iterable[str], batch_size: int = 1024, **kwargs: Any) -> int:
        """The total number of tokens that the model reads, including special tokens. Raises as `embed`."""
        check_positive("batch_size", batch_size)
        counts = self.embedder.count_tokens([texts] if isinstance(texts, str) else texts, role="unprompted")
        return sum(min(count, self.embedder.max_seq_length) for count in counts)


def _device(providers: Sequence[Any] | None, cuda: bool | str, device_ids: list[int] | None) -> str | None:
    """The GPU that the arguments select; None for the CPU."""
    first = providers[0] if providers else _CPU
    provider = first[0] if isinstance(first, tuple) else first
    if provider not in (_CPU, _CUDA):
        raise OptionError(f"providers must start with {_CPU!r} or {_CUDA!r}, got {provider!r}")
    if device_ids is not None and len(device_ids) > 1:
        raise OptionError(
            f"device_ids={device_ids!r} is not supported: a model computes on one GPU, and uses all of it"
        )
    if provider == _CPU and cuda not in (True, "cuda"):
        return None
    return f"cuda:{device_ids[0]}" if device_ids else "cuda"


def _description(spec: ModelSpec) -> dict[str, Any]:
    return {
        "model": spec.repo or spec.name,
        "sources": {"hf": spec.repo, "url": None, "_deprecated_tar_struct": False},
        "model_file": spec.weights[0] if spec.weights else "model.safetensors",
        "description": spec.description,
        "license": spec.license.lower(),
        "size_in_GB": (spec.size_mb or 0) / 1000,
        "additional_files": [],
        "dim": spec.dims,
        "tasks": {},
    }
