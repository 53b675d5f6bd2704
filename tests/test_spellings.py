"""config.json in the words of the hub, of older libraries and of transformers 5: one meaning, or a refusal by key and value."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import references
from embedry import IntegrityError, UnsupportedModelError
from embedry._config import ModelConfig
from embedry._files import model_config

SIZES = {
    "vocab_size": 500, "hidden_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 96,
    "max_position_embeddings": 8192, "pad_token_id": 0,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2, "head_dim": 16}
PLAIN = {"rope_type": "default"}
NOMIC_CODE = {"AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig"}


def read(folder: Path, **stated: Any) -> ModelConfig:
    """The record of a config.json."""
    (folder / "config.json").write_text(json.dumps(stated))
    return model_config.read(folder, "config.json")


def of_hub(family: str) -> dict[str, Any]:
    """config.json as the hub has it for one of the encoders that only code there implements."""
    return references.config(family, **SIZES)


def two_thetas(whole: float, local: float) -> dict[str, Any]:
    return {"full_attention": PLAIN | {"rope_theta": whole}, "sliding_attention": PLAIN | {"rope_theta": local}}


MODERNBERT = SIZES | {"model_type": "modernbert", "local_attention": 32}
NOMIC = {"model_type": "nomic_bert", "vocab_size": 500, "type_vocab_size": 2}
QWEN = SIZES | GROUPED | {"model_type": "qwen3"}
GEMMA = SIZES | GROUPED | {"model_type": "gemma3_text", "query_pre_attn_scalar": 16, "sliding_window": 20}
EMBEDDING_GEMMA = GEMMA | {"use_bidirectional_attention": True}
EVERY_THIRD = ["full_attention", "sliding_attention", "sliding_attention"] * 2
LAST_OF_THREE = ["sliding_attention", "sliding_attention", "full_attention"] * 2

SPELLINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        MODERNBERT | {"global_attn_every_n_layers": 3, "global_rope_theta": 80_000.0, "local_rope_theta": 700.0},
        MODERNBERT | {"layer_types": EVERY_THIRD, "rope_parameters": two_thetas(80_000.0, 700.0)},
    ),
    (MODERNBERT, MODERNBERT | {"layer_types": EVERY_THIRD, "rope_parameters": two_thetas(160_000.0, 10_000.0)}),
    (
        NOMIC
        | {"n_embd": 48, "n_layer": 6, "n_head": 4, "n_inner": 96, "n_positions": 8192, "activation_function": "swiglu"}
        | {"layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "auto_map": NOMIC_CODE}
        | {"rotary_emb_scale_base": None, "rotary_scaling_factor": None, "use_rms_norm": None, "pad_token_id": None},
        NOMIC | SIZES | {"hidden_act": "silu", "rope_parameters": PLAIN | {"rope_theta": 1000.0}},
    ),
    (
        of_hub("new") | {"rope_scaling": None},
        SIZES | {"model_type": "gte", "type_vocab_size": 1, "rope_parameters": PLAIN | {"rope_theta": 20_000.0}},
    ),
    (QWEN | {"rope_theta": 5000, "rope_scaling": None}, QWEN | {"rope_parameters": PLAIN | {"rope_theta": 5000.0}}),
    (
        GEMMA | {"sliding_window_pattern": 3, "rope_theta": 5000.0, "rope_local_base_freq": 700.0},
        GEMMA | {"layer_types": LAST_OF_THREE, "rope_parameters": two_thetas(5000.0, 700.0)},
    ),
    (
        EMBEDDING_GEMMA | {"sliding_window_pattern": 3},
        EMBEDDING_GEMMA | {"layer_types": LAST_OF_THREE, "rope_parameters": two_thetas(1e6, 1e4)},
    ),
]


@pytest.mark.parametrize(("older", "newer"), SPELLINGS)
def test_every_spelling_of_a_config_has_one_meaning(
    tmp_path: Path, older: dict[str, Any], newer: dict[str, Any]
) -> None:
    assert read(tmp_path, **older) == read(tmp_path, **newer)


def test_what_the_spellings_mean(tmp_path: Path) -> None:
    modern = read(tmp_path, **SPELLINGS[0][0])
    assert (modern.rope_theta, modern.local_rope_theta, modern.window, modern.local_layers) == (
        8e4,
        700,
        16,
        (1, 2, 4, 5),
    )
    nomic = read(tmp_path, **SPELLINGS[2][0])
    assert (nomic.hidden_size, nomic.hidden_act, nomic.rope_theta, nomic.longest) == (48, "silu", 1000, 8192)
    gemma, embedding = (read(tmp_path, **SPELLINGS[number][0]) for number in (5, 6))
    assert (gemma.is_causal, gemma.window, gemma.local_layers, gemma.query_scale) == (True, 19, (0, 1, 3, 4), 0.25)
    assert (embedding.is_causal, embedding.window, embedding.local_layers) == (False, 10, (0, 1, 3, 4))
    qwen = read(tmp_path, **SPELLINGS[4][0])
    assert (qwen.is_causal, qwen.num_key_value_heads, qwen.head_dim, qwen.query_scale) == (True, 2, 16, 0.25)
    new = read(tmp_path, **of_hub("new"))
    assert (new.architecture, new.rope_theta, new.rope_ntk_factor, new.type_vocab_size) == ("new", 2e4, 8, 1)
    for family in ("jina_bert_v2", "jina_bert_v2_qk_post_norm"):
        jina = read(tmp_path, **of_hub(family))
        assert (jina.architecture, jina.rope_theta, jina.max_position_embeddings) == (family, None, 8192)
    t5 = read(tmp_path, model_type="t5", d_model=48, d_kv=12, num_heads=3, d_ff=96, feed_forward_proj="gated-gelu")
    assert (t5.hidden_size, t5.head_dim, t5.num_attention_heads, t5.hidden_act) == (48, 12, 3, "gated-gelu")
    assert (t5.query_scale, t5.longest) == (1.0, None)


LINEAR = {"rope_type": "linear", "factor": 8.0}
REFUSED: list[tuple[str, dict[str, Any], str, object]] = [
    *(("modernbert", MODERNBERT, key, True) for key in ("norm_bias", "attention_bias", "mlp_bias")),
    ("modernbert", MODERNBERT, "position_embedding_type", "relative_key"),
    ("modernbert", MODERNBERT, "partial_rotary_factor", 0.5),
    *(
        ("nomic", NOMIC, key, value)
        for key, value in {
            "activation_function": "gelu", "qkv_proj_bias": True, "mlp_fc1_bias": True, "mlp_fc2_bias": True, "prenorm": True,
            "parallel_block": True, "use_rms_norm": True, "causal": True, "num_experts": 8, "rotary_emb_fraction": 0.5,
            "rotary_emb_interleaved": True, "rotary_emb_scale_base": 512.0, "rotary_scaling_factor": 2.0,
            "scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True,
        }.items()
    ),
    *(
        ("new", of_hub("new"), key, value)
        for key, value in {
            "position_embedding_type": "absolute", "layer_norm_type": "rms_norm", "pack_qkv": False,
            "logn_attention_scale": True, "logn_attention_clip1": True,
        }.items()
    ),
    *(
        ("qwen3", QWEN, key, value)
        for key, value in {
            "attention_bias": True, "use_sliding_window": True, "is_causal": False, "use_bidirectional_attention": True,
        }.items()
    ),
    *(("gemma3", GEMMA, k, v) for k, v in {"attention_bias": True, "attn_logit_softcapping": 50.0, "is_causal": False}.items()),
    *(("jina", of_hub("jina_bert_v2"), key, v) for key, v in {"feed_forward_type": "reglu", "hidden_act": "relu"}.items()),
    *(("t5", {"model_type": "t5"}, key, v) for key, v in {"position_embedding_type": "rope", "pruned_heads": {"0": [1]}}.items()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "key", "value"), [pytest.param(*case[1:], id=f"{case[0]}-{case[2]}") for case in REFUSED]
)
def test_what_nobody_computes_is_refused_by_key_and_value(
    tmp_path: Path, config: dict[str, Any], key: str, value: object
) -> None:
    read(tmp_path, **config)
    with pytest.raises(UnsupportedModelError, match=re.escape(f"config.json sets {key} to {value!r}, which no engine")):
        read(tmp_path, **config | {key: value})


@pytest.mark.parametrize(
    "config", [MODERNBERT, NOMIC, of_hub("new"), QWEN, GEMMA], ids=lambda config: config["model_type"]
)
@pytest.mark.parametrize(
    ("key", "rope"),
    [
        *(("rope_scaling", {"type": kind, "factor": 4.0}) for kind in ("linear", "dynamic", "yarn", "longrope", "of-1999")),
        ("rope_scaling", {"type": "ntk"}),
        ("rope_scaling", {"type": "ntk", "factor": 8.0, "mixed_b": 0.5}),
        ("rope_parameters", {"rope_type": "ntk", "factor": 8.0}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 5e3, "partial_rotary_factor": 0.5}),
        ("rope_parameters", {"full_attention": {"rope_type": "default"}, "sliding_attention": LINEAR}),
        ("rope_parameters", {"full_attention": LINEAR, "sliding_attention": {"rope_type": "default"}}),
    ],
)  # fmt: skip
def test_positions_that_are_turned_in_another_way_are_refused(
    tmp_path: Path, config: dict[str, Any], key: str, rope: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedModelError, match=f"config.json sets {key} to {{'"):
        read(tmp_path, **config | {key: rope})


@pytest.mark.parametrize(
    ("key", "rope", "place"),
    [
        ("rope_scaling", {"type": "ntk", "factor": "8"}, r"rope_scaling\.factor: '8'"),
        ("rope_scaling", {"type": "ntk", "factor": 0.5}, r"rope_scaling\.factor: 0\.5"),
        ("rope_parameters", {"rope_theta": "5000"}, r"rope_parameters\.rope_theta: '5000'"),
        ("rope_parameters", {"full_attention": {"rope_theta": -5.0}}, r"full_attention\.rope_theta: -5\.0"),
    ],
)
def test_a_number_of_another_type_or_range_is_named_with_its_place(
    tmp_path: Path, key: str, rope: dict[str, Any], place: str
) -> None:
    with pytest.raises(IntegrityError, match=rf"config\.json: .* at .*{place}"):
        read(tmp_path, **of_hub("new") | {key: rope})


def test_layers_of_a_kind_that_the_family_does_not_have_are_refused(tmp_path: Path) -> None:
    for config in (MODERNBERT, GEMMA, QWEN):
        with pytest.raises(UnsupportedModelError, match="sets layer_types to 'chunked_attention'"):
            read(tmp_path, **config | {"layer_types": [*["full_attention"] * 5, "chunked_attention"]})
    with pytest.raises(UnsupportedModelError, match="sets layer_types to 'sliding_attention'"):
        read(tmp_path, **QWEN | {"layer_types": EVERY_THIRD})
    with pytest.raises(IntegrityError, match="has 5 layer_types and num_hidden_layers=6"):
        read(tmp_path, **GEMMA | {"layer_types": LAST_OF_THREE[:5]})
