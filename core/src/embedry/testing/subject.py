"""What is being checked, and what a check may say about it."""

import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

from numpy.typing import NDArray

from embedry import ModelSpec
from embedry._files import cache, sources
from embedry.chains import Kind
from embedry.options import RerankerOptions
from embedry.resolver import find, resolve_kind
from embedry.testing.results import Arrays, difference, results

TOLERANCE = {"fp32": 1e-5, "fp16": 1e-3, "bf16": 1e-2, "int8": 2e-2}
"""Largest `difference` of results that a precision may cause: between a text alone and in a batch, between engines, and from
golden results. For unit vectors that is the difference of a component. Measured on all-MiniLM-L6-v2 against fp32: 3e-7, 3.1e-4
and 2.6e-3, which follows the 23, 10 and 7 bits of fraction; the rest is room for deeper models. In int8 a difference in the last
bit of a float may move a value by one of 256 steps; how far it may be from fp32 is another matter, which the entry states."""


class Violation(AssertionError):  # noqa: N818  named for what it reports
    """A check failed; the message begins with what is checked."""


class NotApplicable(Exception):  # noqa: N818  it is an answer, not an error
    """The check says nothing about this subject; the message says why."""


class Subject:
    """A model as `resolve`, or its like for another kind, makes it, and variants of it.

    Args:
        model: what `resolve` takes: a name, a folder, or a `ModelSpec`.
        kind: "dense", "reranker", "sparse" or "multi_vector", where the model gives several; None for its first.
        **options: options of `resolve` and its like, such as `backend`.
    """

    def __init__(self, model: str | ModelSpec, kind: Kind | None = None, **options: Unpack[RerankerOptions]) -> None:
        self.model = model
        self.options = options
        self._kind = kind

    @cached_property
    def kind(self) -> Kind:
        """What it gives."""
        cache_dir = self.options.get("cache_dir")
        return self._kind or find(self.model, Path(cache_dir) if cache_dir else cache.default_folder()).kind

    @cached_property
    def embedder(self) -> Any:
        """The model itself, shared with everybody else in this process: a `LazyEmbedder`, or its like for another kind."""
        return self.variant()

    @property
    def spec(self) -> ModelSpec:
        """Its registry entry."""
        spec: ModelSpec = self.embedder.spec
        return spec

    @property
    def folder(self) -> Path:
        """Where its verified files are."""
        return sources.ensure_local(self.spec, self.embedder.config.cache_dir)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are read in ways of their own. A dense model's differ in their prompts alone, and one is enough."""
        return ("document",) if self.kind == "dense" else ("query", "document")

    def results(self, texts: Collection[str], role: str = "document") -> Arrays:
        """What it gives for texts, see `embedry.testing.results`."""
        return results(self.embedder, texts, role)

    def variant(self, **options: Unpack[RerankerOptions]) -> Any:
        """The same model with other options of `resolve`."""
        return resolve_kind(self.kind, self.model, **(self.options | options))

    def with_entry(self, **changes: Any) -> Any:
        """The same files under a changed entry: other prompts, say."""
        return resolve_kind(self.kind, replace(self.spec, **changes), **self.options)

    def only(self, *kinds: Kind) -> None:
        """Raises `NotApplicable` unless it is of one of these kinds."""
        if self.kind not in kinds:
            raise NotApplicable(f"it is about {' and '.join(kinds)} models, and this is a {self.kind} model")

    @property
    def tolerance(self) -> float:
        """The largest `difference` that the precision in use may cause."""
        self.embedder.load()
        return TOLERANCE[self.embedder.info.get("precision", "fp32")]

    def in_fresh_process(self, code: str) -> str:
        """What this code prints in a new Python process; `embedder` is there, resolved but not loaded.

        Raises:
            Violation: the process failed.
        """
        model = self.model if isinstance(self.model, str) else self.model.to_dict()
        program = (
            "import sys\nfrom embedry import ModelSpec\nfrom embedry.resolver import resolve_kind\n"
            f"model = {model!r}\nmodel = model if isinstance(model, str) else ModelSpec.from_dict(model)\n"
            f"embedder = resolve_kind({self.kind!r}, model, **{self.options!r})\n{code}"
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


def require_close(a: Arrays | NDArray[Any], b: Arrays | NDArray[Any], tolerance: float, expected: str) -> None:
    """Raises `Violation` unless the `difference` of two results is at most `tolerance`."""
    found = difference(a, b)
    require(found <= tolerance, expected, f"the largest difference is {found:.2e}, allowed are {tolerance:.0e}")
