"""Writes config.json for the classes of the transformers library from the core's config record.

The library ignores settings that its class names differently: nomic's file uses GPT-2's names, so the library would use
defaults instead. With the core's record, all engines use the same settings.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isclose
from pathlib import Path
from typing import Any

from embedry import ModelSpec, UnsupportedModelError
from embedry.backend import LoadRequest, ModelConfig, only_listed
from embedry.heads import Classifier, LogitScore, MaskedLM
from embedry.modules import LibraryModule

_SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "hidden_act",
    "layer_norm_eps", "vocab_size", "max_position_embeddings", "type_vocab_size", "pad_token_id", "relative_attention_num_buckets",
    "relative_attention_max_distance",
)  # fmt: skip
"""Fields of the record that classes take as they are; one that a class does not know does nothing."""

_NO_TOKENS = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
"""Ids that only a tokenizer needs. A class's defaults may lie outside the model's table, of which the library would warn."""

_OF_HEADS = (
    "tie_word_embeddings", "classifier_activation", "classifier_bias", "decoder_bias", "final_logit_softcapping",
)  # fmt: skip
"""Keys that only a head among the transformer's tensors needs, and that the record therefore lacks."""

_RMS = {"layer_norm_eps": "rms_norm_eps"}

_GATED = {"hidden_act": "hidden_activation"}

_NAMES: dict[str, dict[str, str]] = {
    "distilbert": {
        "hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads", "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
    },
    "modernbert": _GATED | {"layer_norm_eps": "norm_eps"},
    "qwen3": _RMS,
    "gemma3_text": _GATED | _RMS,
    "t5": {
        "hidden_size": "d_model", "num_hidden_layers": "num_layers", "num_attention_heads": "num_heads", "head_dim": "d_kv",
        "intermediate_size": "d_ff", "hidden_act": "feed_forward_proj", "layer_norm_eps": "layer_norm_epsilon",
    },
}  # fmt: skip
"""Architecture -> fields of the record that its class has another name for."""


@contextmanager
def files(request: LoadRequest) -> Iterator[Path]:
    """A temporary folder with only the model's listed files, and a config.json that the library and the core read alike.

    Raises:
        UnsupportedModelError: the library's class does not support the settings in the record.
    """
    spec, config = request.spec, request.config
    with only_listed(spec, request.folder) as folder:
        if spec.transformer is not None and config is not None:
            file = folder / spec.transformer.file("config.json")
            described = _described(spec, config, json.loads(file.read_text(encoding="utf-8")))
            file.unlink()  # a link to the model's own
            file.write_text(json.dumps(described), encoding="utf-8")
        yield folder


def _described(spec: ModelSpec, config: ModelConfig, stated: dict[str, Any]) -> dict[str, Any]:
    """The content of config.json with the names of transformers 5.

    Uses the record for architectures whose config.json the core reads completely; other files stay unchanged.
    """
    described = _written(spec, config, stated) if config.architecture in _WRITERS else stated
    classifier = _classifier(spec)
    if classifier is not None:  # the entry states the number of labels, not their names
        described = {key: value for key, value in described.items() if key not in ("id2label", "label2id")}
        described["num_labels"] = classifier.labels
    return described | {
        "use_cache": False,  # the key-value cache, which only generation needs
        # A library module such as WeightedLayerPooling may read the vectors of every layer.
        "output_hidden_states": any(isinstance(module, LibraryModule) for module in spec.body),
    }


