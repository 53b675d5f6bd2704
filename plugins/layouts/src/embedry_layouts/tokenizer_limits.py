"""Limits for tokenizer.json: some valid files crash the native tokenizer or make a text grow without bound."""

import base64
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from msgspec import Struct

from embedry._files import parsing
from embedry.errors import IntegrityError, UnsupportedModelError

LARGEST = 64 * 2**20
"""Bytes of a tokenizer.json. The largest known, of 262,144 tokens with their merges, has 33 MB."""

_MOST_STEPS = 32
"""Steps of one kind. Known tokenizers have up to six."""

_MOST_GROWTH = 4096
"""How many characters normalizers may make of one. Those of XLM-RoBERTa make 33: of a ligature of four words."""


class _Step(Struct):
    """A normalizer or a post-processor, or a sequence of them."""

    type: str = ""
    pattern: Any = None
    content: str = ""
    prepend: str = ""
    precompiled_charsmap: str | None = None
    single: list[dict[str, Any]] = []
    normalizers: "list[_Step]" = []
    processors: "list[_Step]" = []

    @property
    def growth(self) -> int:
        """The maximum number of characters that this makes of one character."""
        if self.type == "Replace":  # an expression may match between two characters too
            is_text = isinstance(self.pattern, dict) and bool(self.pattern.get("String"))
            return max(1, len(self.content)) if is_text else 1 + len(self.content)
        if self.type == "ByteLevel":
            return 4
        if self.type == "Precompiled":
            return _longest_mapping(self.precompiled_charsmap or "")
        return 1 + len(self.prepend)

    def steps(self) -> "Iterator[_Step]":
        """The steps of this sequence."""
        inner = [*self.normalizers, *self.processors]
        if self.type != "Sequence":
            yield self
        for step in inner:
            yield from step.steps()


class _Model(Struct):
    type: str = ""
    continuing_subword_prefix: str | None = None


class _File(Struct):
    model: _Model
    normalizer: _Step | None = None
    post_processor: _Step | None = None


class _Merges(Struct):
    merges: list[str | list[str]] = []


class _MergesFile(Struct):
    model: _Merges


def check(folder: Path, file: str) -> None:
    """Checks a tokenizer.json for content that would crash the process or exhaust memory or time.

    Args:
        folder: the model's folder.
        file: the path of tokenizer.json inside it.

    Raises:
        UnsupportedModelError: its steps could expand a text too much; names them.
        IntegrityError: it is not a valid tokenizer file, or its merges contradict its prefix.
    """
    path = folder / file
    found = parsing.read(folder, file, _File, LARGEST)
    if found.model.type == "BPE" and found.model.continuing_subword_prefix:
        _check_merges(path, found.model.continuing_subword_prefix, parsing.read(folder, file, _MergesFile, LARGEST))
    normalizers = list(found.normalizer.steps()) if found.normalizer is not None else []
    processors = list(found.post_processor.steps()) if found.post_processor is not None else []
    copies = [[piece for piece in step.single if "Sequence" in piece] for step in processors]
    faults = {
        f"more than {_MOST_STEPS} steps": max(len(normalizers), len(processors)) > _MOST_STEPS,
        f"normalizers that make more than {_MOST_GROWTH} characters of one": prod(step.growth for step in normalizers)
        > _MOST_GROWTH,
        "a post-processor that repeats the text": any(len(pieces) > 1 for pieces in copies),
    }
    for fault, there in faults.items():
        if there:
            raise UnsupportedModelError(f"{path} has {fault}, which embedry does not run")


def _longest_mapping(charsmap: str) -> int:
    """The maximum bytes that a sentencepiece map substitutes for a character. The map is a trie, followed by zero-terminated strings."""
    try:
        content = base64.b64decode(charsmap)
    except ValueError:  # rejected by the native code
        return 1
    texts = content[4 + int.from_bytes(content[:4], "little") :]
    return max(1, *map(len, texts.split(b"\0")))


def _check_merges(path: Path, prefix: str, found: _MergesFile) -> None:
    """The native code removes the prefix from the second part of each merge without a check, and crashes if it is missing."""
    for merge in found.model.merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) == 2 and not parts[1].startswith(prefix):
            raise IntegrityError(
                f"{path} has the merge {parts}, whose second part lacks the continuing_subword_prefix {prefix!r}"
            )
