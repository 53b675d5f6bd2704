"""Reads files of multi-vector embedders saved by PyLate or by ColBERT's authors.

Follows sentence-transformers 6.2 (its multi_vector_encoder/model.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from embedry._files.weights import tensors
from embedry.errors import IntegrityError
from embedry_layouts.files import SETTINGS, STANFORD, WEIGHTS, Count, Files

_LENGTH = 32
"""Tokens that queries are filled up to where no file says it."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Settings of both roles that the transformer's own options do not state."""

    file: str
    """Which says it."""
    query_length: int | None
    document_length: int | None
    expansion: dict[str, Any] | None
    prefixes: Mapping[str, str]
    """Role -> a marker that stands before a text and its prompt."""
    skip: Sequence[str] | None
    """Tokens that do not count in documents."""


class PylateFile(Struct):
    """The part of config_sentence_transformers.json for multi-vector embedders; most keys are PyLate's."""

    query_prefix: str | UnsetType | None = UNSET
    document_prefix: str | UnsetType | None = UNSET
    query_length: Count | UnsetType | None = UNSET
    document_length: Count | UnsetType | None = UNSET
    query_expansion: dict[str, Any] | UnsetType | None = UNSET
    do_query_expansion: bool | UnsetType | None = UNSET
    attend_to_expansion_tokens: bool | UnsetType | None = UNSET
    attend_to_mask_tokens: bool | UnsetType | None = UNSET
    skiplist_words: list[str] | UnsetType | None = UNSET


class StanfordFile(Struct):
    """artifact.metadata of ColBERT's authors."""

    query_token_id: str | None = None
    doc_token_id: str | None = None
    query_maxlen: Count | None = None
    doc_maxlen: Count | None = None
    attend_to_mask_tokens: bool | None = None
    mask_punctuation: bool | None = True
    dim: Count | None = None
    """Width of a token's vector."""

    def asked(self) -> Asked:
        """The settings of the file, and the default marker tokens."""
        markers = {"query": self.query_token_id or "[unused0]", "document": self.doc_token_id or "[unused1]"}
        attend, length = bool(self.attend_to_mask_tokens), self.query_maxlen or _LENGTH
        return Asked(
            file=STANFORD,
            query_length=None,
            document_length=self.doc_maxlen,
            expansion={"strategy": "fixed", "attend": attend, "length": length},
            prefixes={role: f"{marker} " for role, marker in markers.items()},
            skip=None,
        )


def stanford(files: Files) -> StanfordFile:
    """Reads artifact.metadata of a model; without the file, uses the defaults.

    Raises:
        IntegrityError: it is not valid JSON or has the wrong structure.
    """
    return files.read_or(STANFORD, StanfordFile, StanfordFile())


def width(files: Files) -> int:
    """The length of the token vectors, read from the weights.

    Raises:
        WeightsNotFoundError: there are no weights.
        IntegrityError: they have no projection for token vectors.
    """
    files.check_present([WEIGHTS])
    stored = tensors(files.folder / WEIGHTS)
    if "linear.weight" not in stored or len(stored["linear.weight"].shape) != 2:
        raise IntegrityError(
            f"{files.folder / WEIGHTS} has no matrix 'linear.weight', which makes the vectors of tokens"
        )
    return stored["linear.weight"].shape[0]


def pylate(files: Files) -> Asked:
    """The settings in PyLate's keys of config_sentence_transformers.json.

    Raises:
        IntegrityError: it is not valid JSON or has the wrong structure.
    """
    stated = files.read_or(SETTINGS, PylateFile, PylateFile())
    is_pylates = stated != PylateFile()
    query_length = stated.query_length or None
    expansion = stated.query_expansion or None
    if stated.query_expansion is UNSET and is_pylates and stated.do_query_expansion is not False:
        attend = stated.attend_to_expansion_tokens
        attend = stated.attend_to_mask_tokens if attend is UNSET else attend
        expansion = {"strategy": "fixed", "attend": bool(attend), "length": query_length or _LENGTH}
        query_length = None
    prefixes = {"query": stated.query_prefix, "document": stated.document_prefix}
    return Asked(
        file=SETTINGS,
        query_length=query_length,
        document_length=stated.document_length or None,
        expansion=expansion,
        prefixes={role: prefix or "" for role, prefix in prefixes.items() if prefix is not UNSET},
        skip=None if stated.skiplist_words is UNSET else stated.skiplist_words,
    )
