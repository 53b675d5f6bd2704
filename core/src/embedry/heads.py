"""The modules that make something else than a vector for a text: scores, weights of terms, vectors of tokens."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """The classification head among the transformer's own tensors: token vectors to logits, (labels,).

    It is computed as by the class of the model's family in the transformers library that ends in ForSequenceClassification.
    """

    labels: int = 1
    pooling: Literal["cls", "mean"] = "cls"
    """Which token vectors it takes: the first, or the mean of all. A decoder's class takes the last one, whatever this says."""


@dataclass(frozen=True, kw_only=True)
class LogitScore:
    """From a decoder's language-model head at the last token of a pair: logit(true_token) - logit(false_token), (1,)."""

    true_token: int
    false_token: int | None = None
    """None to subtract nothing."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The end of a reranker's chain: a pair's logits, (labels,), are shown through the activation, computed in float64."""

    activation: Literal["identity", "sigmoid"] = "identity"


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """The masked-language-model head among the transformer's own tensors: a logit of each term of the vocabulary for each token."""


@dataclass(frozen=True, kw_only=True)
class SpladePooling:
    """Weights of the terms of the vocabulary from the logits of a text's tokens (Formal et al. 2021, arXiv:2109.10086).

    The greatest, or the sum, over the tokens of log(1 + relu(logit)).
    """

    strategy: Literal["max", "sum"] = "max"
    activation: Literal["relu", "log1p_relu"] = "relu"
    """ "log1p_relu" takes log(1 + x) of the weight once more (arXiv:2504.14839)."""


@dataclass(frozen=True, kw_only=True)
class TermWeights:
    """A weight for each token, relu(vector @ weight + bias); a term's weight is the greatest of its tokens'.

    As bge-m3 computes its sparse vectors (arXiv:2402.03216).
    """

    path: str
    """The folder whose model.safetensors has `linear.weight` (1, inputs) and `linear.bias` (1,)."""
    inputs: int
    outputs: int
    """Terms of the vocabulary."""
    skip: tuple[int, ...] = ()
    """Ids of tokens that have no weight, such as special ones."""

    @property
    def weights(self) -> str:
        """The file with its weights, inside the repository."""
        return f"{self.path}/model.safetensors"


@dataclass(frozen=True, kw_only=True)
class TermTable:
    """The stated weight of each term that occurs in a text, however often; it stands alone, in place of a transformer.

    The query side of inference-free sparse models (arXiv:2411.04403). Texts are read without special tokens.
    """

    outputs: int
    """Terms of the vocabulary."""
    path: str = ""
    """The folder inside the repository with tokenizer.json and the weights; empty for the top."""
    table: str = "model.safetensors"
    """The file there with `weight` (outputs,), or a JSON object of terms and their weights."""

    @property
    def weights(self) -> str:
        """The file with the weights, inside the repository."""
        return f"{self.path}/{self.table}" if self.path else self.table

    @property
    def tokenizer(self) -> str:
        """The file of its tokenizer, inside the repository."""
        return f"{self.path}/tokenizer.json" if self.path else "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class LateInteraction:
    """The end of a multi-vector model's chain: which of a text's token vectors count (Khattab and Zaharia 2020, arXiv:2004.12832)."""

    query_length: int | None = None
    """Tokens that are read of a query; None for `max_seq_length`."""
    document_length: int | None = None
    """The same of a document."""
    expand_to: int = 0
    """A query of fewer tokens is filled up to so many with `expand_with`, whose vectors count as well; 0 for no expansion."""
    expand_with: str = "[MASK]"
    attend: bool = False
    """Whether a query's own tokens attend to those that fill it up."""
    skip: tuple[str, ...] = ()
    """Tokens whose vectors do not count, such as punctuation."""
    skip_in: tuple[str, ...] = ("document",)
    """The roles in which they do not."""
    keep_only: tuple[int, ...] = ()
    """If there are any, ids of the tokens that alone count in a document."""
