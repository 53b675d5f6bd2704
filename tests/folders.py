"""Makes folders of models as people find them, with sentence-transformers itself; `folder_table` lists them.

Each is tiny, with random weights of a true architecture and a real tokenizer of its kind. What sentence-transformers no longer
writes, such as the files of its older versions, is made of what it writes by editing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    DistilBertConfig,
    DistilBertModel,
    DistilBertTokenizer,
    MPNetConfig,
    MPNetModel,
    MPNetTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

WIDTH = 32
LENGTH = 24
"""Tokens that the models read of a text."""

TEXTS = (
    "",
    "a",
    "The river ran past the early market.",
    "THE RIVER Ran Past The Early MARKET.",
    "Crème brûlée à la façon de Zoë, naïve café, Ångström",
    "Creme brulee a la facon de Zoe, naive cafe, Angstrom",
    "机器学习很有趣 and 深度学习也是",
    "tokyo 東京タワー 서울 شمس Москва",
    "  spaces at both ends,\ttabs and\n\nlines  ",
    "marks inside: [SEP] </s> <mask> [MASK] <pad>",
    "one " * 9 + "short of the end, or about it, and then over",
    " ".join(f"word{number} music window {number}" for number in range(60)),
    "x" * 180 + " after a very long word",
    "query: what is left? 3.14 - 2 = 1,14 €",
)

CORPUS = (*TEXTS, "because the garden is against seven clouds, the paper is about music in the window")

_SHAPE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_AFTER_PADDING: dict[str, Any] = {"max_position_embeddings": 66, "pad_token_id": 1}
"""64 tokens for families whose positions are numbered after the padding's."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a folder is made."""

    family: str = "bert"
    tokenizer: str = ""
    """Whose kind of tokenizer it has, if not its own family's; "whole" for BERT's with all of its words,
    "extended" for one with two added."""
    chain: Callable[[], Sequence[nn.Module]] = lambda: [Pooling(WIDTH), Normalize()]
    """The modules behind the transformer."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    """The prompt of a role, where it is not the one that the library's encode_query or encode_document takes."""
    edit: Callable[[Path], None] = lambda folder: None
    """What is changed in the saved folder."""
    static: bool = False
    """Whether there is a table of word vectors in place of all modules."""
    fp32: bool = False
    """Whether the reference has to be told to compute in fp32, which its weights are not in."""
    alone: bool = False
    """Whether the reference has to be given one text at a time, because it lets padding into its vectors."""


def tokenizers(wordpiece: Path) -> dict[str, PreTrainedTokenizerBase]:
    """A small tokenizer of each family's kind, and a whole one; `wordpiece` is a tokenizer.json of BERT's."""
    whole: dict[str, int] = json.loads(wordpiece.read_text(encoding="utf-8"))["model"]["vocab"]
    words = {word: token for word, token in whole.items() if token < 4000}  # all characters and the commonest words
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    bytes_ = Tokenizer(models.BPE())
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bytes_.train_from_iterator(
        CORPUS * 3,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=[*special, "<mask>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    bpe = json.loads(bytes_.to_str())["model"]
    pieces = Tokenizer(models.Unigram())
    pieces.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    pieces.train_from_iterator(
        CORPUS * 3,
        trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    unigram = json.loads(pieces.to_str())["model"]["vocab"]
    mpnet = {"<s>": 0, "<pad>": 1, "</s>": 2}
    mpnet |= {word: len(mpnet) + place for place, word in enumerate(word for word in words if word not in mpnet)}
    extended = BertTokenizer(vocab=words, model_max_length=64)
    extended.add_tokens(["music window", "brûlée"])
    return {
        "bert": BertTokenizer(vocab=words, model_max_length=64),
        "whole": BertTokenizer(vocab=whole, model_max_length=64),
        "extended": extended,
        "distilbert": DistilBertTokenizer(vocab=words, model_max_length=64),
        "mpnet": MPNetTokenizer(vocab=mpnet | {"<mask>": len(mpnet)}, model_max_length=64),
        "roberta": RobertaTokenizer(
            vocab=bpe["vocab"], merges=[tuple(merge) for merge in bpe["merges"]], model_max_length=64
        ),
        "xlm-roberta": XLMRobertaTokenizer(
            vocab=[*map(tuple, unigram), ("<mask>", 0.0)],  # type: ignore[list-item]
            model_max_length=64,
        ),
    }


def encoder(family: str, rows: int) -> PreTrainedModel:
    """A model of this family with `rows` token vectors, in which every parameter matters."""
    torch.manual_seed(0)
    positions = {"max_position_embeddings": 64, "vocab_size": rows}
    after = _SHAPE | _AFTER_PADDING | {"vocab_size": rows}
    distil: dict[str, Any] = {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
    made: PreTrainedModel = {
        "bert": lambda: BertModel(BertConfig(**_SHAPE, **positions)),
        "distilbert": lambda: DistilBertModel(DistilBertConfig(**distil, **positions)),
        "mpnet": lambda: MPNetModel(MPNetConfig(**after)),
        "roberta": lambda: RobertaModel(RobertaConfig(type_vocab_size=1, **after)),
        "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(type_vocab_size=1, **after)),
    }[family]()
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter) * (0.1 if parameter.dim() == 1 else 0.05))
    return made


def save_all(root: Path, wordpiece: Path, folders: Mapping[str, Made]) -> dict[str, Path]:
    """Saves folders below `root`; their names and paths.

    Args:
        root: an empty folder.
        wordpiece: a tokenizer.json of BERT's.
        folders: how each is made.
    """
    kinds = tokenizers(wordpiece)
    for number, made in enumerate(folders.values()):
        tokenizer = kinds[made.tokenizer or made.family]
        raw = root / "raw" / f"{made.family} {made.tokenizer}"
        if not raw.exists():
            encoder(made.family, len(tokenizer)).save_pretrained(raw)
            tokenizer.save_pretrained(raw)
        _save(root / f"{number:02}", raw, made)
    return {name: root / f"{number:02}" for number, name in enumerate(folders)}


def _save(folder: Path, raw: Path, made: Made) -> None:
    torch.manual_seed(1)
    chain = list(made.chain())
    for parameter in (each for module in chain for each in module.parameters()):
        parameter.data.copy_(torch.randn_like(parameter) * 0.3)
    if made.static:
        chain = [library.StaticEmbedding(Tokenizer.from_file(str(raw / "tokenizer.json")), embedding_dim=WIDTH)]
    else:
        chain = [Transformer(str(raw), max_seq_length=LENGTH), *chain]
    model = SentenceTransformer(
        modules=chain,
        prompts=dict(made.prompts),
        default_prompt_name=made.default_prompt,
        device="cpu",
    )
    model.save(str(folder), create_model_card=False)
    made.edit(folder)
