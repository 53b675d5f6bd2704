"""The modules of a chain: what turns a model's token vectors into embeddings, typed and in the order in which it happens.

A chain is what sentence-transformers writes to modules.json, as data:

    chain=(Pooling(mode="mean"), Dense(path="2_Dense", inputs=768, outputs=256, activation="tanh"), Normalize())

An engine runs the *body* of a chain exactly as it is written, or refuses the model. The pipeline runs the *tail*, the longest
end of the chain that needs no weights: options of `resolve` change nothing but the tail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeAlias

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
    """A linear layer and its activation, activation(x @ weight.T + bias): (inputs,) to (outputs,)."""

    path: str
    """The folder inside the repository whose model.safetensors has `linear.weight` (outputs, inputs) and `linear.bias`."""
    inputs: int
    outputs: int
    activation: str = "identity"
    """One of `ACTIVATIONS`."""
    bias: bool = True

    @property
    def weights(self) -> str:
        """The file with its weights, inside the repository."""
        return f"{self.path}/model.safetensors"


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


Module: TypeAlias = Pooling | Dense | LayerNorm | Truncate | Normalize | StaticEmbedding | LibraryModule
Chain: TypeAlias = tuple[Module, ...]

_TYPES: dict[type[Module], str] = {
    Pooling: "pooling",
    Dense: "dense",
    LayerNorm: "layer_norm",
    Truncate: "truncate",
    Normalize: "normalize",
    StaticEmbedding: "static_embedding",
    LibraryModule: "library_module",
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


def label(module: Module) -> str:
    """What a module is called in a message."""
    if isinstance(module, LibraryModule):  # there may be several of a class, each set up in its own folder
        return f"{module.class_name} as {module.path or 'the top folder'} sets it up"
    return type(module).__name__


def fault(module: Module) -> str:
    """What is wrong with a module of an entry, as a sentence; empty for nothing."""
    if isinstance(module, Pooling) and not set(module.modes) <= set(POOLINGS):
        return f"pooling {module.mode!r} is none of {', '.join(POOLINGS)}"
    if isinstance(module, Dense) and module.activation not in ACTIVATIONS:
        return f"activation {module.activation!r} is none of {', '.join(ACTIVATIONS)}"
    if isinstance(module, Truncate):
        return "chain has a Truncate, which resolve(..., dims=) puts there; list the length in matryoshka"
    return ""


def width_fault(chain: Chain, dims: int) -> str:
    """Where the sizes that a chain states do not follow from each other and end in `dims`; empty if they do."""
    *before, last = widths(chain)
    for module, width in zip(chain, before, strict=True):
        if isinstance(module, Dense) and width not in (None, module.inputs):
            return f"the Dense module {module.path!r} takes {module.inputs} values and gets {width}"
    return "" if last in (None, dims) else f"the chain ends with vectors of {last}, and dims is {dims}"


def widths(chain: Chain, tokens: int | None = None) -> list[int | None]:
    """The length of a text's vector before each module, and after the last; None where nothing says it.

    Args:
        chain: of a model.
        tokens: the width of its transformer's token vectors, where it is known.
    """
    found: list[int | None] = [None]
    for module in chain:
        width = found[-1]
        if isinstance(module, Pooling):
            width = tokens * len(module.modes) if tokens is not None else None
        elif isinstance(module, Dense | StaticEmbedding):
            width = module.outputs
        elif isinstance(module, LibraryModule):  # may change token vectors too
            tokens = width = None
        found.append(width)
    return found


def leaves_out_prompt(chain: Chain) -> bool:
    """Whether a pooling leaves out the prompt's tokens, which an engine cannot tell from token ids alone."""
    return any(isinstance(module, Pooling) and not module.include_prompt for module in chain)


def weights(chain: Chain) -> list[str]:
    """The files with the weights of a chain's modules, inside the repository; those of a `LibraryModule` are its own affair."""
    kinds = Dense | LayerNorm | StaticEmbedding
    return [module.weights for module in chain if isinstance(module, kinds) and module.weights]


def as_dict(module: Module) -> dict[str, Any]:
    """A module as plain data: its type, and the fields that differ from their defaults."""
    return {"type": _TYPES[type(module)], **stated(module)}


def stated(record: "DataclassInstance") -> dict[str, Any]:
    """The fields of a record that differ from their defaults: a field that is added later changes no fingerprint."""
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    return {each.name: values[each.name] for each in fields(record) if values[each.name] != each.default}


def in_tail(module: Module) -> bool:
    """Whether the pipeline runs this module where it stands at the end of a chain."""
    return isinstance(module, Truncate | Normalize) or module == LayerNorm()


def split(chain: Sequence[Module]) -> tuple[Chain, Chain]:
    """The body, which an engine runs, and the tail, which the pipeline runs."""
    tail = tuple(takewhile(in_tail, reversed(chain)))[::-1]
    return tuple(chain[: len(chain) - len(tail)]), tail


def effective(chain: Chain, *, normalize: bool | None, dims: int | None, matryoshka: Matryoshka) -> Chain:
    """The chain as options of `resolve` change it.

    Args:
        chain: as the model's entry has it.
        normalize: adds or removes a `Normalize` at the end; None leaves the end as it is.
        dims: shortens the vectors just before that `Normalize`; None leaves them as long as they are.
        matryoshka: the model's own; its `before` runs just before vectors are shortened.
    """
    end = len(chain) - len(tuple(takewhile(lambda module: isinstance(module, Normalize), reversed(chain))))
    last = chain[end:] if normalize is None else (Normalize(),) * normalize
    short = (*matryoshka.before, Truncate(dims=dims)) if dims is not None else ()
    return (*chain[:end], *short, *last)
