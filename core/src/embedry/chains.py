"""Functions on chains of modules: kind, sizes, validation, and the split between engine and pipeline."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Literal

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
from embedry.modules import (
    ACTIVATIONS,
    POOLINGS,
    Chain,
    Dense,
    LayerNorm,
    LibraryModule,
    Matryoshka,
    Module,
    Normalize,
    Pooling,
    StaticEmbedding,
    Truncate,
)

Kind = Literal["dense", "reranker", "sparse", "multi_vector"]
"""The kinds of models: a vector per text, a score per pair of texts, term weights per text, a vector per token."""

DOORS: dict[Kind, str] = {
    "dense": "resolve",
    "reranker": "resolve_reranker",
    "sparse": "resolve_sparse",
    "multi_vector": "resolve_multi_vector",
}
"""Kind -> the function that resolves its models."""

KINDS: tuple[Kind, ...] = tuple(DOORS)

OF_TEXTS: tuple[Kind, ...] = ("dense", "sparse", "multi_vector")
"""The kinds that take texts, not pairs."""

NAMES: dict[Kind, str] = {
    "dense": "a dense model",
    "reranker": "a reranker",
    "sparse": "a sparse model",
    "multi_vector": "a multi-vector model",
}
"""Kind -> the name of its models in messages."""


_KINDS: dict[type[Module], Kind] = {
    Score: "reranker",
    SpladePooling: "sparse",
    TermWeights: "sparse",
    TermTable: "sparse",
    LateInteraction: "multi_vector",
}
"""Last module of a chain -> its kind; all other chains are dense."""

_STARTS: dict[Kind, tuple[type[Module], ...]] = {
    "dense": (Pooling, LibraryModule, StaticEmbedding),
    "reranker": (Pooling, LibraryModule, Classifier, LogitScore),
    "sparse": (MaskedLM, TermWeights, TermTable),
    "multi_vector": (Dense, LayerNorm, Normalize, LateInteraction),
}
"""Kind -> modules that a chain may start with: those that take token vectors, or replace the transformer."""


def kind(chain: Sequence[Module]) -> Kind:
    """The kind of a model with this chain."""
    return _KINDS.get(type(chain[-1]), "dense")


def order_fault(chain: Chain) -> str:
    """Describes a module in an invalid position; empty if there is none."""
    kind_of_chain = kind(chain)
    starts = _STARTS[kind_of_chain]
    if not isinstance(chain[0], starts):
        names = " or ".join(each.__name__ for each in starts)
        return f"chain of a {kind_of_chain} model must start with {names}, got {chain[0]}"
    ends = [label(module) for module in chain[:-1] if type(module) in _KINDS]
    if ends:
        return f"chain has {ends[0]}, which can only be its last module"
    if any(isinstance(module, StaticEmbedding) for module in chain[1:]):
        return "chain has a StaticEmbedding that is not its first module"
    if any(isinstance(module, SpladePooling) for module in chain) != any(isinstance(m, MaskedLM) for m in chain):
        return "chain must have a SpladePooling after a MaskedLM, and neither without the other"
    return ""


def label(module: Module) -> str:
    """The name of a module in messages."""
    if isinstance(module, LibraryModule):  # there may be several of a class, each set up in its own folder
        return f"{module.class_name} as {module.path or 'the top folder'} sets it up"
    return type(module).__name__


def fault(module: Module) -> str:
    """Describes an error in a module of an entry; empty if there is none."""
    if isinstance(module, Pooling) and not set(module.modes) <= set(POOLINGS):
        return f"pooling {module.mode!r} is not one of {', '.join(POOLINGS)}"
    if isinstance(module, Dense) and module.activation not in ACTIVATIONS:
        return f"activation {module.activation!r} is not one of {', '.join(ACTIVATIONS)}"
    if isinstance(module, Score) and module.activation not in ("identity", "sigmoid"):
        return f"activation {module.activation!r} of a score is not one of identity, sigmoid"
    if isinstance(module, Classifier) and (module.pooling not in ("cls", "mean") or module.labels < 1):
        return f"a Classifier has at least one label, and the pooling cls or mean, got {module}"
    if isinstance(module, SpladePooling) and (
        module.strategy not in ("max", "sum") or module.activation not in ("relu", "log1p_relu")
    ):
        return f"a SpladePooling has the strategy max or sum and the activation relu or log1p_relu, got {module}"
    if isinstance(module, Truncate):
        return "chain has a Truncate, which resolve(..., dims=) puts there; list the length in matryoshka"
    return ""


def width_fault(chain: Chain, dims: int) -> str:
    """Describes sizes in a chain that do not match each other or `dims`; empty if all match."""
    *before, last = widths(chain)
    for module, width in zip(chain, before, strict=True):
        if isinstance(module, Dense) and width not in (None, module.inputs):
            return f"the Dense module {module.path!r} takes {module.inputs} values and gets {width}"
    return "" if last in (None, dims) else f"the chain ends with vectors of length {last}, but dims is {dims}"


def widths(chain: Chain, tokens: int | None = None) -> list[int | None]:
    """The length of a text's vector before each module, and after the last; None if unknown.

    Args:
        chain: the chain of a model.
        tokens: the width of its transformer's token vectors, if known.
    """
    found: list[int | None] = [tokens if kind(chain) == "multi_vector" else None]
    for module in chain:
        width = found[-1]
        if isinstance(module, Pooling):
            width = tokens * len(module.modes) if tokens is not None else None
        elif isinstance(module, Dense | StaticEmbedding | TermWeights | TermTable):
            width = module.outputs
        elif isinstance(module, Classifier):
            width = module.labels
        elif isinstance(module, LogitScore):
            width = 1
        elif isinstance(module, MaskedLM):
            width = None
        elif isinstance(module, LibraryModule):  # may change token vectors too
            tokens = width = None
        found.append(width)
    return found


def leaves_out_prompt(chain: Chain) -> bool:
    """Whether a pooling leaves out the prompt's tokens, which cannot be recognized from token ids alone."""
    return any(isinstance(module, Pooling) and not module.include_prompt for module in chain)


