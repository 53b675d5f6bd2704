"""What is being checked, and what a check may say about it."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cached_property
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from embedry import ModelSpec, Options, resolve
from embedry.views import LazyEmbedder

TOLERANCE = {"fp32": 1e-5, "fp16": 1e-3, "bf16": 1e-2, "int8": 2e-2}
"""Largest difference of any component of a unit vector that a precision may cause: between a text alone and in a batch,
between engines, and from golden vectors. Measured on all-MiniLM-L6-v2 against fp32: 3e-7, 3.1e-4 and 2.6e-3, which
follows the 23, 10 and 7 bits of fraction; the rest is room for deeper models. In int8 a difference in the last bit of a
float may move a value by one of 256 steps; how far it may be from fp32 is another matter, which the entry states."""


class Violation(AssertionError):  # noqa: N818  named for what it reports
    """A check failed; the message begins with what is checked."""


class NotApplicable(Exception):  # noqa: N818  it is an answer, not an error
    """The check says nothing about this subject; the message says why."""


class Subject:
    """An embedder as `resolve` makes it, and variants of it.

    Args:
        model: what `resolve` takes: a name, a folder, or a `ModelSpec`.
        **options: options of `resolve`, such as `backend`.
    """

    def __init__(self, model: str | ModelSpec, **options: Unpack[Options]) -> None:
        self.model = model
        self.options = options

    @cached_property
    def embedder(self) -> LazyEmbedder:
        """The embedder itself, shared with everybody else in this process."""
        return resolve(self.model, **self.options)

    @property
    def spec(self) -> ModelSpec:
        """Its registry entry."""
        return self.embedder.spec

    def variant(self, **options: Unpack[Options]) -> LazyEmbedder:
        """The same model with other options of `resolve`."""
        return resolve(self.model, **(self.options | options))

    def with_entry(self, **changes: Any) -> LazyEmbedder:
        """The same files under a changed entry: other prompts, say."""
        return resolve(replace(self.spec, **changes), **self.options)

    @property
    def tolerance(self) -> float:
        """What the precision in use may move a component of a unit vector by."""
        self.embedder.load()
        return TOLERANCE[self.embedder.info.get("precision", "fp32")]

    def in_fresh_process(self, code: str) -> str:
        """What this code prints in a new Python process; `embedder` is there, resolved but not loaded.

        Raises:
            NotApplicable: the model is known to this process alone.
            Violation: the process failed.
        """
        if not isinstance(self.model, str):
            raise NotApplicable("the model is an entry of this process, unknown to a fresh one")
        program = (
            f"import sys\nfrom embedry import resolve\nembedder = resolve({self.model!r}, **{self.options!r})\n{code}"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        result = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=600, check=False
        )  # fmt: skip
        if result.returncode != 0:
            raise Violation(f"a fresh process could not use it: {result.stderr.strip()[-800:]}")
        return result.stdout


def require(holds: bool, expected: str, found: str = "") -> None:
    """Raises `Violation` with what is expected, and what was found instead, unless it holds."""
    if not holds:
        raise Violation(f"{expected}{': ' + found if found else ''}")


def require_close(a: NDArray[np.float32], b: NDArray[np.float32], tolerance: float, expected: str) -> None:
    """Raises `Violation` unless no component differs by more than `tolerance`."""
    difference = float(np.abs(a - b).max(initial=0.0)) if a.shape == b.shape else float("inf")
    require(
        difference <= tolerance, expected, f"the largest difference is {difference:.2e}, allowed are {tolerance:.0e}"
    )
