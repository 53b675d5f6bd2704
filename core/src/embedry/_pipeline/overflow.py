"""Applies the overflow policy to texts that are longer than the model reads."""

import sys
import warnings
from collections.abc import Sequence

from embedry import _log
from embedry.errors import TextTooLongError, TruncationWarning, some
from embedry.options import Config, OnOverflow

_noted: set[tuple[str, int]] = set()
"""The models and lengths that `note_truncation` has logged."""


def report_overflow(
    positions: Sequence[int], total: int, max_length: int, policy: OnOverflow, name: str = "texts"
) -> None:
    """Does what the policy says about texts that are longer than the model reads.

    Raises:
        TextTooLongError: there are any and the policy is "error".
    """
    if not positions or policy == "truncate":
        return
    text = (
        f"{len(positions)} of {total} {name} have more than the {max_length} tokens that the model reads, at positions "
        f"{some(positions, 10)}"
    )
    if policy == "error":
        raise TextTooLongError(f'{text}; split them, or pass on_overflow="truncate"', positions)
    warnings.warn(TruncationWarning(f"{text}; the rest of each was not read", positions), stacklevel=_callers_level())


def note_truncation(truncated: Sequence[int], config: Config) -> None:
    """Logs that texts were truncated where nothing else tells the caller, once per model and length in a process."""
    what = config.spec.name, config.max_seq_length
    if truncated and config.on_overflow == "truncate" and what not in _noted:
        _noted.add(what)
        _log.warning(
            "texts have more than the %d tokens that %r reads, and the rest of each is ignored; split them, or pass "
            'on_overflow="warn" or "error" to resolve. This is only logged once.',
            config.max_seq_length,
            config.spec.name,
        )


def _callers_level() -> int:
    """The `stacklevel` of the nearest caller outside these packages, whichever spelling of `encode` it used."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("embedry"):
        frame, level = frame.f_back, level + 1
    return level
