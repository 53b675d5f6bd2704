"""The whole configuration of an embedder: what `resolve` was asked for, checked and with every blank filled in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from embedry import _cpu
from embedry.errors import OptionError
from embedry.spec import ModelSpec

OnOverflow = Literal["truncate", "warn", "error"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that tells one embedder from another; equal configurations share one embedder."""

    spec: ModelSpec
    backend: str
    device: str
    precision: str | None
    dims: int
    normalize: bool
    max_seq_length: int
    on_overflow: OnOverflow
    threads: int
    cache_dir: Path


def checked_dims(spec: ModelSpec, dims: int | None) -> int:
    """The length of the vectors; OptionError unless it is the full one or one that the model was trained for."""
    if dims is None:
        return spec.dims
    trained = (*spec.matryoshka_dims, spec.dims)
    if not _is_count(dims) or dims not in trained:
        only = "was trained for no other length" if len(trained) == 1 else f"was trained for {_listed(trained)}"
        raise OptionError(f"dims={dims!r} is not possible: {spec.name!r} has {spec.dims} and {only}")
    return dims


def checked_length(spec: ModelSpec, max_seq_length: int | None) -> int:
    """Tokens to read of each text; OptionError unless between 3 (one token between two special ones) and the model's."""
    if max_seq_length is None:
        return spec.max_seq_length
    if not _is_count(max_seq_length) or not 3 <= max_seq_length <= spec.max_seq_length:
        raise OptionError(
            f"max_seq_length={max_seq_length!r} is not possible: {spec.name!r} reads 3 to {spec.max_seq_length} tokens"
        )
    return max_seq_length


def checked_threads(threads: int | None) -> int:
    """Threads to compute with; by default the processors this process may use."""
    if threads is None:
        return _cpu.available()
    if not _is_count(threads) or threads < 1:
        raise OptionError(f"threads={threads!r} is not possible: a whole number from 1 on")
    return threads


def checked_overflow(policy: OnOverflow) -> OnOverflow:
    """The overflow policy; OptionError unless it is one of the three."""
    if policy not in get_args(OnOverflow):
        raise OptionError(f"on_overflow={policy!r} is not possible: use one of {_listed(get_args(OnOverflow))}")
    return policy


def checked_normalize(spec: ModelSpec, normalize: bool | None) -> bool:
    """Whether to normalise; by default as the model was trained."""
    if normalize is None:
        return spec.normalize
    if not isinstance(normalize, bool):
        raise OptionError(f"normalize={normalize!r} is not possible: True, False, or None for the model's own way")
    return normalize


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(repr, values))
