"""Schemas of tokenizer.json and tokenizer_config.json: the parts that embedry compares."""

from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import asdict, replace


class Normalizer(Struct):
    """A step that changes a text, or a sequence of them."""

    type: str = ""
    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True
    pattern: dict[str, str] | None = None
    content: str | None = None
    normalizers: "list[Normalizer]" = []


class PreTokenizer(Struct):
    """A step that splits a text, or a sequence of them."""

    type: str = ""
    add_prefix_space: bool | None = None
    prepend_scheme: str | None = None
    use_regex: bool = True
    pattern: dict[str, str] | None = None
    behavior: str | None = None
    invert: bool = False
    pretokenizers: "list[PreTokenizer]" = []


class PostProcessor(Struct):
    """A step that adds special tokens around a text, or a sequence of them."""

    type: str = ""
    single: list[dict[str, dict[str, Any]]] = []
    sep: tuple[str, int] | None = None
    cls: tuple[str, int] | None = None
    processors: "list[PostProcessor]" = []


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
    normalizer: Normalizer | None = None
    pre_tokenizer: PreTokenizer | None = None
    post_processor: PostProcessor | None = None
    truncation: _Truncation | None = None
    added_tokens: list[_AddedToken] = []


class _NamedToken(Struct):
    content: str


_Token = str | _NamedToken | None

_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


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
    chat_template: str | list[dict[str, str]] | None = None
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
        """These settings, without those that the other file has."""
        return replace(self, **{key: value for key, value in asdict(other).items() if value is not None})

    def named(self) -> dict[str, str]:
        """The named special tokens."""
        tokens = {name: getattr(self, name) for name in _NAMES}
        return {name: token_text(token) for name, token in tokens.items() if token is not None}

    def special(self) -> list[str]:
        """All special tokens of the file."""
        extra = self.extra_special_tokens or []
        others = [*(self.additional_special_tokens or []), *(extra.values() if isinstance(extra, dict) else extra)]
        return [*self.named().values(), *map(token_text, others)]


class ModelFile(Struct):
    """The tokenizer settings in config.json."""

    tokenizer_class: str | None = None


def token_text(token: str | _NamedToken) -> str:
    """A token's text, in any format."""
    return token if isinstance(token, str) else token.content
