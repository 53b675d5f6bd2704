"""The modules of a chain: the steps that turn a model's token vectors into its results, in order.

A chain contains what sentence-transformers writes to modules.json:

    chain=(Pooling(mode="mean"), Dense(path="2_Dense", inputs=768, outputs=256, activation="tanh"), Normalize())

An engine runs the *body* of a chain exactly as written, or rejects the model. The pipeline runs the *tail*, the modules at the
end that need no weights. Options of `resolve` change only the tail.

The last module of a chain determines the kind of result, see `embedry.chains.kind`:

    (Pooling(...), ..., Normalize())                     a vector for a text            resolve
    (Classifier(), Score(activation="sigmoid"))          a score for a pair of texts    resolve_reranker
    (MaskedLM(), SpladePooling())                        weights of vocabulary terms    resolve_sparse
    (Dense(...), Normalize(), LateInteraction(...))      a vector for each token        resolve_multi_vector
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from embedry.heads import (
    Classifier,
    LateInteraction,
    LogitScore,
    MaskedLM,
    Score,
    SpladePooling,
    TermTable,
    TermWeights,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

POOLINGS = ("mean", "cls", "last", "max", "weightedmean", "mean_sqrt_len_tokens")
"""How token vectors are combined into one text vector. Several modes joined by `+` are concatenated in that order."""

ACTIVATIONS = ("identity", "tanh", "relu", "gelu", "sigmoid", "silu")
"""Activations of a Dense layer, as defined in torch.nn; "gelu" is the exact version, with erf."""


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Pools token vectors (tokens, width) into one vector, (width * number of modes,), which replaces any earlier vector."""

    mode: str
    """One of `POOLINGS`, or several joined by `+`."""
    include_prompt: bool = True
    """Whether the prompt's tokens are included. Engines that take token ids reject False."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that are concatenated."""
        return tuple(self.mode.split("+"))


@dataclass(frozen=True, kw_only=True)
class Dense:
    """A linear layer and its activation, activation(x @ weight.T + bias): (inputs,) to (outputs,).

    Without a pooling before it, it is applied to each token's vector.
    """

    path: str
    """The folder inside the repository whose model.safetensors has `linear.weight` (outputs, inputs) and `linear.bias`; empty
    if they are among the transformer's own tensors."""
    inputs: int
    outputs: int
    activation: str = "identity"
    """One of `ACTIVATIONS`."""
    bias: bool = True

    @property
    def weights(self) -> str:
        """The file with the weights, inside the repository; empty if they are among the transformer's."""
        return f"{self.path}/model.safetensors" if self.path else ""


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """Layer norm of a vector, (x - mean(x)) / sqrt(variance(x) + 1e-5), scaled and shifted if `path` is set.

    The constant is torch.nn.LayerNorm's default.
    """

    path: str = ""
    """The folder whose model.safetensors has `norm.weight` and `norm.bias`, both (width,); empty for neither."""

    @property
    def weights(self) -> str:
        """The file with the weights, inside the repository; empty if there is none."""
        return f"{self.path}/model.safetensors" if self.path else ""


@dataclass(frozen=True, kw_only=True)
class Truncate:
    """The first `dims` values of a vector."""

    dims: int


@dataclass(frozen=True, kw_only=True)
class Normalize:
    """Scales a vector to unit length; a zero vector stays zero."""


@dataclass(frozen=True, kw_only=True)
class StaticEmbedding:
    """The mean of the table rows of a text's tokens, (outputs,). It replaces the transformer and pooling, and must be first.

    Texts are tokenized without special tokens. A text without tokens has a zero vector.
    """

    outputs: int
    """Length of a row."""
    path: str = ""
    """The folder inside the repository with tokenizer.json and model.safetensors; empty for the top."""
    tensor: str = "embedding.weight"
    """Name of the table's tensor, (tokens, outputs); "embeddings" in model2vec."""
    skip_unknown: bool = False
    """Whether unknown tokens are left out of the mean, as in model2vec."""

    @property
    def weights(self) -> str:
        """The file with the table, inside the repository."""
        return self._file("model.safetensors")

    @property
    def tokenizer(self) -> str:
        """The tokenizer's file, inside the repository."""
        return self._file("tokenizer.json")

    def _file(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


@dataclass(frozen=True, kw_only=True)
class LibraryModule:
    """A module that only its own library can run, by its name in modules.json."""

    class_name: str
    """The full name of its class, such as "sentence_transformers.models.CNN"."""
    path: str
    """The folder inside the repository with its configuration and weights."""


Module: TypeAlias = (
    Pooling
    | Dense
    | LayerNorm
    | Truncate
    | Normalize
    | StaticEmbedding
    | LibraryModule
    | Classifier
    | LogitScore
    | Score
    | MaskedLM
    | SpladePooling
    | TermWeights
    | TermTable
    | LateInteraction
)
Chain: TypeAlias = tuple[Module, ...]

_TYPES: dict[type[Module], str] = {
    Pooling: "pooling",
    Dense: "dense",
    LayerNorm: "layer_norm",
    Truncate: "truncate",
    Normalize: "normalize",
    StaticEmbedding: "static_embedding",
    LibraryModule: "library_module",
    Classifier: "classifier",
    LogitScore: "logit_score",
    Score: "score",
    MaskedLM: "masked_lm",
    SpladePooling: "splade_pooling",
    TermWeights: "term_weights",
    TermTable: "term_table",
    LateInteraction: "late_interaction",
}
"""Each module's name in serialized chains. Fingerprints depend on the names, so never change one."""


@dataclass(frozen=True, kw_only=True)
class Matryoshka:
    """Shorter vector lengths that a model was trained for (Kusupati et al. 2022, arXiv:2205.13147)."""

    dims: tuple[int, ...] = ()
    before: Chain = ()
    """Modules that run only if vectors are shortened, just before that: a `LayerNorm` for some models."""


def is_module(value: object) -> bool:
    """Whether the value is a module that a chain may contain."""
    return type(value) in _TYPES


def type_named(name: str) -> type[Module] | None:
    """The type of module with this name in serialized chains; None if there is none."""
    return next((kind for kind, known in _TYPES.items() if known == name), None)


def as_dict(module: Module) -> dict[str, Any]:
    """A module as plain data: its type, and the fields that differ from their defaults."""
    return {"type": _TYPES[type(module)], **stated(module)}


def stated(record: "DataclassInstance") -> dict[str, Any]:
    """The fields of a record that differ from their defaults, so that fields added later do not change fingerprints."""
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    return {each.name: values[each.name] for each in fields(record) if values[each.name] != each.default}
