"""The counterpart of the base class in sentence-transformers: loading, prompts, maximum length and device."""

import math
from pathlib import Path
from typing import Any, NoReturn, Self

from embedry import NO_LIMIT, LazyEmbedder, OptionError
from embedry_dropin import loading, unsupported, vectors


class BaseModel:
    """A loaded model; see `SentenceTransformer` for the arguments and the errors of the constructor."""

    def __init__(
        self,
        model_name_or_path: str | Path | None = None,
        *,
        device: Any = None,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | Path | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        model_kwargs: dict[str, Any] | None = None,
        backend: str | None = None,
        **others: Any,
    ) -> None:
        unsupported.check_arguments(others)
        self._engine = loading.EngineChoice(backend, loading.precision(model_kwargs or {}))
        options = self._engine.options(device)
        self.embedder: LazyEmbedder = loading.resolved(model_name_or_path, revision, cache_folder, options)
        """The embedder from `embedry.resolve`, for features that sentence-transformers does not have."""
        self.prompts = {"query": "", "document": "", **self.embedder.spec.prompts, **(prompts or {})}
        """Prompts by name. A prompt is prepended to each text."""
        self.default_prompt_name = default_prompt_name or loading.default_prompt_name(self.embedder)
        """The name of the prompt that `encode` uses by default."""
        if self.default_prompt_name is not None and self.default_prompt_name not in self.prompts:
            raise OptionError(
                f"default_prompt_name={self.default_prompt_name!r} names none of the prompts {', '.join(self.prompts)}"
            )
        self.embedder.load()

    def _prompt(self, prompt: str | None, name: str | None) -> str:
        if prompt is not None:
            return prompt
        name = name if name is not None else self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            raise OptionError(f"prompt_name={name!r} is none of the prompts {', '.join(self.prompts)}")
        return self.prompts[name]

    def _on(self, device: Any) -> LazyEmbedder:
        device = loading.single_device(device)
        if device in (None, self.embedder.config.device):
            return self.embedder
        options = self._engine.options(device)
        return loading.again(self.embedder, options, max_seq_length=self.embedder.max_seq_length)

    @property
    def max_seq_length(self) -> float:
        """The maximum tokens of a text, an `int` from 3 to the model's limit; `math.inf` if there is no limit."""
        length = self.embedder.max_seq_length
        return math.inf if length == NO_LIMIT else length

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        options = self._engine.options(self.embedder.config.device)
        self.embedder = loading.again(self.embedder, options, max_seq_length=value)

    def get_max_seq_length(self) -> float:
        """Returns `max_seq_length`."""
        return self.max_seq_length

    @property
    def device(self) -> Any:
        """The device of the model: a `torch.device` if torch is installed, otherwise a `str`."""
        torch, device = vectors.torch(), self.embedder.config.device
        return device if torch is None else torch.device(device)

    def to(self, device: Any) -> Self:
        """Moves the model to another device. Returns the model itself."""
        self.embedder = self._on(device)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return object.__new__, (type(self),), self.__dict__

    def __repr__(self) -> str:
        return f"SentenceTransformer({self.embedder!r})"

    def __getitem__(self, index: Any) -> NoReturn:
        raise TypeError(
            "a SentenceTransformer of embedry_dropin has no modules; its chain is model.embedder.spec.chain"
        )

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(unsupported.absent(name))
