"""Folders that try to break what reads them: a tiny valid model, the ways to damage it, and a process that loads the result.

Run as a program it is that process: it takes a folder and a backend a line, as JSON, and answers with what came of it.
"""

import json
from pathlib import Path
from typing import Any

TEXTS = ["", "hello world", "the cat " * 30, "naïve 你好 \U0001f600", "hello world"]
"""Nothing, a sentence, more than the model reads, words it has no tokens for, and one again."""

WIDTH, DIMS, POSITIONS = 8, 4, 32
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{letter}" for letter in "abcdefgh"), "hello",
         "world", "the", "cat", "naive", "你", "好", "ab", "cd"]  # fmt: skip

MODULES = [
    {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
    for number, (path, kind) in enumerate(
        [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
    )
]
CONFIG = {
    "architectures": ["BertModel"], "model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    "vocab_size": len(WORDS), "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "pad_token_id": 0,
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
}  # fmt: skip
JSON_FILES: dict[str, Any] = {
    "modules.json": MODULES,
    "config.json": CONFIG,
    "config_sentence_transformers.json": {
        "prompts": {"query": "the ", "document": ""}, "default_prompt_name": None, "similarity_fn_name": "cosine",
    },
    "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
    "tokenizer_config.json": {
        "do_lower_case": True, "model_max_length": 32, "tokenizer_class": "BertTokenizer", "strip_accents": None,
        "tokenize_chinese_chars": True,
        "added_tokens_decoder": {str(number): {"content": WORDS[number], "special": True} for number in range(5)},
    },
    "1_Pooling/config.json": {
        "word_embedding_dimension": WIDTH, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "include_prompt": True,
    },
    "2_Dense/config.json": {
        "in_features": WIDTH, "out_features": DIMS, "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    },
}  # fmt: skip


def write(folder: Path, *, shards: int = 1, byte_pairs: bool = False) -> None:
    """A valid model of BERT's kind with Pooling, Dense and Normalize.

    Args:
        folder: becomes the model's.
        shards: files that the weights are in.
        byte_pairs: a tokenizer of that kind, which libraries take as tokenizer.json says, and not BERT's.
    """
    import numpy as np
    from safetensors.numpy import save_file

    for file, content in JSON_FILES.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(content))
    write_tokenizer(folder / "tokenizer.json", byte_pairs=byte_pairs)
    if byte_pairs:
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    random = np.random.default_rng(0)
    weights = {name: random.standard_normal(shape).astype(np.float32) / 4 for name, shape in shapes().items()}
    dense = {"linear.weight": (DIMS, WIDTH), "linear.bias": (DIMS,)}
    save_file(
        {name: random.standard_normal(shape).astype(np.float32) for name, shape in dense.items()},
        folder / "2_Dense" / "model.safetensors",
    )
    if shards == 1:
        save_file(weights, folder / "model.safetensors")
        return
    placed = {name: f"model-{number % shards}.safetensors" for number, name in enumerate(weights)}
    for file in set(placed.values()):
        save_file({name: value for name, value in weights.items() if placed[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the transformer."""
    norm: dict[str, tuple[int, ...]] = {"weight": (WIDTH,), "bias": (WIDTH,)}
    square: dict[str, tuple[int, ...]] = {"weight": (WIDTH, WIDTH), "bias": (WIDTH,)}
    parts: dict[str, dict[str, tuple[int, ...]]] = {
        "embeddings.word_embeddings": {"weight": (len(WORDS), WIDTH)},
        "embeddings.position_embeddings": {"weight": (POSITIONS, WIDTH)},
        "embeddings.token_type_embeddings": {"weight": (2, WIDTH)},
        "embeddings.LayerNorm": norm,
    }
    for number in range(2):
        layer = f"encoder.layer.{number}"
        parts |= {f"{layer}.attention.self.{name}": square for name in ("query", "key", "value")}
        parts |= {
            f"{layer}.attention.output.dense": square,
            f"{layer}.attention.output.LayerNorm": norm,
            f"{layer}.intermediate.dense": {"weight": (16, WIDTH), "bias": (16,)},
            f"{layer}.output.dense": {"weight": (WIDTH, 16), "bias": (WIDTH,)},
            f"{layer}.output.LayerNorm": norm,
        }
    return {f"{part}.{name}": shape for part, tensors in parts.items() for name, shape in tensors.items()}


def write_tokenizer(path: Path, *, byte_pairs: bool = False, special_tokens: bool = True) -> None:
    """A tokenizer of `WORDS`: WordPiece as BERT's, or byte pairs that are merged to two of them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    if byte_pairs:
        made = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("c", "d")], unk_token="[UNK]", fuse_unk=True))
        made.normalizer = normalizers.Lowercase()
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if special_tokens:
        made.add_special_tokens(WORDS[:5])
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    made.save(str(path))
