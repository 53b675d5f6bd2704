"""The options of `resolve`: their types, their validation, and the configuration of an embedder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypedDict, TypeGuard, get_args

from embedry import _cpu, chains
from embedry.errors import OptionError
from embedry.heads import LateInteraction
from embedry.modules import Chain
from embedry.spec import NO_SHORTER, ModelSpec

OnOverflow = Literal["truncate", "warn", "error"]

VECTORS = "vectors"
"""The folder in the cache that holds vector caches, unless another is given."""

_THREADS_A_PROCESSOR = 8
"""More than one is never faster, and starting a thousand takes half a minute."""


class Options(TypedDict, total=False):
    """The keyword arguments of `resolve`, for functions that pass them on: `**options: Unpack[Options]`."""

    backend: str | None
    device: str | None
    precision: str | None
    dims: int | None
    normalize: bool | None
    max_seq_length: int | None
    on_overflow: OnOverflow
    threads: int | None
    folder: str | Path | None
    cache_dir: str | Path | None
    vector_cache: bool | str | Path | None


class RerankerOptions(Options, total=False):
    """The keyword arguments of `resolve_reranker`."""

    on_query_overflow: OnOverflow


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Everything that determines what is loaded; embedders with equal configurations share an engine."""

    spec: ModelSpec
    """The entry without the parts that only an embedder uses, such as its prompts and the tail of its chain."""
    backend: str
    device: str
    precision: str | None
    threads: int
    cache_dir: Path
    stamps: tuple[tuple[str, int, int], ...]
    """Path, size and modification time in ns of files without a digest; if they change, it is a different model."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that distinguishes embedders; equal configurations share one embedder."""

    spec: ModelSpec
    backend: str
    device: str
    precision: str | None
    """None leaves the choice to the backend."""
    chain: Chain
    """The model's chain with the changes of `dims` and `normalize`."""
    dims: int
    max_seq_length: int
    on_overflow: OnOverflow
    threads: int
    cache_dir: Path
    stamps: tuple[tuple[str, int, int], ...] = ()
    on_query_overflow: OnOverflow = "truncate"
    """For the queries of a reranker's pairs; `on_overflow` is for their documents."""
    vector_cache: Path | None = None
    """The folder of the vector cache, if there is one."""
    tail: Chain = field(init=False, compare=False)
    """The end of the chain, which the pipeline runs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tail", chains.split(self.chain)[1])  # once, and not for each query

    @property
    def engine(self) -> EngineConfig:
        """The part that determines what is loaded."""
        return _engine_config(self)

    @property
    def normalize(self) -> bool:
        """Whether vectors have unit length."""
        return chains.normalizes(self.chain)

    @property
    def reports_overflow(self) -> bool:
        """Whether texts that are too long cause a warning or an error."""
        return (self.on_overflow, self.on_query_overflow) != ("truncate", "truncate")

    @property
    def names(self) -> tuple[str, str]:
        """The names of texts in messages; for pairs, those of documents and queries."""
        return ("documents", "queries") if self.spec.kind == "reranker" else ("texts", "texts")

    def length(self, role: str) -> int:
        """The maximum number of tokens of a text in this role."""
        end = self.chain[-1]
        own = {"query": end.query_length, "document": end.document_length} if isinstance(end, LateInteraction) else {}
        return min(own.get(role) or self.max_seq_length, self.max_seq_length)

    def pair_prompts(self, role: str) -> tuple[str, str]:
        """The prompts of a query in this role and of a document."""
        return self.spec.prompt(role), self.spec.prompt("document")


@lru_cache(maxsize=256)  # for applications that resolve for each request and keep nothing
def _engine_config(config: Config) -> EngineConfig:
    spec = replace(
        config.spec,
        chain=chains.for_engine(config.spec.chain),
        query_chain=(),
        preferred_backend=config.backend,
        int8=config.spec.int8 if config.precision == "int8" else None,
        aliases=(), prompts={}, similarity="cosine", matryoshka=NO_SHORTER, golden=None, license="", languages=(),
        size_mb=None, description="",
    )  # fmt: skip
    return EngineConfig(
        spec=spec,
        backend=config.backend,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        cache_dir=config.cache_dir,
        stamps=config.stamps,
    )


def checked_dims(spec: ModelSpec, dims: int | None) -> int:
    """The length of the vectors; OptionError unless it is the full one or one that the model was trained for."""
    if dims is None:
        return spec.dims
    trained = (*spec.matryoshka.dims, spec.dims)
    if not is_count(dims) or dims not in trained:
        only = "was trained for no other length" if len(trained) == 1 else f"was trained for {_listed(trained)}"
        raise OptionError(f"dims={dims!r} is not supported: {spec.name!r} has {spec.dims} and {only}")
    return dims


def changed_chain(spec: ModelSpec, *, dims: int, normalize: bool | None) -> Chain:
    """The model's chain with these options; OptionError unless `normalize` is True, False or None."""
    if normalize is not None and not isinstance(normalize, bool):
        raise OptionError(f"normalize must be True, False, or None for the model's default, got {normalize!r}")
    if normalize is not None and spec.kind in ("reranker", "sparse"):
        raise OptionError(f"normalize={normalize} is not supported: {spec.name!r} is a {spec.kind} model")
    shorter = dims if dims < spec.dims else None
    return chains.effective(spec.chain, normalize=normalize, dims=shorter, matryoshka=spec.matryoshka)


