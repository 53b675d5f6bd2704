"""The subject of checks, and the exceptions that checks raise."""

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
"""Largest allowed `difference` of results for each precision: between a single text and a batch, between engines, and from
golden results. For unit vectors it is the difference of a component. Measured on all-MiniLM-L6-v2 against fp32: 3e-7, 3.1e-4
and 2.6e-3, in line with the 23, 10 and 7 fraction bits; the margin is for deeper models. In int8, a difference in the last bit
of a float may move a value by one of 256 steps; the entry states the allowed difference from fp32."""


class Violation(AssertionError):  # noqa: N818  named for what it reports
    """A check failed; the message starts with the description of the check."""


class NotApplicable(Exception):  # noqa: N818  it is a result, not an error
    """The check does not apply to this subject; the message says why."""


class Subject:
    """A resolved model of any kind, and variants of it.

    Args:
        model: a name, a folder, or a `ModelSpec`, as for `resolve`.
        kind: "dense", "reranker", "sparse" or "multi_vector", for models with several kinds; None for the first.
        **options: options of `resolve` or the function for the kind, such as `backend`.
    """

    def __init__(self, model: str | ModelSpec, kind: Kind | None = None, **options: Unpack[RerankerOptions]) -> None:
        self.model = model
        self.options = options
        self._kind = kind

    @cached_property
    def kind(self) -> Kind:
        """The kind of the model."""
        cache_dir = self.options.get("cache_dir")
        return self._kind or find(self.model, Path(cache_dir) if cache_dir else cache.default_folder()).kind

    @cached_property
    def embedder(self) -> Any:
        """The resolved model, shared within this process: a `LazyEmbedder` or the class for another kind."""
        return self.variant()

    @property
    def spec(self) -> ModelSpec:
        """Its registry entry."""
        spec: ModelSpec = self.embedder.spec
        return spec

    @property
    def folder(self) -> Path:
        """The folder with its verified files."""
        return sources.ensure_local(self.spec, self.embedder.config.cache_dir)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles to check. A dense model's roles differ only in their prompts, so one is enough."""
        return ("document",) if self.kind == "dense" else ("query", "document")

    def results(self, texts: Collection[str], role: str = "document") -> Arrays:
        """Its results for texts, see `embedry.testing.results`."""
        return results(self.embedder, texts, role)

    def variant(self, **options: Unpack[RerankerOptions]) -> Any:
        """The same model with other options of `resolve`."""
        return resolve_kind(self.kind, self.model, **(self.options | options))

    def with_entry(self, **changes: Any) -> Any:
        """The same files with a changed entry, such as other prompts."""
        return resolve_kind(self.kind, replace(self.spec, **changes), **self.options)

    def only(self, *kinds: Kind) -> None:
        """Raises `NotApplicable` unless the model is of one of these kinds."""
        if self.kind not in kinds:
            raise NotApplicable(f"it applies to {' and '.join(kinds)} models, but this is a {self.kind} model")

    @property
    def tolerance(self) -> float:
        """The largest `difference` that the precision in use may cause."""
        self.embedder.load()
        return TOLERANCE[self.embedder.info.get("precision", "fp32")]

    def in_fresh_process(self, code: str) -> str:
        """Returns what this code prints in a new Python process; `embedder` is resolved but not loaded.

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
            raise Violation(f"a new process failed: {result.stderr.strip()[-800:]}")
        return result.stdout


def require(holds: bool, expected: str, found: str = "") -> None:
    """Raises `Violation` with the expected and the actual result unless `holds`."""
    if not holds:
        raise Violation(f"{expected}{': ' + found if found else ''}")


def require_close(a: Arrays | NDArray[Any], b: Arrays | NDArray[Any], tolerance: float, expected: str) -> None:
    """Raises `Violation` unless the `difference` of two results is at most `tolerance`."""
    found = difference(a, b)
    require(found <= tolerance, expected, f"the largest difference is {found:.2e}, the maximum is {tolerance:.0e}")
