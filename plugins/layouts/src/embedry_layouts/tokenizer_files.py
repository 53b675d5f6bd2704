"""Reconciles tokenizer_config.json and tokenizer.json, which describe the same tokenizer and may disagree.

The transformers library builds the tokenizers of several classes itself, from the vocabulary in tokenizer.json and the settings in
tokenizer_config.json, and ignores the rest of tokenizer.json. If the two files differ, the entry states the effective settings.
Unsupported differences raise an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from embedry._files import parsing
from embedry.errors import UnsupportedModelError
from embedry.transformer import BertNormalizer, Transformer
from embedry_layouts import tokenizer_limits
from embedry_layouts.files import Files
from embedry_layouts.tokenizer_classes import BUILT, disagreements
from embedry_layouts.tokenizer_schema import ConfigFile, ModelFile, TokenizerFile

_CLASS_OF = {"bert": "Bert", "distilbert": "Bert", "mpnet": "MPNet", "electra": "Bert", "roberta": "Roberta",
             "xlm-roberta": "XLMRoberta", "nomic_bert": "Bert", "jina_bert_v2": "Bert", "jina_bert_v2_qk_post_norm": "Bert",
             "qwen3": "Qwen2", "gemma3_text": "Gemma", "t5": "T5"}  # fmt: skip
"""Architecture -> the class that is used where no file names one."""


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """The settings that override tokenizer.json."""

    kind: str
    """The name of its class, less "Tokenizer"; empty where no file says it."""
    normalizer: BertNormalizer | None
    split_at_spaces: bool
    truncate_left: bool
    model_max_length: int | None
    special: Mapping[str, str]
    """The special tokens that have names, by those, such as "mask_token"."""


def read(files: Files, at: Transformer, architecture: str) -> TokenizerSettings:
    """Compares a model's two tokenizer files.

    Args:
        files: the files of the model.
        at: the folder of the transformer's files.
        architecture: the architecture of the model.

    Raises:
        UnsupportedModelError: the files have an unsupported difference; names the key and both values.
        IntegrityError: a file cannot be parsed.
    """
    config = files.read_or(at.file("tokenizer_config.json"), ConfigFile, ConfigFile())
    if config.added_tokens_decoder is None:  # the older file only applies if it is missing
        config = config.under(files.read_or(at.file("special_tokens_map.json"), ConfigFile, ConfigFile()))
    length = config.model_max_length
    settings = TokenizerSettings(
        kind="",
        normalizer=None,
        split_at_spaces=False,
        truncate_left=config.truncation_side == "left",
        # Tokenizers without a limit state about 1e30.
        model_max_length=int(length) if length is not None and 1 <= length < 2**31 else None,
        special=config.named(),
    )
    if not files.has(at.file("tokenizer.json")):
        return settings  # which raises a separate error with advice
    tokenizer_limits.check(files.folder, at.file("tokenizer.json"))
    file = parsing.read(files.folder, at.file("tokenizer.json"), TokenizerFile, largest=tokenizer_limits.LARGEST)
    named = config.tokenizer_class or files.read(at.file("config.json"), ModelFile).tokenizer_class
    kind = named.removesuffix("Fast").removesuffix("Tokenizer") if named else _CLASS_OF.get(architecture, "")
    for key, stated, found in disagreements(config, file, kind):
        raise UnsupportedModelError(
            f"{files.folder / at.file('tokenizer_config.json')} and tokenizer.json beside it disagree about {key}: {stated!r} "
            f"by the first{f' and its class {kind}Tokenizer' if kind else ''}, {found!r} by the second; save the tokenizer "
            "again: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    if config.truncation_side is None and file.truncation is not None:
        settings = replace(settings, truncate_left=file.truncation.direction == "Left")
    return replace(
        settings,
        kind=kind,
        special=(BUILT[kind].special if kind in BUILT else {}) | config.named(),
        normalizer=_normalizer(config, file, kind),
        split_at_spaces=kind in ("XLMRoberta", "T5")
        and file.pre_tokenizer is not None
        and file.pre_tokenizer.type == "Metaspace",
    )


def _normalizer(config: ConfigFile, file: TokenizerFile, kind: str) -> BertNormalizer | None:
    if kind not in BUILT or BUILT[kind].pre_tokenizer != "BertPreTokenizer":
        return None
    wanted = BertNormalizer(
        lower_case=config.do_lower_case is not False,
        strip_accents=config.strip_accents,
        chinese_chars=config.tokenize_chinese_chars is not False,
    )
    stands = file.normalizer
    if stands is None or stands.type != "BertNormalizer" or not stands.clean_text:
        return wanted
    found = BertNormalizer(
        lower_case=stands.lowercase, strip_accents=stands.strip_accents, chinese_chars=stands.handle_chinese_chars
    )
    return None if found == wanted else wanted
