"""The modules of a chain: what turns a model's token vectors into its results, typed and in the order in which it happens.

A chain is what sentence-transformers writes to modules.json, as data:

    chain=(Pooling(mode="mean"), Dense(path="2_Dense", inputs=768, outputs=256, activation="tanh"), Normalize())

An engine runs the *body* of a chain exactly as it is written, or refuses the model. The pipeline runs the *tail*, the longest
end of the chain that needs no weights: options of `resolve` change nothing but the tail.

The last module of a chain decides what kind of result a model gives, see `embedry.chains.kind`:

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
"""How token vectors become one text vector; several joined by `+` are concatenated, in that order."""

ACTIVATIONS = ("identity", "tanh", "relu", "gelu", "sigmoid", "silu")
"""What may follow a Dense layer's product, as torch.nn defines it; "gelu" is the exact one, with erf."""


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Token vectors (tokens, width) to one vector, (width * number of modes,). Whatever came before it is replaced."""

    mode: str
    """One of `POOLINGS`, or several joined by `+`."""
    include_prompt: bool = True
    """Whether the prompt's tokens count. Engines over token ids cannot leave them out, and refuse."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that are concatenated."""
        return tuple(self.mode.split("+"))


@dataclass(frozen=True, kw_only=True)
class Dense:
    """A linear layer and its activation, activation(x @ weight.T + bias): (inputs,) to (outputs,).

    In a chain without a pooling before it, it runs over the vector of each token.
    """

    path: str
    """The folder inside the repository whose model.safetensors has `linear.weight` (outputs, inputs) and `linear.bias`; empty
    where they are among the transformer's own tensors."""
    inputs: int
    outputs: int
    activation: str = "identity"
    """One of `ACTIVATIONS`."""
    bias: bool = True

    @property
    def weights(self) -> str:
        """The file with its weights, inside the repository; empty where they are among the transformer's."""
        return f"{self.path}/model.safetensors" if self.path else ""


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """Layer norm of a vector, (x - mean(x)) / sqrt(variance(x) + 1e-5), then scaled and shifted if it has a path.

    The constant is torch.nn.LayerNorm's default.
    """

    path: str = ""
    """The folder whose model.safetensors has `norm.weight` and `norm.bias`, both (width,); empty for neither."""

    @property
    def weights(self) -> str:
        """The file with its weights, inside the repository; empty where it has none."""
        return f"{self.path}/model.safetensors" if self.path else ""


@dataclass(frozen=True, kw_only=True)
class Truncate:
    """The first `dims` values of a vector."""

    dims: int


@dataclass(frozen=True, kw_only=True)
class Normalize:
    """Scaled to unit length; a zero vector stays zero."""


@dataclass(frozen=True, kw_only=True)
class StaticEmbedding:
    """The mean of a text's tokens' rows in a table, (outputs,), in place of a transformer and its pooling; it stands first.

    Texts are read without special tokens. One without tokens has the vector 0.
    """

    outputs: int
    """Values of a row."""
    path: str = ""
    """The folder inside the repository with tokenizer.json and model.safetensors; empty for the top."""
    tensor: str = "embedding.weight"
    """The table's name, (tokens, outputs); model2vec calls it "embeddings"."""
    skip_unknown: bool = False
    """Whether tokens that the vocabulary does not have are left out of the mean, as model2vec does."""

    @property
    def weights(self) -> str:
        """The file with the table, inside the repository."""
        return self._file("model.safetensors")

    @property
    def tokenizer(self) -> str:
        """The file of its tokenizer, inside the repository."""
        return self._file("tokenizer.json")

    def _file(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


@dataclass(frozen=True, kw_only=True)
class LibraryModule:
    """A module that only the library it comes from can run, by the name that modules.json gives it."""

    class_name: str
    """The whole name of its class, such as "sentence_transformers.models.CNN"."""
    path: str
    """The folder inside the repository that has its configuration and weights."""


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
"""Each module's name in serialised chains, which fingerprints depend on: names are added, never changed."""


@dataclass(frozen=True, kw_only=True)
class Matryoshka:
    """Shorter lengths that a model was trained for (Kusupati et al. 2022, arXiv:2205.13147)."""

    dims: tuple[int, ...] = ()
    before: Chain = ()
    """Modules that run before a vector is shortened, and only then: a `LayerNorm`, for some models."""


def is_module(value: object) -> bool:
    """Whether this may stand in a chain."""
    return type(value) in _TYPES


def type_named(name: str) -> type[Module] | None:
    """The type of module that serialised chains call by this name; None if there is none."""
    return next((kind for kind, known in _TYPES.items() if known == name), None)


def as_dict(module: Module) -> dict[str, Any]:
    """A module as plain data: its type, and the fields that differ from their defaults."""
    return {"type": _TYPES[type(module)], **stated(module)}


def stated(record: "DataclassInstance") -> dict[str, Any]:
    """The fields of a record that differ from their defaults: a field that is added later changes no fingerprint."""
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    return {each.name: values[each.name] for each in fields(record) if values[each.name] != each.default}
