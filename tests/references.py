"""Encoders that only code on the hub implements, in plain torch from their papers: checkpoints to make, and what they compute.

One text at a time, so that there is no padding. Tensors and config.json have the names that the hub's files have.
"""

import json
from dataclasses import dataclass
from functools import cache
from math import log2
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

Weights = dict[str, Tensor]
Config = dict[str, Any]

FAMILIES = ("jina_bert_v2", "jina_bert_v2_qk_post_norm", "new", "new-without-types")

_CODE = {
    "jina_bert_v2": "jinaai/jina-bert-implementation--{}_bert.JinaBert{}",
    "jina_bert_v2_qk_post_norm": "jinaai/jina-bert-v2-qk-post-norm--{}_bert.JinaBert{}",
    "new": "Alibaba-NLP/new-impl--{}.New{}",
}
"""Where the hub's files say that the code of an architecture is: the module, and the class."""

_NEW: Config = {
    "model_type": "new", "position_embedding_type": "rope", "rope_theta": 20000.0, "rope_scaling": {"type": "ntk", "factor": 8.0},
    "layer_norm_type": "layer_norm", "pack_qkv": True, "logn_attention_scale": False, "logn_attention_clip1": False,
}  # fmt: skip
_ALIBI: Config = {"model_type": "bert", "position_embedding_type": "alibi", "feed_forward_type": "geglu"}


def config(family: str, **sizes: Any) -> Config:
    """config.json of a checkpoint, as the hub spells it."""
    code = _CODE[family.partition("-")[0]]
    own = _NEW | {"type_vocab_size": 0 if family == "new-without-types" else 1} if family.startswith("new") else _ALIBI
    return {
        "auto_map": {"AutoConfig": code.format("configuration", "Config"), "AutoModel": code.format("modeling", "Model")},
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 8192, "pad_token_id": 0, "type_vocab_size": 2,
        **own, **sizes,
    }  # fmt: skip


