"""Modules of rerankers, sparse models and multi-vector models."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """The classification head among the transformer's own tensors: token vectors to logits, (labels,).

    It computes the same as the family's ForSequenceClassification class in the transformers library.
    """

    labels: int = 1
    pooling: Literal["cls", "mean"] = "cls"
    """Whether it takes the first token vector or the mean of all. Ignored for decoders, which take the last one."""


@dataclass(frozen=True, kw_only=True)
class LogitScore:
    """The score from a decoder's language-model head at the last token: logit(true_token) - logit(false_token), (1,)."""

    true_token: int
    false_token: int | None = None
    """None to subtract nothing."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The end of a reranker's chain: applies the activation to a pair's logits, (labels,), in float64."""

    activation: Literal["identity", "sigmoid"] = "identity"


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """The masked-language-model head among the transformer's own tensors: for each token, a logit for each vocabulary term."""


@dataclass(frozen=True, kw_only=True)
class SpladePooling:
    """Term weights from the logits of a text's tokens (Formal et al. 2021, arXiv:2109.10086).

    The maximum or sum of log(1 + relu(logit)) over the tokens.
    """

    strategy: Literal["max", "sum"] = "max"
    activation: Literal["relu", "log1p_relu"] = "relu"
    """ "log1p_relu" applies log(1 + x) to the weight a second time (arXiv:2504.14839)."""


@dataclass(frozen=True, kw_only=True)
class TermWeights:
    """A weight for each token, relu(vector @ weight + bias); a term's weight is the maximum over its tokens.

    This is how bge-m3 computes sparse vectors (arXiv:2402.03216).
    """

    path: str
    """The folder whose model.safetensors has `linear.weight` (1, inputs) and `linear.bias` (1,)."""
    inputs: int
    outputs: int
    """Vocabulary size."""
    skip: tuple[int, ...] = ()
    """Ids of tokens without a weight, such as special tokens."""

    @property
    def weights(self) -> str:
        """The file with the weights, inside the repository."""
        return f"{self.path}/model.safetensors"


@dataclass(frozen=True, kw_only=True)
class TermTable:
    """A fixed weight for each distinct term of a text. It is the only module of its chain and replaces the transformer.

    Inference-free sparse models use it for queries (arXiv:2411.04403). Texts are tokenized without special tokens.
    """

    outputs: int
    """Vocabulary size."""
    path: str = ""
    """The folder inside the repository with tokenizer.json and the weights; empty for the top."""
    table: str = "model.safetensors"
    """The file in that folder with `weight` (outputs,), or a JSON object of terms and their weights."""

    @property
    def weights(self) -> str:
        """The file with the weights, inside the repository."""
        return f"{self.path}/{self.table}" if self.path else self.table

    @property
    def tokenizer(self) -> str:
        """The tokenizer's file, inside the repository."""
        return f"{self.path}/tokenizer.json" if self.path else "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class LateInteraction:
    """The end of a multi-vector model's chain: selects token vectors (Khattab and Zaharia 2020, arXiv:2004.12832)."""

    query_length: int | None = None
    """Maximum number of tokens in a query; None for `max_seq_length`."""
    document_length: int | None = None
    """Maximum number of tokens in a document; None for `max_seq_length`."""
    expand_to: int = 0
    """Shorter queries are padded to this many tokens with `expand_with`, whose vectors are kept; 0 for no expansion."""
    expand_with: str = "[MASK]"
    attend: bool = False
    """Whether a query's own tokens attend to the expansion tokens."""
    skip: tuple[str, ...] = ()
    """Tokens whose vectors are dropped, such as punctuation."""
    skip_in: tuple[str, ...] = ("document",)
    """The roles in which they are dropped."""
    keep_only: tuple[int, ...] = ()
    """If not empty, only the vectors of these token ids are kept in documents."""
