"""The location of an entry's transformer and its tokenization settings."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BertNormalizer:
    """Settings of BERT's text normalizer (tokenizers.normalizers.BertNormalizer)."""

    lower_case: bool = True
    strip_accents: bool | None = None
    """None for the value of `lower_case`."""
    chinese_chars: bool = True
    """Whether every Chinese character is a separate word."""


@dataclass(frozen=True, kw_only=True)
class PairFrame:
    """The text around a pair in decoder rerankers, which read query and document, each after its prompt, as one text."""

    before: str
    """Prepended to that text; never truncated."""
    after: str
    """Appended to that text; never truncated."""


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """The location of a model's transformer and its tokenization settings."""

    path: str = ""
    """The folder inside the repository with its config.json, tokenizer.json and weights; empty for the top."""
    lower_case: bool = False
    """Whether texts are lowercased before the tokenizer's own normalizer runs."""
    normalizer: BertNormalizer | None = None
    """Replaces the normalizer in tokenizer.json; None keeps it."""
    split_at_spaces: bool = False
    """Whether texts are split at whitespace before the pre-tokenizer in tokenizer.json runs."""
    truncate_left: bool = False
    """Whether long texts are truncated at the beginning instead of the end."""
    whole_tokens: tuple[str, ...] = ()
    """Vocabulary tokens that are never split, wherever they occur in a text or a prompt, such as "[unused0]"."""
    pair: PairFrame | None = None
    """None to use the tokenizer's own template for pairs."""

    def file(self, name: str) -> str:
        """The path inside the repository of a file in this folder."""
        return f"{self.path}/{name}" if self.path else name


AT_TOP = Transformer()
"""A transformer with its files at the top of the repository and the settings of tokenizer.json."""
