"""The two files of a tokenizer, and the classes of the transformers library that build one themselves instead of reading it whole.

What such a class does comes from the sources of transformers 5: its own normalizer, pre-tokenizer and special tokens, around the
vocabulary in tokenizer.json.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import asdict, replace

Disagreement = tuple[str, object, object]
"""What about, what holds for the library, and what tokenizer.json says."""


@dataclass(frozen=True)
class Built:
    """What a class that builds its tokenizer itself makes."""

    model: str
    """The kind of its vocabulary."""
    pre_tokenizer: str
    around: tuple[tuple[str, str], tuple[str, str]]
    """The special tokens before and after a text: the key of tokenizer_config.json, and what holds without it."""
    prefix_space: bool | None = None
    """Whether a space is put before a text, unless add_prefix_space says so; None for classes that never do."""


_BERT = Built("WordPiece", "BertPreTokenizer", (("cls_token", "[CLS]"), ("sep_token", "[SEP]")))

BUILT = {
    **dict.fromkeys(("Bert", "DistilBert", "Electra", "MobileBert", "Lxmert", "LayoutLM"), _BERT),
    "Funnel": Built("WordPiece", "BertPreTokenizer", (("cls_token", "<cls>"), ("sep_token", "<sep>"))),
    "MPNet": Built("WordPiece", "BertPreTokenizer", (("cls_token", "<s>"), ("sep_token", "</s>"))),
    "Roberta": Built("BPE", "ByteLevel", (("cls_token", "<s>"), ("sep_token", "</s>")), False),
    "XLMRoberta": Built("Unigram", "Metaspace", (("bos_token", "<s>"), ("eos_token", "</s>")), True),
}
"""The name of a class, less "Tokenizer" or "TokenizerFast" -> what it makes."""

_NORMALIZERS = ("Precompiled", "Strip", "Replace")
"""Those of XLM-RoBERTa's tokenizers; all but the first only tidy up spaces, at which the class splits anyway."""


class _Normalizer(Struct):
    type: str = ""
    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True
    pattern: dict[str, str] | None = None
    normalizers: "list[_Normalizer]" = []


class _PreTokenizer(Struct):
    type: str = ""
    add_prefix_space: bool | None = None
    prepend_scheme: str | None = None
    use_regex: bool = True
    pretokenizers: "list[_PreTokenizer]" = []


class _PostProcessor(Struct):
    type: str = ""
    single: list[dict[str, dict[str, Any]]] = []
    sep: tuple[str, int] | None = None
    cls: tuple[str, int] | None = None
    processors: "list[_PostProcessor]" = []


class _Truncation(Struct):
    direction: str = "Right"


class _Model(Struct):
    type: str | None = None
    unk_token: str | None = None
    unk_id: int | None = None
    continuing_subword_prefix: str | None = None
    max_input_chars_per_word: int | None = None
    byte_fallback: bool | None = None


class _AddedToken(Struct):
    id: int
    content: str


class TokenizerFile(Struct):
    """tokenizer.json."""

    model: _Model
    normalizer: _Normalizer | None = None
    pre_tokenizer: _PreTokenizer | None = None
    post_processor: _PostProcessor | None = None
    truncation: _Truncation | None = None
    added_tokens: list[_AddedToken] = []


class _NamedToken(Struct):
    content: str


_Token = str | _NamedToken | None


class ConfigFile(Struct):
    """tokenizer_config.json."""

    tokenizer_class: str | None = None
    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None
    truncation_side: Literal["left", "right"] | None = None
    add_prefix_space: bool | None = None
    split_special_tokens: bool | None = None
    model_max_length: int | float | None = None
    added_tokens_decoder: dict[str, _NamedToken] | None = None
    additional_special_tokens: list[str | _NamedToken] | None = None
    extra_special_tokens: list[str | _NamedToken] | dict[str, str | _NamedToken] | None = None
    bos_token: _Token = None
    eos_token: _Token = None
    unk_token: _Token = None
    sep_token: _Token = None
    pad_token: _Token = None
    cls_token: _Token = None
    mask_token: _Token = None

    def under(self, other: "ConfigFile") -> "ConfigFile":
        """These settings, less those that the other file has."""
        return replace(self, **{key: value for key, value in asdict(other).items() if value is not None})

    def special(self) -> list[str]:
        """Every token that the file calls special."""
        names = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
        extra = self.extra_special_tokens or []
        tokens = [getattr(self, name) for name in names]
        tokens += [*(self.additional_special_tokens or []), *(extra.values() if isinstance(extra, dict) else extra)]
        return [_content(token) for token in tokens if token is not None]


class ModelFile(Struct):
    """What config.json says of the tokenizer."""

    tokenizer_class: str | None = None


def disagreements(config: ConfigFile, file: TokenizerFile, kind: str) -> Iterator[Disagreement]:
    """What the two files say differently, and is not a setting that an entry has.

    Args:
        config: tokenizer_config.json.
        file: tokenizer.json.
        kind: the name of the class, a key of `BUILT` or any other.
    """
    if config.split_special_tokens:
        yield "split_special_tokens", True, False
    yield from _added_tokens(config, file, kind)
    built = BUILT.get(kind)
    if built is None:
        return
    if file.model.type not in (None, built.model):
        yield "model", built.model, file.model.type
    yield from _words(config, file, built)
    yield from _spaces(config, file, built)
    wanted = [_content(getattr(config, key) or default) for key, default in built.around]
    around = _around(file.post_processor)
    if around != ([wanted[0]], [wanted[1]]):
        yield "post_processor", wanted, around


def _content(token: str | _NamedToken) -> str:
    return token if isinstance(token, str) else token.content


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
    """What may differ in how the vocabulary is used."""
    expected: dict[str, object] = {}
    if built.model == "WordPiece":
        unknown = _content(config.unk_token or "[UNK]")
        expected = {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "unk_token": unknown}
    elif built.model == "Unigram":
        expected = {"unk_id": 3, "byte_fallback": False}
    for key, wanted in expected.items():
        found = getattr(file.model, key)
        if found is not None and found != wanted:
            yield f"model.{key}", wanted, found


def _spaces(config: ConfigFile, file: TokenizerFile, built: Built) -> Iterator[Disagreement]:
    """What may differ in how a text is normalized and split before the vocabulary is used."""
    steps = _steps(file.pre_tokenizer)
    names = [step.type for step in steps]
    if names != [built.pre_tokenizer] and not (
        built.pre_tokenizer == "Metaspace" and names == ["WhitespaceSplit", "Metaspace"]
    ):
        yield "pre_tokenizer", built.pre_tokenizer, "+".join(names) or None
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


def _steps(pre_tokenizer: _PreTokenizer | None) -> list[_PreTokenizer]:
    if pre_tokenizer is None:
        return []
    return pre_tokenizer.pretokenizers if pre_tokenizer.type == "Sequence" else [pre_tokenizer]


def _normalizers(normalizer: _Normalizer | None) -> list[_Normalizer]:
    if normalizer is None:
        return []
    return normalizer.normalizers if normalizer.type == "Sequence" else [normalizer]


def _around(processor: _PostProcessor | None) -> tuple[list[str], list[str]]:
    """The special tokens that are put before and after a text."""
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
