"""Small tokenizers of the kinds that published models have, trained on a few sentences and saved by the library's own classes."""

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    GemmaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

SENTENCES = [
    "Refunds are paid within 14 days, whatever the reason for the return was.",
    "We ship to most of Europe; the first parcel leaves at nine o'clock.",
    "Żółw je śledzie, naïve cafés serve crème brûlée, und Straßen führen nach Köln.",
    "速い茶色の狐は怠け者の犬を飛び越える。 Быстрая лиса перепрыгивает.",
] * 4

TEXTS = [
    "", " ", "  two  spaces\tand a tab\n\nand lines ", "Refunds are paid!", "ﬁne ﬁles", "<s> </s> <pad> <eos> [CLS] <|endoftext|>",
    "nothing of this was trained on: 漢字 हिन्दी 😀", "▁ a word's own underline ▁▁", " ".join(SENTENCES), "x" * 300, "\x00\u200b é e\u0301",
]  # fmt: skip
"""Also what the tokenizers do not know, what looks like their special tokens, and more than a model reads."""


def charsmap(source: str, target: str) -> str:
    """A map of sentencepiece, as tokenizer.json has it, that puts one character for another: a trie (Darts) and the text."""
    units = [0] * 1280
    units[0] = 256 << 10
    key = source.encode()
    for number, byte in enumerate(key):
        place = 256 * (number + 1) ^ byte
        is_last = number == len(key) - 1
        units[place] = (place ^ 256 * (number + 2)) << 10 | is_last << 8 | byte
    units[256 * (len(key) + 1)] = 1 << 31
    trie = struct.pack(f"<{len(units)}I", *units)
    return base64.b64encode(struct.pack("<I", len(trie)) + trie + target.encode() + b"\0").decode()


LIGATURE = charsmap("ﬁ", "fi")


def _unigram(special: list[str]) -> list[tuple[str, float]]:
    """Pieces and their scores, the special ones first."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Precompiled(base64.b64decode(LIGATURE))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


def _bpe(
    special: list[str],
    pre_tokenizer: pre_tokenizers.PreTokenizer,
    normalizer: normalizers.Normalizer | None = None,
    **options: Any,
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    of_bytes = isinstance(pre_tokenizer, pre_tokenizers.ByteLevel)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if of_bytes else []
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def _parts(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary and the merges of a BPE."""
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def xlm_roberta() -> Any:
    pieces = [*_unigram(["<s>", "<pad>", "</s>", "<unk>"]), ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=pieces, _spm_precompiled_charsmap=base64.b64decode(LIGATURE))


def t5() -> Any:
    pieces = _unigram(["<pad>", "</s>", "<unk>"])
    return T5Tokenizer(vocab=pieces, _spm_precompiled_charsmap=base64.b64decode(LIGATURE), extra_ids=2)


def qwen() -> Any:
    """Alibaba's embedding models end every text with the token that their config.json does not call the last."""
    end = "<|endoftext|>"
    vocab, merges = _parts(_bpe([end, "<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel(add_prefix_space=False)))
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges)
    template = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, vocab[end])])
    tokenizer._tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def gemma() -> Any:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    splitting = pre_tokenizers.Split(" ", "merged_with_previous")
    vocab, merges = _parts(
        _bpe(special, splitting, normalizers.Replace(" ", "▁"), byte_fallback=True, unk_token="<unk>")
    )
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges)
    ids = [("<bos>", vocab["<bos>"]), ("<eos>", vocab["<eos>"])]
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A <eos>", special_tokens=ids)
    return tokenizer


def modernbert() -> Any:
    names = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    bare = _bpe(names, pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC())
    ids = [(name, bare.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    bare.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    special = {f"{name.strip('[]').lower()}_token": name for name in names}
    return PreTrainedTokenizerFast(tokenizer_object=bare, **special)


KINDS: dict[str, Callable[[], Any]] = {
    "xlm-roberta": xlm_roberta, "t5": t5, "qwen3": qwen, "gemma3_text": gemma, "modernbert": modernbert,
}  # fmt: skip
"""A family whose models have it -> what makes the tokenizer."""
