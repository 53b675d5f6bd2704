"""How config.json is read for each known architecture: key names, defaults, and values that must not differ.

Defaults are those of the configuration classes in transformers 5, or in the code that the models came with before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How one architecture's config.json is read; keys and defaults are under the names of `embedry._config.ModelConfig`."""

    defaults: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    """Its own name of a key -> ours."""
    only: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    """Keys that change what is computed -> the values that are computed, the default among them."""


_BERT: dict[str, Any] = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12, "type_vocab_size": 2, "relative_attention_num_buckets": 32, "vocab_size": 30522,
    "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip

_DISTILBERT = {"dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads",
               "hidden_dim": "intermediate_size", "activation": "hidden_act"}  # fmt: skip

_GPT = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_inner": "intermediate_size",
        "n_positions": "max_position_embeddings", "activation_function": "hidden_act", "layer_norm_epsilon": "layer_norm_eps",
        "rotary_emb_base": "rope_theta"}  # fmt: skip
"""The names of GPT-2's configuration, which nomic kept."""

GATED = {"swiglu": "silu", "geglu": "gelu"}
"""What nomic's code calls a gated feed-forward block -> the activation in it."""

_T5 = {"d_model": "hidden_size", "d_kv": "head_dim", "d_ff": "intermediate_size", "num_layers": "num_hidden_layers",
       "num_heads": "num_attention_heads", "layer_norm_epsilon": "layer_norm_eps", "feed_forward_proj": "hidden_act"}  # fmt: skip

_ALIBI = {"position_embedding_type": ("alibi",), "feed_forward_type": ("geglu",), "hidden_act": ("gelu",)}

READINGS = {
    "bert": Reading(defaults=_BERT),
    "distilbert": Reading(defaults=_BERT | {"num_hidden_layers": 6}, names=_DISTILBERT),
    "mpnet": Reading(defaults=_BERT | {"vocab_size": 30527, "pad_token_id": 1}),
    "roberta": Reading(defaults=_BERT | {"vocab_size": 50265, "pad_token_id": 1}),
    "xlm-roberta": Reading(defaults=_BERT | {"pad_token_id": 1}),
    "modernbert": Reading(
        defaults={
            "hidden_size": 768, "num_hidden_layers": 22, "num_attention_heads": 12, "intermediate_size": 1152,
            "hidden_act": "gelu", "layer_norm_eps": 1e-5, "vocab_size": 50368, "max_position_embeddings": 8192,
            "pad_token_id": 50283, "rope_theta": 160_000.0, "local_rope_theta": 10_000.0, "window": 64, "full_every": 3,
        },
        names={"hidden_activation": "hidden_act", "norm_eps": "layer_norm_eps", "global_rope_theta": "rope_theta",
               "global_attn_every_n_layers": "full_every"},
        only={"norm_bias": (False,), "attention_bias": (False,), "mlp_bias": (False,)},
    ),
    "nomic_bert": Reading(
        defaults=_BERT
        | {"hidden_act": "silu", "vocab_size": 30528, "max_position_embeddings": 2048, "rope_theta": 1000.0},
        names=_GPT,
        only={
            "activation_function": tuple(GATED), "qkv_proj_bias": (False,), "mlp_fc1_bias": (False,), "mlp_fc2_bias": (False,), "prenorm": (False,),
            "parallel_block": (False,), "use_rms_norm": (False, None), "causal": (False,), "num_experts": (0,),
            "rotary_emb_fraction": (1.0,), "rotary_emb_interleaved": (False,), "rotary_emb_scale_base": (None,),
            "rotary_scaling_factor": (None,), "scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,),
        },
    ),
    "new": Reading(
        defaults=_BERT | {"vocab_size": 30528, "max_position_embeddings": 2048, "type_vocab_size": 1, "rope_theta": 10_000.0},
        only={
            "position_embedding_type": ("rope",), "layer_norm_type": ("layer_norm",), "pack_qkv": (True,),
            "logn_attention_scale": (False,), "logn_attention_clip1": (False,),
        },
    ),
    "qwen3": Reading(
        defaults={
            "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128,
            "intermediate_size": 22016, "hidden_act": "silu", "layer_norm_eps": 1e-6, "vocab_size": 151936,
            "max_position_embeddings": 32768, "rope_theta": 10_000.0, "is_causal": True,
        },
        names={"rms_norm_eps": "layer_norm_eps"},
        only={"attention_bias": (False,), "use_sliding_window": (False,), "is_causal": (True,),
              "use_bidirectional_attention": (False,)},
    ),
    "gemma3_text": Reading(
        defaults={
            "hidden_size": 2304, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "intermediate_size": 9216, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "vocab_size": 262_208,
            "max_position_embeddings": 131_072, "rope_theta": 1_000_000.0, "local_rope_theta": 10_000.0, "window": 4096,
            "full_every": 6, "query_pre_attn_scalar": 256.0, "is_causal": True,
        },
        names={"hidden_activation": "hidden_act", "rms_norm_eps": "layer_norm_eps", "rope_local_base_freq": "local_rope_theta",
               "sliding_window": "window", "sliding_window_pattern": "full_every"},
        only={"attention_bias": (False,), "attn_logit_softcapping": (None,), "is_causal": (True,)},
    ),
    "jina_bert_v2": Reading(defaults=_BERT | {"max_position_embeddings": 8192}, only=_ALIBI),
    "jina_bert_v2_qk_post_norm": Reading(defaults=_BERT | {"max_position_embeddings": 8192}, only=_ALIBI),
    "t5": Reading(
        defaults={
            "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "head_dim": 64, "intermediate_size": 2048,
            "hidden_act": "relu", "layer_norm_eps": 1e-6, "vocab_size": 32128, "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128, "is_encoder_decoder": True,
        },
        names=_T5,
    ),
}  # fmt: skip
"""Architecture -> how its config.json is read."""

_KNOWN_CODE = {
    "NomicBertConfig": "nomic_bert", "NomicBertModel": "nomic_bert",
    "NewConfig": "new", "NewModel": "new",
    "GteConfig": "new", "GteModel": "new",
    "JinaBertConfig": "jina_bert_v2", "JinaBertModel": "jina_bert_v2",
}  # fmt: skip
"""Classes of code that models came with, whose published architecture embedry computes itself -> that architecture."""

_QK_POST_NORM = "jina-bert-v2-qk-post-norm"
"""The repository of code for Jina's variant with normed queries and keys, whose classes have the same names."""


def of_config(model_type: str, auto_map: Mapping[str, Any] | None, positions: str | None) -> str:
    """The architecture that config.json describes: its `model_type`, unless what else it says makes it another one.

    Args:
        model_type: of config.json; empty for none.
        auto_map: the classes of code of its own that it names. Code is never run; the names tell architectures apart that call
            themselves by another's type.
        positions: its position_embedding_type.
    """
    named = next((value for value in (auto_map or {}).values() if isinstance(value, str)), "")
    code = known_code(named)
    if code == "jina_bert_v2" or (model_type == "bert" and positions == "alibi"):
        return "jina_bert_v2_qk_post_norm" if _QK_POST_NORM in named else "jina_bert_v2"
    return "new" if code == "new" or model_type == "gte" else model_type


def known_code(reference: object) -> str | None:
    """The architecture that a class of `auto_map` implements, if it is one that embedry computes itself."""
    return _KNOWN_CODE.get(str(reference).rpartition(".")[2])
