"""The classes of the transformers library that build a tokenizer themselves instead of using all of tokenizer.json.

Their behavior follows the sources of transformers 5: such a class uses its own normalizer, pre-tokenizer and special tokens with
the vocabulary in tokenizer.json.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from embedry_layouts.tokenizer_schema import (
    ConfigFile,
    Normalizer,
    PostProcessor,
    PreTokenizer,
    TokenizerFile,
    token_text,
)

Disagreement = tuple[str, object, object]
"""What about, what holds for the library, and what tokenizer.json says."""


@dataclass(frozen=True)
class Built:
    """The tokenizer of a class that builds it itself."""

    model: str
    """The kind of its vocabulary."""
    pre_tokenizer: str
    around: tuple[tuple[str, str] | None, tuple[str, str]]
    """The special tokens before and after a text: the key of tokenizer_config.json, and what holds without it."""
    prefix_space: bool | None = None
    """Whether a space is put before a text, unless add_prefix_space says so; None for classes that never do."""
    unk_id: int = 3
    """Of a Unigram: the piece that stands for what it does not know."""
    mask: str | None = "<mask>"
    """The token that stands for a missing one, without a setting of its own."""

    @property
    def special(self) -> dict[str, str]:
        """The default special tokens, by their names in tokenizer_config.json."""
        found = dict(each for each in self.around if each is not None)
        return found | ({"mask_token": self.mask} if self.mask is not None else {})


_BERT = Built("WordPiece", "BertPreTokenizer", (("cls_token", "[CLS]"), ("sep_token", "[SEP]")), mask="[MASK]")

BUILT = {
    **dict.fromkeys(("Bert", "DistilBert", "Electra", "MobileBert", "Lxmert", "LayoutLM"), _BERT),
    "Funnel": Built("WordPiece", "BertPreTokenizer", (("cls_token", "<cls>"), ("sep_token", "<sep>"))),
    "MPNet": Built("WordPiece", "BertPreTokenizer", (("cls_token", "<s>"), ("sep_token", "</s>"))),
    "Roberta": Built("BPE", "ByteLevel", (("cls_token", "<s>"), ("sep_token", "</s>")), False),
    "XLMRoberta": Built("Unigram", "Metaspace", (("bos_token", "<s>"), ("eos_token", "</s>")), True),
    "T5": Built("Unigram", "Metaspace", (None, ("eos_token", "</s>")), True, unk_id=2, mask=None),
}
"""The name of a class, less "Tokenizer" or "TokenizerFast" -> what it makes."""

_NORMALIZERS = ("Precompiled", "Strip", "Replace")
"""Those of XLM-RoBERTa's and T5's tokenizers; all but the first only tidy up spaces, at which the class splits anyway."""


@dataclass(frozen=True)
class Fixed:
    """The tokenizer of a class with fixed steps. The special tokens around a text are those of tokenizer.json."""

    normalizer: Normalizer
    pre_tokenizer: tuple[PreTokenizer, ...]
    byte_fallback: bool


_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

FIXED = {
    "Qwen2": Fixed(
        Normalizer(type="NFC"),
        (
            PreTokenizer(type="Split", pattern={"Regex": _QWEN_WORDS}, behavior="Isolated"),
            PreTokenizer(type="ByteLevel", add_prefix_space=False, use_regex=False),
        ),
        byte_fallback=False,
    ),
    "Gemma": Fixed(
        Normalizer(type="Replace", pattern={"String": " "}, content="▁"),
        (PreTokenizer(type="Split", pattern={"String": " "}, behavior="MergedWithPrevious"),),
        byte_fallback=True,
    ),
}
"""The same names -> what they make; both of a BPE."""


def disagreements(config: ConfigFile, file: TokenizerFile, kind: str) -> Iterator[Disagreement]:
    """The differences between the two files that are not settings of an entry.

    Args:
        config: tokenizer_config.json.
        file: tokenizer.json.
        kind: the name of the class, a key of `BUILT` or `FIXED`, or any other.
    """
    if config.split_special_tokens:
        yield "split_special_tokens", True, False
    yield from _added_tokens(config, file, kind)
    if kind in FIXED:
        yield from _steps_apart(config, file, FIXED[kind])
    built = BUILT.get(kind)
    if built is None:
        return
    if file.model.type not in (None, built.model):
        yield "model", built.model, file.model.type
    yield from _words(config, file, built)
    yield from _spaces(config, file, built)
    before, after = ([token_text(getattr(config, each[0]) or each[1])] if each else [] for each in built.around)
    around = _around(file.post_processor)
    if around != (before, after):
        yield "post_processor", [*before, *after], around


def _steps_apart(config: ConfigFile, file: TokenizerFile, fixed: Fixed) -> Iterator[Disagreement]:
    if file.model.type not in (None, "BPE"):
        yield "model", "BPE", file.model.type
    if bool(file.model.byte_fallback) != fixed.byte_fallback:
        yield "model.byte_fallback", fixed.byte_fallback, file.model.byte_fallback
    if file.normalizer != fixed.normalizer:
        yield "normalizer", fixed.normalizer.type, file.normalizer.type if file.normalizer else None
    *splits, last = fixed.pre_tokenizer
    if config.add_prefix_space and last.add_prefix_space is not None:
        last = replace(last, add_prefix_space=True)
    if _steps(file.pre_tokenizer) != [*splits, last]:
        yield "pre_tokenizer", _names([*splits, last]), _names(_steps(file.pre_tokenizer))


def _added_tokens(config: ConfigFile, file: TokenizerFile, kind: str) -> Iterator[Disagreement]:
    ids = {token.content: token.id for token in file.added_tokens}
    decoder = config.added_tokens_decoder
    for number, token in (decoder or {}).items():
        if str(ids.get(token.content)) != number:
            yield f"added_tokens_decoder.{number}", token.content, ids.get(token.content)
    known = {token.content for token in (decoder or {}).values()} | set(config.special())
    for content in config.special():
        if content not in ids:
            yield "special tokens", content, None
    for content in ids:
        if decoder is not None and kind in BUILT and content not in known:
            yield "added_tokens", None, content


def _words(config: ConfigFile, file: TokenizerFile, built: Built) -> Iterator[Disagreement]:
    """Differences in the use of the vocabulary."""
    expected: dict[str, object] = {}
    if built.model == "WordPiece":
        unknown = token_text(config.unk_token or "[UNK]")
        expected = {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "unk_token": unknown}
    elif built.model == "Unigram":
        expected = {"unk_id": built.unk_id, "byte_fallback": False}
    for key, wanted in expected.items():
        found = getattr(file.model, key)
        if found is not None and found != wanted:
            yield f"model.{key}", wanted, found


def _spaces(config: ConfigFile, file: TokenizerFile, built: Built) -> Iterator[Disagreement]:
    """Differences in normalizing and splitting a text."""
    steps = _steps(file.pre_tokenizer)
    names = [step.type for step in steps]
    if names != [built.pre_tokenizer] and not (
        built.pre_tokenizer == "Metaspace" and names == ["WhitespaceSplit", "Metaspace"]
    ):
        yield "pre_tokenizer", built.pre_tokenizer, _names(steps)
        return
    if not steps[-1].use_regex:
        yield "pre_tokenizer.use_regex", True, False
    if built.prefix_space is not None:
        wanted = built.prefix_space if config.add_prefix_space is None else config.add_prefix_space
        found = steps[-1].add_prefix_space
        if steps[-1].prepend_scheme is not None:
            found = steps[-1].prepend_scheme == "always"
        if found is not None and found != wanted:
            yield "add_prefix_space", wanted, found
        allowed = _NORMALIZERS if built.pre_tokenizer == "Metaspace" else ()
        for normalizer in _normalizers(file.normalizer):
            if normalizer.type not in allowed or normalizer.pattern not in (None, {"Regex": " {2,}"}):
                yield "normalizer", None, normalizer.type


def _steps(pre_tokenizer: PreTokenizer | None) -> list[PreTokenizer]:
    if pre_tokenizer is None:
        return []
    return pre_tokenizer.pretokenizers if pre_tokenizer.type == "Sequence" else [pre_tokenizer]


def _names(steps: list[PreTokenizer]) -> str | None:
    return "+".join(step.type for step in steps) or None


def _normalizers(normalizer: Normalizer | None) -> list[Normalizer]:
    if normalizer is None:
        return []
    return normalizer.normalizers if normalizer.type == "Sequence" else [normalizer]


def _around(processor: PostProcessor | None) -> tuple[list[str], list[str]]:
    """The special tokens before and after a text."""
    before: list[str] = []
    after: list[str] = []
    if processor is None:
        return before, after
    for each in processor.processors if processor.type == "Sequence" else [processor]:
        if each.sep is not None and each.cls is not None:
            before, after = [each.cls[0], *before], [*after, each.sep[0]]
        tokens = [str(piece["SpecialToken"].get("id")) if "SpecialToken" in piece else None for piece in each.single]
        if None in tokens:  # where the text stands
            place = tokens.index(None)
            before = [token for token in tokens[:place] if token] + before
            after = after + [token for token in tokens[place + 1 :] if token]
    return before, after
