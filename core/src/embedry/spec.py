"""`ModelSpec`, the registry entry: everything that determines a model's vectors, as plain data."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from embedry import chains, modules
from embedry._habits import named_in_errors
from embedry.chains import Kind
from embedry.errors import OptionError, SpecError, UnsupportedModelError
from embedry.heads import TermTable
from embedry.modules import Chain, Matryoshka, StaticEmbedding
from embedry.resources import Int8, Resource, WheelSource
from embedry.transformer import AT_TOP, Transformer

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")

PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus"), "unprompted": ()}
"""Role -> the names that its prompt may have; the first one found is used, as in sentence-transformers."""

NO_LIMIT = 2**31 - 1
"""The `max_seq_length` of a model that reads texts of any length."""

NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(/[A-Za-z0-9][\w.+-]*)?")
"""Valid names of registered models."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


NO_SHORTER = Matryoshka()


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model: its name, its files with their digests, and the modules that turn its token vectors into embeddings.

    Raises:
        SpecError: a field is malformed or contradicts another; the message names the model and the field.
    """

    name: str
    dims: int
    """Length of a full vector; for a reranker, the number of scores per pair; for a sparse model, the vocabulary size."""
    max_seq_length: int
    """Maximum number of tokens in a text or a pair, including special tokens; `NO_LIMIT` for no maximum."""
    preferred_backend: str
    """The backend used when neither the caller nor `EMBEDRY_BACKEND` names one."""
    architecture: str
    """`model_type` in the model's config.json, such as "bert". If the model differs from other models of that type, as Jina's
    "bert" without a position table does, another name ("jina_bert_v2")."""
    chain: Chain
    """The modules after the transformer, in order; see `embedry.modules`."""
    files: Mapping[str, str | None]
    """Path inside the repository -> sha256 in hex. With None, only downloads are verified, with the hub's digest.

    Engines read only these files.
    """
    transformer: Transformer | None = AT_TOP
    """None if the chain does not start with a transformer."""
    query_chain: Chain = ()
    """For inference-free sparse models: used for queries instead of the transformer and `chain`."""
    other_chains: tuple[Chain, ...] = ()
    """A chain for each other kind of result of the same transformer. The width of each result follows from its modules."""
    aliases: tuple[str, ...] = ()
    repo: str | None = None
    """Repository id on the Hugging Face hub."""
    revision: str | None = None
    """The full commit hash to load. A branch name is not allowed, because its content can change."""
    folder: str | None = None
    """A folder with the files, instead of every other source."""
    wheel: WheelSource | None = None
    onnx: str | None = None
    """One of `files`: a ready-made ONNX graph that outputs token vectors, for families that embedry has no graph for."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Role ("query", "document") or task name -> the prompt prepended to each text; see `PROMPT_NAMES`."""
    similarity: Similarity = "cosine"
    matryoshka: Matryoshka = NO_SHORTER
    """Shorter vector lengths that the model was trained for."""
    golden: Resource | None = None
    """A file of golden vectors (`embedry.testing.Golden`) that every engine must reproduce."""
    int8: Int8 | None = None
    """None if the model is not calibrated; precision="int8" is then not available."""
    license: str = ""
    languages: tuple[str, ...] = ()
    size_mb: int | None = None
    description: str = ""

    def __post_init__(self) -> None:
        for name in ("aliases", "chain", "query_chain", "other_chains", "languages"):
            if not isinstance(getattr(self, name), tuple):  # the letters of a str would pass as so many names
                raise SpecError(f"model entry {self.name!r}: {name} must be a tuple, got {getattr(self, name)!r}")
        for name in ("files", "prompts"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for fault in (*self._faults(), *self._chain_faults(), *self._file_faults()):
            raise SpecError(f"model entry {self.name!r}: {fault}")

    @property
    def kind(self) -> Kind:
        """The kind of the model's results."""
        return chains.kind(self.chain)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All kinds of results of the model, `kind` first."""
        return tuple(map(chains.kind, self._chains))

    @property
    def _chains(self) -> tuple[Chain, ...]:
        return (self.chain, *self.other_chains)

    def for_kind(self, kind: Kind) -> "ModelSpec":
        """The entry with only the chain for this kind, and the files that it needs.

        Raises:
            UnsupportedModelError: the model has no such chain; the message names the function that resolves the model.
        """
        chain = next((each for each in self._chains if chains.kind(each) == kind), None)
        if chain is None:
            raise UnsupportedModelError(
                f"{self.name!r} is a {self.kind} model; use embedry.{chains.DOORS[self.kind]}({self.name!r})"
            )
        if not self.other_chains:
            return self
        unused = {file for each in self._chains for file in chains.weights(each)} - set(chains.weights(chain))
        files = {file: digest for file, digest in self.files.items() if file not in unused}
        if chain == self.chain:
            return replace(self, other_chains=(), files=files)
        return replace(
            self,
            chain=chain,
            other_chains=(),
            query_chain=(),
            files=files,
            dims=chains.widths(chain)[-1] or 0,
            matryoshka=NO_SHORTER,
            golden=None,
            int8=None,
        )

    @property
    def for_queries(self) -> "ModelSpec":
        """The entry for queries, if they have a separate chain."""
        (table,) = self.query_chain
        assert isinstance(table, TermTable)  # noqa: S101  checked when the entry was made
        return replace(
            self,
            chain=self.query_chain,
            query_chain=(),
            transformer=None,
            onnx=None,
            preferred_backend="static",
            files={file: self.files[file] for file in (table.weights, table.tokenizer)},
            golden=None,
        )

    @property
    def body(self) -> Chain:
        """The part of the chain that an engine runs; no option of `resolve` changes it."""
        return chains.split(self.chain)[0]

    @property
    def normalizes(self) -> bool:
        """Whether the chain ends by scaling vectors to unit length."""
        return chains.normalizes(self.chain)

    @property
    def weights(self) -> tuple[str, ...]:
        """The transformer's safetensors files among `files`, one or several shards."""
        if self.transformer is None:
            return ()
        start = self.transformer.file("")
        names = (file.removeprefix(start) for file in self.files if file.startswith(start))
        return tuple(start + name for name in names if name.endswith(".safetensors") and "/" not in name)

    @property
    def tokenizer(self) -> str:
        """The tokenizer's file among `files`."""
        if self.transformer is not None:
            return self.transformer.file("tokenizer.json")
        tables = [module.tokenizer for module in self.chain if isinstance(module, StaticEmbedding | TermTable)]
        return tables[0] if tables else "tokenizer.json"

    @property
    def noncommercial(self) -> bool:
        """Whether the license is known to forbid commercial use: its SPDX id says so, as "CC-BY-NC-4.0" does."""
        return not {"nc", "noncommercial"}.isdisjoint(self.license.lower().split("-"))

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain data: dicts, lists, strings, numbers and None. Fields with default values are omitted."""
        from embedry import entry_data

        return entry_data.to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ModelSpec":
        """Creates an entry from the output of `to_dict`.

        Raises:
            SpecError: a key is unknown or missing, or a value has a wrong type; the message names the key.
        """
        from embedry import entry_data

        return entry_data.from_dict(cls, data)

    def prompt(self, role: str) -> str:
        """The prompt for this role; empty for a query or a document without one.

        Raises:
            OptionError: `role` is not "query", "document", "unprompted" or a task in the entry.
        """
        if role not in PROMPT_NAMES and role not in self.prompts:
            known = ", ".join(dict.fromkeys((*PROMPT_NAMES, *self.prompts)))
            raise OptionError(f"model {self.name!r} has no role {role!r}; use one of: {known}")
        names = PROMPT_NAMES.get(role, (role,))
        return next((self.prompts[name] for name in names if name in self.prompts), "")

    def _faults(self) -> Iterator[str]:
        names = (self.name, *self.aliases)
        # A folder's name is only a label; a registered one is written in code, on command lines and in paths.
        if self.folder is None and any(not NAME.fullmatch(name) for name in names):
            yield f"names and aliases are letters, digits, '.', '_', '+', '-', got {names}"
        if self.dims < 1:
            yield f"dims must be at least 1, got {self.dims}"
        if self.max_seq_length < 3:
            yield f"max_seq_length must be at least 3, got {self.max_seq_length}"
        if not self.preferred_backend:
            yield "preferred_backend is empty"
        if self.similarity not in SIMILARITIES:
            yield f"similarity {self.similarity!r} is not one of {', '.join(SIMILARITIES)}"
        shorter = self.matryoshka.dims
        if any(not 0 < dims < self.dims for dims in shorter) or len(set(shorter)) != len(shorter):
            yield f"matryoshka.dims must be distinct and below dims={self.dims}, got {shorter}"
        if not all(map(chains.needs_no_weights, self.matryoshka.before)):
            yield f"matryoshka.before may only contain modules without weights, got {self.matryoshka.before}"
        if self.int8 is not None and not 0 < self.int8.cosine <= 1:
            yield f"int8.cosine must be above 0 and at most 1, got {self.int8.cosine}"
        if self.repo is not None and self.folder is None and not _COMMIT.fullmatch(self.revision or ""):
            yield f"repo {self.repo!r} has the revision {self.revision!r}; pin the full commit hash"

    def _chain_faults(self) -> Iterator[str]:
        every = (*self._chains, *([self.query_chain] if self.query_chain else []))
        if any(not chain or not all(map(modules.is_module, chain)) for chain in every):
            yield f"chain must be modules of embedry.modules, at least one, got {self.chain}"
            return
        if len(set(self.kinds)) != len(self.kinds):
            yield f"chain and other_chains must give different kinds of results, got {', '.join(self.kinds)}"
        if self.query_chain and (self.kind != "sparse" or type(self.query_chain[0]) is not TermTable):
            yield f"query_chain must be a TermTable of a sparse model, got {self.query_chain}"
        alone = isinstance(self.chain[0], StaticEmbedding | TermTable)
        if alone and self.transformer is not None:
            name = type(self.chain[0]).__name__
            yield f"chain starts with a {name}, which replaces the transformer: transformer must be None"
        for chain in every:
            order = chains.order_fault(chain) if self.transformer is not None or alone else ""
            yield from filter(None, (order, *map(chains.fault, chain)))
        for other in self.other_chains:
            if chains.widths(other)[-1] is None:
                yield f"other_chains has {other}, whose modules do not determine the length of its results"
        fault = chains.width_fault(self.chain, self.dims)
        if fault:
            yield fault

    def _file_faults(self) -> Iterator[str]:
        if not self.files:
            yield "files is empty"
        for path, digest in self.files.items():
            if path.startswith(("/", "\\")) or ".." in path.split("/") or "\\" in path:
                yield f"file path {path!r} leaves the repository"
            if digest is not None and not _SHA256.fullmatch(digest):
                yield f"sha256 of {path!r} is not 64 lower-case hex digits: {digest!r}"
        needed = [self.transformer.file(name) for name in ("tokenizer.json", "config.json")] if self.transformer else []
        chain = (*self.chain, *self.query_chain, *(module for other in self.other_chains for module in other))
        needed += chains.weights(chain)
        needed += [module.tokenizer for module in chain if isinstance(module, StaticEmbedding | TermTable)]
        needed += [self.onnx] if self.onnx is not None else []
        for file in needed:
            if file not in self.files:
                yield f"files lacks {file!r}, which the model needs"

    def __hash__(self) -> int:
        return hash((self.name, self.repo, self.revision, self.folder))

    def __reduce__(self) -> tuple[Callable[[], "ModelSpec"], tuple[()]]:
        # A read-only mapping does not pickle, and a worker process is to validate what it receives.
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"files": dict(self.files), "prompts": dict(self.prompts)}
        return partial(ModelSpec, **values), ()


ModelSpec.__init__ = named_in_errors(ModelSpec.__init__)  # type: ignore[method-assign]