def save(folder: Path, family: str, settings: Config) -> None:
    """Writes config.json and random weights of these sizes, every one of which matters."""
    torch.manual_seed(0)
    (folder / "config.json").write_text(json.dumps(settings))
    prefix = "new." if family == "new" else ""
    weights = {prefix + name: values for name, values in _random(family, settings).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def token_vectors(folder: Path, ids: list[int]) -> Tensor:
    """The vectors of a text's tokens, float32 (tokens, width)."""
    model = _loaded(folder)
    encoder = _new if model.settings["model_type"] == "new" else _jina
    with torch.inference_mode():
        return encoder(model, torch.tensor(ids))


@cache
def _loaded(folder: Path) -> "_Model":
    settings = json.loads((folder / "config.json").read_text())
    weights = {name.removeprefix("new."): values for name, values in load_file(folder / "model.safetensors").items()}
    return _Model(settings, weights)


def _random(family: str, settings: Config) -> Weights:
    width, inner = settings["hidden_size"], settings["intermediate_size"]
    made: Weights = {}

    def table(name: str, rows: int, columns: int = width) -> None:
        made[f"{name}.weight"] = torch.randn(rows, columns) * 0.05

    def product(name: str, inputs: int, outputs: int) -> None:
        table(name, outputs, inputs)
        made[f"{name}.bias"] = torch.randn(outputs) * 0.1

    def norm(name: str) -> None:
        made[f"{name}.weight"], made[f"{name}.bias"] = 1 + torch.randn(width) * 0.1, torch.randn(width) * 0.1

    table("embeddings.word_embeddings", settings["vocab_size"])
    if settings["type_vocab_size"]:
        table("embeddings.token_type_embeddings", settings["type_vocab_size"])
    norm("embeddings.LayerNorm")
    for number in range(settings["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        if family.startswith("new"):
            product(f"{layer}.attention.qkv_proj", width, 3 * width)
            product(f"{layer}.attention.o_proj", width, width)
            table(f"{layer}.mlp.up_gate_proj", 2 * inner)
            product(f"{layer}.mlp.down_proj", inner, width)
            norms = ["attn_ln", "mlp_ln"]
        else:
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                product(f"{layer}.attention.{name}", width, width)
            gate, down = ("up_gated_layer", "down_layer") if family.endswith("post_norm") else ("gated_layers", "wo")
            table(f"{layer}.mlp.{gate}", 2 * inner)
            product(f"{layer}.mlp.{down}", inner, width)
            norms = ["attention.output.LayerNorm", "mlp.layernorm"]
            if family.endswith("post_norm"):
                more = ["attention.self.layer_norm_q", "attention.self.layer_norm_k", "layer_norm_1", "layer_norm_2"]
                norms = [norms[0], *more]
        for name in norms:
            norm(f"{layer}.{name}")
    return made


@dataclass(frozen=True)
class _Model:
    """What an encoder is computed from: the tensors by their names."""

    settings: Config
    weights: Weights

    def product(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return layer_norm(x, x.shape[1:], scale, shift, self.settings["layer_norm_eps"])

    def words(self, ids: Tensor) -> Tensor:
        found = self.weights["embeddings.word_embeddings.weight"][ids]
        types = self.weights.get("embeddings.token_type_embeddings.weight")
        return self.norm("embeddings.LayerNorm", found if types is None else found + types[0])


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """softmax(q k' / sqrt(width) + bias) v of each head, (tokens, heads * width)."""
    apart = (x.unflatten(1, (heads, -1)).transpose(0, 1)[None] for x in (query, key, value))
    return scaled_dot_product_attention(*apart, attn_mask=bias)[0].transpose(0, 1).flatten(1)


def _jina(model: _Model, ids: Tensor) -> Tensor:
    """Günther et al. 2023 (arXiv:2310.19923): BERT with ALiBi to both sides and GEGLU; where the checkpoint has norms of queries
    and keys, the variant of the code model."""
    heads = model.settings["num_attention_heads"]
    places = torch.arange(len(ids))
    bias = -torch.tensor(_slopes(heads))[:, None, None] * (places[:, None] - places).abs()
    x = model.words(ids)
    for number in range(model.settings["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        own, out = f"{layer}.attention.self", f"{layer}.attention.output"
        query, key, value = (model.product(f"{own}.{name}", x) for name in ("query", "key", "value"))
        is_variant = f"{own}.layer_norm_q.weight" in model.weights
        if is_variant:
            query, key = model.norm(f"{own}.layer_norm_q", query), model.norm(f"{own}.layer_norm_k", key)
        seen = _attend(query, key, value, heads, bias)
        a = model.norm(f"{out}.LayerNorm", x + model.product(f"{out}.dense", seen))
        if is_variant:
            a = model.norm(f"{layer}.layer_norm_1", x + a)
            up, gate = model.product(f"{layer}.mlp.up_gated_layer", a).chunk(2, 1)
            x = model.norm(f"{layer}.layer_norm_2", a + model.product(f"{layer}.mlp.down_layer", up * gelu(gate)))
        else:
            gate, up = model.product(f"{layer}.mlp.gated_layers", a).chunk(2, 1)
            x = model.norm(f"{layer}.mlp.layernorm", a + model.product(f"{layer}.mlp.wo", gelu(gate) * up))
    return x


def _slopes(heads: int) -> list[float]:
    """Press et al. 2021 (arXiv:2108.12409): 2^(-8/n), 2^(-16/n), ... for n heads, a power of two; for other counts those of the
    power below, and then every other one, from the first, of the power above."""
    if log2(heads).is_integer():
        return [2 ** (-8 * (head + 1) / heads) for head in range(heads)]
    power: int = 2 ** int(log2(heads))
    return _slopes(power) + _slopes(2 * power)[0::2][: heads - power]


def _new(model: _Model, ids: Tensor) -> Tensor:
    """Zhang et al. 2024 (arXiv:2407.19669): BERT with rotary positions, stretched ("NTK-aware"), and GEGLU."""
    settings, heads = model.settings, model.settings["num_attention_heads"]
    size, factor = settings["hidden_size"] // heads, (settings["rope_scaling"] or {"factor": 1.0})["factor"]
    speeds = 1 / (settings["rope_theta"] * factor) ** (torch.arange(0, size, 2).float() / size) / factor ** (2 / size)
    angles = torch.outer(torch.arange(len(ids)).float(), speeds)[:, None]

    def turned(x: Tensor) -> Tensor:
        left, right = x.unflatten(1, (heads, size)).chunk(2, 2)
        both = (left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin())
        return torch.cat(both, 2).flatten(1)

    x = model.words(ids)
    for number in range(settings["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        query, key, value = model.product(f"{layer}.attention.qkv_proj", x).chunk(3, 1)
        seen = _attend(turned(query), turned(key), value, heads)
        a = model.norm(f"{layer}.attn_ln", x + model.product(f"{layer}.attention.o_proj", seen))
        up, gate = model.product(f"{layer}.mlp.up_gate_proj", a).chunk(2, 1)
        x = model.norm(f"{layer}.mlp_ln", a + model.product(f"{layer}.mlp.down_proj", gelu(gate) * up))
    return x
