"""Opening a tokenizer.json with the library that runs it; what that library raises comes out as errors of ours."""

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


def encode(tokenizer: RustTokenizer, texts: Sequence[str]) -> list[Encoding]:
    """The tokens of some texts.

    Raises:
        IntegrityError: the tokenizer fails on a text.
    """
    try:
        return tokenizer.encode_batch_fast(texts)
    except BaseException as error:  # a Rust panic is no Exception
        if not is_failure(error):
            raise
        raise IntegrityError(f"the model's tokenizer is damaged, it fails on a text: {error}") from error