def _written(spec: ModelSpec, config: ModelConfig, stated: dict[str, Any]) -> dict[str, Any]:
    if config.is_causal and config.architecture not in _LOOKING_BACK:
        raise UnsupportedModelError(
            f"config.json of {spec.name!r} asks for attention that only looks back, and the transformers library's "
            f"{config.architecture!r} looks both ways"
        )
    names = _NAMES.get(config.architecture, {})
    described: dict[str, Any] = {"model_type": _TYPES.get(config.architecture, config.architecture)} | _NO_TOKENS
    described |= {names.get(name, name): getattr(config, name) for name in _SIZES if getattr(config, name) is not None}
    classifier = _classifier(spec)
    if classifier is not None and config.architecture in _CLASSIFIED_BY_ANY_POOLING:
        described["classifier_pooling"] = classifier.pooling
    if classifier is not None and stated.get("pad_token_id") is None:
        del described["pad_token_id"]  # see `loading.reads_last_position`
    has_head = any(isinstance(module, Classifier | LogitScore | MaskedLM) for module in spec.body)
    kept = ("tokenizer_class", *(_OF_HEADS if has_head else ()))
    described |= {key: stated[key] for key in kept if stated.get(key) is not None}
    return described | _WRITERS[config.architecture](config)


def _classifier(spec: ModelSpec) -> Classifier | None:
    return next((module for module in spec.body if isinstance(module, Classifier)), None)


def _bert(config: ModelConfig) -> dict[str, Any]:
    return {"is_decoder": config.is_causal}


def _plain(config: ModelConfig) -> dict[str, Any]:
    return {}


def _rotary(config: ModelConfig) -> dict[str, Any]:
    return {"rope_parameters": _turning(config.rope_theta)}


def _new(config: ModelConfig) -> dict[str, Any]:
    """NTK-aware scaling by f is a base of theta * f with angles divided by f^(2 / width): see `embedry_graphs.rotary`."""
    types = {"type_vocab_size": config.type_vocab_size or 1}  # its class always has one; see `loading.accounted`
    factor = config.rope_ntk_factor
    if factor is None or config.rope_theta is None or config.head_dim is None:
        return _rotary(config) | types
    scaled = _turning(config.rope_theta * factor) | {"rope_type": "linear", "factor": factor ** (2 / config.head_dim)}
    return {"rope_parameters": scaled} | types


def _by_layer(config: ModelConfig) -> dict[str, Any]:
    """The layers with full attention and those with a sliding window."""
    local, whole = "sliding_attention", "full_attention"
    return {
        "layer_types": [local if n in config.local_layers else whole for n in range(config.num_hidden_layers or 0)],
        "rope_parameters": {whole: _turning(config.rope_theta), local: _turning(config.local_rope_theta)},
    }


def _modernbert(config: ModelConfig) -> dict[str, Any]:
    return _by_layer(config) | {"local_attention": 2 * (config.window or 0)}


def _gemma3_text(config: ModelConfig) -> dict[str, Any]:
    window, scalar = config.window or 0, (config.query_scale or 1.0) ** -2
    return _by_layer(config) | {
        "sliding_window": window + 1 if config.is_causal else 2 * window,  # its class halves the second value
        "use_bidirectional_attention": not config.is_causal,
        # Its class only accepts integers.
        "query_pre_attn_scalar": round(scalar) if isclose(scalar, round(scalar)) else scalar,
    }


def _turning(theta: float | None) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


_WRITERS: Mapping[str, Callable[[ModelConfig], dict[str, Any]]] = {
    "bert": _bert,
    "distilbert": _plain,
    "gemma3_text": _gemma3_text,
    "modernbert": _modernbert,
    "mpnet": _plain,
    "new": _new,
    "nomic_bert": _rotary,
    "qwen3": _rotary,
    "roberta": _bert,
    "t5": _plain,
    "xlm-roberta": _bert,
}
"""Architecture -> what its class takes beside the sizes."""

_LOOKING_BACK = ("bert", "roberta", "xlm-roberta", "qwen3", "gemma3_text")
"""Those whose class may be causal."""

_CLASSIFIED_BY_ANY_POOLING = ("modernbert",)
"""Those whose class for classification takes one token vector or the mean of all, as its configuration says."""

_TYPES = {"new": "gte"}
"""Architectures whose class has another `model_type`."""