def weights(chain: Chain) -> list[str]:
    """The files with the weights of a chain's modules, inside the repository, except those of a `LibraryModule`."""
    kinds = Dense | LayerNorm | StaticEmbedding | TermWeights | TermTable
    return [module.weights for module in chain if isinstance(module, kinds) and module.weights]


def needs_no_weights(module: Module) -> bool:
    """Whether the pipeline can run this module on a vector."""
    return isinstance(module, Truncate | Normalize) or module == LayerNorm()


def in_tail(module: Module) -> bool:
    """Whether the pipeline runs this module at the end of a chain."""
    return needs_no_weights(module) or isinstance(module, Score | LateInteraction)


def normalizes(chain: Chain) -> bool:
    """Whether a chain ends with vectors of unit length."""
    last = chain[-2:-1] if kind(chain) == "multi_vector" else chain[-1:]
    return any(isinstance(module, Normalize) for module in last)


def for_engine(chain: Chain) -> Chain:
    """The part of a chain that determines what is loaded: the body and, for kinds other than dense, a plain end module."""
    body, _ = split(chain)
    if isinstance(chain[-1], Score | LateInteraction):
        return (*body, type(chain[-1])())
    return body or chain


def split(chain: Sequence[Module]) -> tuple[Chain, Chain]:
    """The body, which an engine runs, and the tail, which the pipeline runs."""
    tail = tuple(takewhile(in_tail, reversed(chain)))[::-1]
    return tuple(chain[: len(chain) - len(tail)]), tail


def effective(chain: Chain, *, normalize: bool | None, dims: int | None, matryoshka: Matryoshka) -> Chain:
    """The chain with the changes of options of `resolve`.

    Args:
        chain: the chain of the model's entry.
        normalize: adds or removes a `Normalize` at the end; None does not change the end.
        dims: shortens the vectors just before that `Normalize`; None keeps their length.
        matryoshka: that of the model; its `before` runs just before vectors are shortened.
    """
    marker = chain[-1:] if kind(chain) == "multi_vector" else ()  # what it says of tokens stays behind their vectors
    chain = chain[: len(chain) - len(marker)]
    end = len(chain) - len(tuple(takewhile(lambda module: isinstance(module, Normalize), reversed(chain))))
    last = chain[end:] if normalize is None else (Normalize(),) * normalize
    short = (*matryoshka.before, Truncate(dims=dims)) if dims is not None else ()
    return (*chain[:end], *short, *last, *marker)
