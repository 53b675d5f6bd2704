"""Opens a tokenizer.json with the tokenizers library, and converts its errors to embedry's."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer

from embedry.errors import IntegrityError, is_failure


def open_tokenizer(file: Path) -> RustTokenizer:
    """The tokenizer of a tokenizer.json.

    Raises:
        IntegrityError: it is not one.
    """
    try:
        return RustTokenizer.from_file(str(file))
    except BaseException as error:  # the binding raises plain Exception, and for some files a Rust panic, which is none
        if not is_failure(error):
            raise
        raise IntegrityError(f"{file} cannot be read as a tokenizer: {error}") from error


def greatest_id(file: Path) -> int:
    """The greatest token id that the tokenizer of a tokenizer.json can give; special tokens need not be in its vocabulary.

    Raises:
        IntegrityError: as `open_tokenizer`.
    """
    tokenizer = open_tokenizer(file)
    return max([*tokenizer.get_vocab().values(), *encode(tokenizer, [""])[0].ids], default=0)


def unknown_token(file: Path) -> int | None:
    """The id of the token that stands for what the vocabulary of a tokenizer.json does not have; None if there is none.

    Raises:
        IntegrityError: as `open_tokenizer`.
    """
    tokenizer = open_tokenizer(file)
    if hasattr(tokenizer.model, "unk_token"):
        token = tokenizer.model.unk_token
        return tokenizer.token_to_id(token) if token is not None else None
    found = json.loads(tokenizer.to_str())["model"].get("unk_id")  # a Unigram vocabulary has an id
    return int(found) if found is not None else None


def terms(file: Path) -> list[str]:
    """The terms of the vocabulary of a tokenizer.json, by their ids; empty where there is none.

    Raises:
        IntegrityError: as `open_tokenizer`.
    """
    ids = open_tokenizer(file).get_vocab()
    names = [""] * (max(ids.values(), default=-1) + 1)
    for name, number in ids.items():
        names[number] = name
    return names


def encode(
    tokenizer: RustTokenizer,
    texts: Sequence[str] | Sequence[tuple[str, str]],
    *,
    special: bool = True,
    places: bool = False,
) -> list[Encoding]:
    """The tokens of some texts, or of pairs of them, with the model's special tokens around each or without; with `places` also their texts, and
    where they are, which takes longer.

    Raises:
        IntegrityError: the tokenizer fails on a text.
    """
    try:
        read = tokenizer.encode_batch if places else tokenizer.encode_batch_fast
        return read(texts, add_special_tokens=special)
    except BaseException as error:  # a Rust panic is no Exception
        if not is_failure(error):
            raise
        raise IntegrityError(f"the model's tokenizer is damaged, it fails on a text: {error}") from error
