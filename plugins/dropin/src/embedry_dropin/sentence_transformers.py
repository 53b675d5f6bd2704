"""`SentenceTransformer` with the API of sentence-transformers 6."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from embedry import OptionError, UnknownOptionError
from embedry.spec import SIMILARITIES, Similarity
from embedry_dropin import loading, unsupported, vectors
from embedry_dropin.base_model import BaseModel

Method = TypeVar("Method", bound=Callable[..., Any])

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")

_log = logging.getLogger(__name__)


def _old_names(method: Method) -> Method:
    """Makes a method accept `sentences=`, the former name of `inputs` in the library."""

    @wraps(method)
    def call(*args: Any, **given: Any) -> Any:
        if "sentences" in given:
            given.setdefault("inputs", given.pop("sentences"))
        return method(*args, **given)

    return cast("Method", call)


class SentenceTransformer(BaseModel):
    """An embedry model with the constructor, methods and results of `sentence_transformers.SentenceTransformer`.

    Vectors agree with those of the library to 1e-5 in each component. Unsupported features raise an error that says what to
    do instead. `similarity` and `device` return torch objects if torch is installed, as in the library; otherwise, they
    return a NumPy array and a `str`. Nothing else imports torch.

    Once any code has imported sentence-transformers, instances pass `isinstance` checks for the library's class, because
    `__class__` returns it, as objects of `unittest.mock` do.

    Args:
        model_name_or_path: a name or a repository, as for `embedry.resolve`; "sentence-transformers/" may be omitted. Or
            a folder.
        modules: not supported.
        device: "cpu", or a torch device, which uses the backend `transformers` unless `backend` names another; by default
            the backend's choice.
        prompts: prompts by name, which replace those in the model's entry or files. An entry has the prompts that the model
            was trained with, even if the repository's files have none; `{"query": "", "document": ""}` disables them.
        default_prompt_name: the name of the prompt for calls with neither `prompt` nor `prompt_name`.
        cache_folder: `cache_dir` of `resolve`.
        trust_remote_code: has no effect: embedry never runs code from a repository.
        revision: must be the commit that the entry is pinned to, if passed.
        local_files_only, token, use_auth_token: not supported; see `HF_HUB_OFFLINE` and `HF_TOKEN`.
        model_kwargs: may contain "dtype" or "torch_dtype": float32 (the default), float16, bfloat16, or "auto" for the
            backend's choice on the device.
        processor_kwargs, config_kwargs, model_card_data: not supported.
        backend: "torch", "onnx", "openvino", or a backend of embedry; by default the choice of `resolve`.
        similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan"; by default the model's.
        truncate_dim: return only the first components; see `encode`.

    Raises:
        OptionError: an argument has an unsupported value.
        As `embedry.resolve`, and as `load` of the embedder.
    """

    def __init__(
        self,
        model_name_or_path: str | Path | None = None,
        *,
        similarity_fn_name: Any = None,
        truncate_dim: int | None = None,
        **others: Any,
    ) -> None:
        if truncate_dim is not None:
            unsupported.check_positive("truncate_dim", truncate_dim)
        similarity = None if similarity_fn_name is None else _checked(similarity_fn_name)
        super().__init__(model_name_or_path, **others)
        self.truncate_dim = truncate_dim
        """How many components of each vector to return; None for all."""
        self._similarity = similarity or self.embedder.spec.similarity

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The class of the library if it has been imported, for `isinstance` checks; otherwise this class."""
        return getattr(sys.modules.get("sentence_transformers"), "SentenceTransformer", type(self))

    @_old_names
    def encode(
        self,
        inputs: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: dict[str, Any] | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """The vectors of texts.

        Args:
            inputs: a text, or any number of them.
            prompt_name: which of `prompts` to prepend to each text; by default `default_prompt_name`.
            prompt: the prompt itself; `prompt_name` is then ignored.
            batch_size: has no effect: batches are made by number of tokens.
            show_progress_bar: by default if this module's logger is at the level INFO or DEBUG.
            output_value: only "sentence_embedding".
            precision: "float32"; or "int8", "uint8", "binary" or "ubinary", in which finished vectors are stored.
            convert_to_numpy: return an array; False for a list of tensors.
            convert_to_tensor: return a tensor; overrides `convert_to_numpy`.
            device: the device for this call; by default that of the model. Several different devices raise an error.
            normalize_embeddings: scale vectors to unit length, after they are shortened.
            truncate_dim: how many components of each vector to return; by default `truncate_dim` of the model. The model need
                not be trained for it. Shortened vectors do not have unit length.
            pool: has no effect: one process uses all CPU cores.
            chunk_size: has no effect.
            **kwargs: `task`, which has no effect.

        Returns:
            For several texts, a float32 array (texts, dims), or an empty array (0,) if there are none; for one `str`, an array
            (dims,). Or a tensor of that shape, or a list of tensors (dims,), as requested. For other values of `precision`, int8
            or uint8 (texts, dims) or (texts, ceil(dims / 8)).

        Raises:
            OptionError, UnknownOptionError: an argument has an unsupported value, or does not exist.
            TextTypeError, TextError: an input is not a `str`, or not valid Unicode.
        """
        kwargs.pop("task", None)
        for name in kwargs:
            raise UnknownOptionError(f"encode has no argument {name!r}")
        unsupported.check_positive("batch_size", batch_size)
        if output_value != "sentence_embedding":
            raise OptionError(
                f"output_value={output_value!r} is not supported, only 'sentence_embedding'; embedry.resolve_multi_vector gives "
                "vectors of tokens, of models that are trained for it"
            )
        form = vectors.Form(
            dims=self.truncate_dim if truncate_dim is None else truncate_dim,
            normalize=normalize_embeddings,
            precision=precision,
            to_numpy=convert_to_numpy,
            to_tensor=convert_to_tensor,
        )
        if show_progress_bar is None:
            show_progress_bar = _log.getEffectiveLevel() in (logging.INFO, logging.DEBUG)
        embedder = loading.prompted(self._on(device), self._prompt(prompt, prompt_name))
        texts = [inputs] if isinstance(inputs, str) else inputs
        found = form.of(embedder.encode(texts, role="prompt", progress=show_progress_bar))
        return found[0] if isinstance(inputs, str) else found

    @_old_names
    def encode_query(
        self, inputs: Any, prompt_name: str | None = None, prompt: str | None = None, *others: Any, **named: Any
    ) -> Any:
        """Calls `encode` with the prompt "query" by default. Other arguments as in `encode`."""
        if prompt_name is None and prompt is None and "query" in self.prompts:
            prompt_name = "query"
        return self.encode(inputs, prompt_name, prompt, *others, **named)

    @_old_names
    def encode_document(
        self, inputs: Any, prompt_name: str | None = None, prompt: str | None = None, *others: Any, **named: Any
    ) -> Any:
        """Calls `encode` with the prompt "document" by default, or else "passage" or "corpus", whichever exists first."""
        if prompt_name is None and prompt is None:
            prompt_name = next((name for name in _DOCUMENT_PROMPTS if name in self.prompts), None)
        return self.encode(inputs, prompt_name, prompt, *others, **named)

    @property
    def similarity_fn_name(self) -> Similarity:
        """The similarity function: "cosine", "dot", "euclidean" or "manhattan"."""
        return self._similarity

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: Any) -> None:
        self._similarity = _checked(value)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The similarities of all pairs of two sets of vectors: float32 (n, m), a CPU tensor if torch is installed."""
        left, right = vectors.as_array(embeddings1), vectors.as_array(embeddings2)
        return vectors.as_tensor(vectors.matrix(self.similarity_fn_name, left, right))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The similarities of vectors at the same positions: float32 (n,), a CPU tensor if torch is installed."""
        left, right = vectors.as_array(embeddings1), vectors.as_array(embeddings2)
        return vectors.as_tensor(vectors.pairwise(self.similarity_fn_name, left, right))

    def get_embedding_dimension(self) -> int:
        """The length of the vectors that `encode` returns."""
        return self.embedder.dims if self.truncate_dim is None else min(self.embedder.dims, self.truncate_dim)

    get_sentence_embedding_dimension = get_embedding_dimension

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Changes `truncate_dim` within the context."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings

    def start_multi_process_pool(self, target_devices: list[Any] | None = None) -> dict[str, Any]:
        """Returns a pool without processes for `encode`. Several different devices raise an error."""
        loading.single_device(target_devices)
        return {"input": None, "output": None, "processes": []}

    @staticmethod
    def stop_multi_process_pool(pool: dict[str, Any]) -> None:
        """Does nothing: the pool has no processes."""


def _checked(similarity: Any) -> Similarity:
    name: Similarity = getattr(similarity, "value", similarity)  # also accepts the library's enum
    if name not in SIMILARITIES:
        raise OptionError(f"similarity_fn_name must be one of {', '.join(SIMILARITIES)}, got {similarity!r}")
    return name
