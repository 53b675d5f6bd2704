"""Where an entry's transformer is, and how it reads texts."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BertNormalizer:
    """How a text is normalized before it is split into words, in BERT's way (tokenizers.normalizers.BertNormalizer)."""

    lower_case: bool = True
    strip_accents: bool | None = None
    """None: as `lower_case`."""
    chinese_chars: bool = True
    """Whether every Chinese character is a word of its own."""


@dataclass(frozen=True, kw_only=True)
class PairFrame:
    """How a reranker that is a decoder reads a pair: the query and the document, each behind its prompt, as one text, in a frame."""

    before: str
    """Stands before that text, and is never truncated."""
    after: str
    """Stands behind it, and is never truncated."""


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """Where a model's transformer is, and how it reads texts."""

    path: str = ""
    """The folder inside the repository with its config.json, tokenizer.json and weights; empty for the top."""
    lower_case: bool = False
    """Whether texts are lowercased before the tokenizer's own normalizer sees them."""
    normalizer: BertNormalizer | None = None
    """In place of the normalizer in tokenizer.json; None keeps that."""
    split_at_spaces: bool = False
    """Whether texts are split at white space before the pre-tokenizer in tokenizer.json sees them."""
    truncate_left: bool = False
    """Whether of a longer text the end is read, and not the beginning."""
    whole_tokens: tuple[str, ...] = ()
    """Tokens of the vocabulary that are read as one wherever they stand in a text or a prompt, such as "[unused0]"."""
    pair: PairFrame | None = None
    """None where a pair is read as the tokenizer's own template says."""

    def file(self, name: str) -> str:
        """The path of one of its files inside the repository."""
        return f"{self.path}/{name}" if self.path else name


AT_TOP = Transformer()
"""A transformer whose files are at the top of the repository, and which reads texts as tokenizer.json says."""