def checked_length(spec: ModelSpec, max_seq_length: int | None) -> int:
    """Tokens to read of each text; OptionError unless between 3 (one token between two special ones) and the model's."""
    if max_seq_length is None:
        return spec.max_seq_length
    if not is_count(max_seq_length) or not 3 <= max_seq_length <= spec.max_seq_length:
        raise OptionError(
            f"max_seq_length must be an integer from 3 to {spec.max_seq_length}, the most that {spec.name!r} reads, "
            f"got {max_seq_length!r}"
        )
    return max_seq_length


def checked_threads(threads: int | None) -> int:
    """The number of threads to compute with; by default, the number of processors available to this process."""
    if threads is None:
        return _cpu.available()
    if not is_count(threads) or threads < 1:
        raise OptionError(f"threads must be a positive integer, got {threads!r}")
    most = _THREADS_A_PROCESSOR * (os.cpu_count() or 1)
    if threads > most:
        raise OptionError(f"threads must be at most {most}, {_THREADS_A_PROCESSOR} for each processor, got {threads}")
    return threads


def checked_overflow(policy: OnOverflow, option: str = "on_overflow") -> OnOverflow:
    """The overflow policy; OptionError unless it is one of the three."""
    if policy not in get_args(OnOverflow):
        raise OptionError(f"{option} must be one of {_listed(get_args(OnOverflow))}, got {policy!r}")
    return policy


def checked_vector_cache(
    spec: ModelSpec, given: bool | str | Path | None, on_overflow: OnOverflow, cache_dir: Path
) -> Path | None:
    """The folder of the vector cache; OptionError if the model or `on_overflow` does not support one."""
    if given is None or given is False:
        return None
    if spec.kind != "dense":
        raise OptionError(f"vector_cache is for dense models, and {spec.name!r} is {chains.NAMES[spec.kind]}")
    if on_overflow != "truncate":
        raise OptionError(
            f"vector_cache and on_overflow={on_overflow!r} cannot be combined: cached texts are not tokenized, so "
            "their lengths are unknown; leave one of them out"
        )
    return cache_dir / VECTORS if given is True else Path(given).expanduser().absolute()


def checked_timeout(timeout: float | None) -> float | None:
    """The maximum number of seconds of a call; OptionError unless it is a number or None. Zero or less expires at once."""
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout == timeout
    if timeout is not None and not is_number:
        raise OptionError(f"timeout must be a number of seconds, or None for any time, got {timeout!r}")
    return timeout


def is_count(value: object) -> TypeGuard[int]:
    """Whether the value is an integer and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(repr, values))
