"""Both torch backends compute what config.json says, in each of its spellings, with every tensor in its place."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import LlamaConfig, LlamaModel, PreTrainedModel, T5Config, T5EncoderModel, T5Model

from checkpoints import FAMILIES, LONG_FAMILIES, WIDTH
from embedry import IntegrityError, UnsupportedModelError, resolve
from embedry_transformers.encoder import TorchEncoder

BACKENDS = ("transformers", "sentence-transformers")
LONGEST = 2048
WORDS = ["paper", "river", "seven", "cloud", "against", "music", "window", "early", "market", "garden", "because"]
TEXTS = [" ".join(WORDS[(n * n + place) % len(WORDS)] for place in range(n)) for n in (0, 1, 7, 40, 40, 300, 2200)]

Checkpoint = Callable[..., Path]
Vectors = NDArray[np.float32]


def library(model: Path) -> Vectors:
    """Vectors of the texts by sentence-transformers itself, in float32."""
    reference = SentenceTransformer(str(model), device="cpu", model_kwargs={"dtype": torch.float32})
    return np.asarray(reference.encode(TEXTS))


def vectors(model: Path, backend: str) -> Vectors:
    """Vectors of the texts by the code under test."""
    return resolve(model, backend=backend).encode_document(TEXTS)


def furthest(one: Vectors, other: Vectors) -> float:
    """The largest difference of two numbers at the same place."""
    assert one.shape == other.shape
    assert np.ptp(other, axis=0).max() > 0.01, "the texts must be told apart, or this proves nothing"
    return float(np.abs(one - other).max())


def loaded(model: Path) -> PreTrainedModel:
    """The transformer of a checkpoint as the transformers backend loads it."""
    engine = resolve(model, backend="transformers").engine.load().encoder
    assert isinstance(engine, TorchEncoder)
    return engine._model


def with_config(model: Path, folder: Path, **settings: Any) -> Path:
    """A copy of a checkpoint with these settings in its config.json."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("options", [{"pooling": "mean", "dense": 16}, {"pooling": "lasttoken", "normalize": False}])
@pytest.mark.parametrize("family", LONG_FAMILIES)
def test_every_engine_gives_the_vectors_of_the_library_at_every_length(
    checkpoint: Checkpoint, family: str, options: dict[str, Any]
) -> None:
    model = checkpoint(family, max_seq_length=LONGEST, **options)
    expected = library(model)
    for backend in (*BACKENDS, "onnxruntime"):
        assert furthest(vectors(model, backend), expected) <= 1e-5, backend
    for backend in BACKENDS:
        embedder = resolve(model, backend=backend)
        alone = np.concatenate([embedder.encode_document([text]) for text in TEXTS])
        assert furthest(alone, expected) <= 1e-5, backend


@pytest.mark.parametrize("pooling", ["cls", "max", "weightedmean"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_pooling_of_long_texts_gives_the_vectors_of_the_library(
    checkpoint: Checkpoint, pooling: str, backend: str
) -> None:
    model = checkpoint("modernbert", pooling, max_seq_length=LONGEST)
    assert furthest(vectors(model, backend), library(model)) <= 1e-5


SIZES = {
    "vocab_size": 30522, "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
    "max_position_embeddings": 8192, "pad_token_id": 0,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2, "head_dim": 16}
ONE_THETA = {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}
TWO_THETAS = {
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 700.0},
    }
}

SPELLINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ModernBERT's": (
        "modernbert",
        TWO_THETAS | {"norm_eps": 1e-3, "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
        SIZES | {"norm_eps": 1e-3, "global_rope_theta": 5000.0, "local_rope_theta": 700.0, "global_attn_every_n_layers": 2}
        | {"local_attention": 16, "model_type": "modernbert"},
    ),
    "nomic's, with the names of GPT-2": (
        "nomic_bert",
        ONE_THETA | {"layer_norm_eps": 1e-3},
        {"model_type": "nomic_bert", "n_embd": WIDTH, "n_layer": 3, "n_head": 4, "n_inner": 96, "n_positions": 8192}
        | {"rotary_emb_base": 5000.0, "layer_norm_epsilon": 1e-3, "activation_function": "swiglu", "vocab_size": 30522}
        | {"type_vocab_size": 2, "pad_token_id": 0, "auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--m.NomicBertModel"}},
    ),
    "Alibaba's": (
        "gte",
        ONE_THETA | {"layer_norm_eps": 1e-3},
        SIZES | {"model_type": "new", "rope_theta": 5000.0, "layer_norm_eps": 1e-3, "position_embedding_type": "rope"}
        | {"type_vocab_size": 1, "pack_qkv": True, "auto_map": {"AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel"}},
    ),
    "Qwen's": (
        "qwen3",
        ONE_THETA | {"rms_norm_eps": 1e-3},
        SIZES | GROUPED | {"model_type": "qwen3", "rope_theta": 5000.0, "rope_scaling": None, "sliding_window": None}
        | {"max_window_layers": 2, "rms_norm_eps": 1e-3},
    ),
    "Gemma's": (
        "gemma3_text",
        TWO_THETAS | {"query_pre_attn_scalar": 24, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        SIZES | GROUPED | {"model_type": "gemma3_text", "rope_theta": 5000.0, "rope_local_base_freq": 700.0}
        | {"query_pre_attn_scalar": 24, "sliding_window": 20, "sliding_window_pattern": 2},
    ),
    "EmbeddingGemma's": (
        "embeddinggemma",
        TWO_THETAS,
        SIZES | GROUPED | {"model_type": "gemma3_text", "rope_theta": 5000.0, "rope_local_base_freq": 700.0}
        | {"sliding_window": 20, "sliding_window_pattern": 2, "use_bidirectional_attention": True},
    ),
}  # fmt: skip
"""Whose files -> a family, settings of its config.json in the words of transformers 5, and all of it in those of the hub."""


@pytest.mark.parametrize("words", SPELLINGS)
def test_files_with_the_words_of_the_hub_give_the_vectors_of_those_of_transformers_5(
    checkpoint: Checkpoint, tmp_path: Path, words: str
) -> None:
    family, newer, older = SPELLINGS[words]
    plain = checkpoint(family, max_seq_length=LONGEST)
    expected = library(with_config(plain, tmp_path / "newer", **newer))
    assert furthest(library(plain), expected) > 1e-3, "the settings must matter, or this proves nothing"
    model = Path(shutil.copytree(plain, tmp_path / "older"))
    (model / "config.json").write_text(json.dumps(older))
    for backend in BACKENDS:
        assert furthest(vectors(model, backend), expected) <= 1e-5, backend


@pytest.mark.parametrize("backend", BACKENDS)
def test_positions_that_are_stretched_as_alibaba_does_are_those_of_the_default_engine(
    checkpoint: Checkpoint, tmp_path: Path, backend: str
) -> None:
    plain = checkpoint("gte", max_seq_length=LONGEST)
    hub = SIZES | {"model_type": "new", "position_embedding_type": "rope", "rope_theta": 100.0, "type_vocab_size": 1}
    model, even = (Path(shutil.copytree(plain, tmp_path / name)) for name in ("model", "even"))
    (model / "config.json").write_text(json.dumps(hub | {"rope_scaling": {"type": "ntk", "factor": 8.0}}))
    (even / "config.json").write_text(json.dumps(hub))
    expected = vectors(model, "onnxruntime")
    assert furthest(vectors(even, "onnxruntime"), expected) > 1e-4
    assert furthest(vectors(model, backend), expected) <= 1e-5


@pytest.mark.parametrize("backend", [*BACKENDS, "onnxruntime"])
@pytest.mark.parametrize(
    "settings",
    [
        {"rope_scaling": {"type": "ntk"}},
        {"rope_scaling": {"type": "ntk", "factor": 8.0, "mixed_b": 0.6}},
        {"rope_scaling": {"type": "linear", "factor": 8.0}},
        {"rope_parameters": {"rope_type": "ntk", "rope_theta": 100.0, "factor": 8.0}},
    ],
)
def test_positions_that_are_stretched_in_another_way_are_refused_by_every_engine(
    checkpoint: Checkpoint, tmp_path: Path, settings: dict[str, Any], backend: str
) -> None:
    model = with_config(checkpoint("gte"), tmp_path / "model", **settings)
    with pytest.raises(UnsupportedModelError, match=rf"sets {next(iter(settings))} to .*, which no engine of embedry"):
        resolve(model, backend=backend).load()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scale_of_scores_that_the_library_has_no_number_for_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, backend: str
) -> None:
    model = with_config(checkpoint("gemma3_text"), tmp_path / "model", query_pre_attn_scalar=24.5)
    with pytest.raises(UnsupportedModelError, match="query_pre_attn_scalar"):
        resolve(model, backend=backend).load()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_of_alibabas_without_token_types_has_none(checkpoint: Checkpoint, tmp_path: Path, backend: str) -> None:
    model = with_config(checkpoint("gte", max_seq_length=LONGEST), tmp_path / "model", type_vocab_size=0)
    tensors = load_file(model / "model.safetensors")
    del tensors["embeddings.token_type_embeddings.weight"]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    assert furthest(vectors(model, backend), vectors(model, "onnxruntime")) <= 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", ["distilbert", "mpnet", "modernbert", "nomic_bert", "gte", "t5"])
def test_attention_that_only_looks_back_is_refused_where_the_library_would_look_both_ways(
    checkpoint: Checkpoint, tmp_path: Path, family: str, backend: str
) -> None:
    model = with_config(checkpoint(family), tmp_path / "model", is_decoder=True)
    with pytest.raises(
        UnsupportedModelError, match="asks for attention that only looks back, and the transformers lib"
    ):
        resolve(model, backend=backend).load()


def missing(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


def left_over(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name.replace(".1.", ".3.")] = tensors[name].clone()


def of_another_shape(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.cat([tensors[name], tensors[name]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("damage", [missing, left_over, of_another_shape])
@pytest.mark.parametrize(
    ("family", "name", "reported"),
    [
        ("nomic_bert", "encoder.layers.1.attn.Wqkv.weight", "layers.[13].self_attn.[qkv]_proj.weight"),
        ("gte", "encoder.layer.1.mlp.up_gate_proj.weight", "layers.[13].mlp.(gate|up)_proj.weight"),
        ("modernbert", "layers.1.attn.Wqkv.weight", "layers.[13].attn.Wqkv.weight"),
        ("t5", "encoder.block.1.layer.0.SelfAttention.q.weight", "encoder.block.[13].layer.0.SelfAttention.q.weight"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_its_name(
    checkpoint: Checkpoint,
    tmp_path: Path,
    family: str,
    name: str,
    reported: str,
    damage: Callable[[dict[str, torch.Tensor], str], None],
    backend: str,
) -> None:
    model = Path(shutil.copytree(checkpoint(family), tmp_path / "model"))
    tensors = load_file(model / "model.safetensors")
    damage(tensors, name)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match=rf"^model\.safetensors of 'model' (lacks|has).*{reported}"):
        resolve(model, backend=backend).load()


@pytest.mark.parametrize("number", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("family", [*FAMILIES, *LONG_FAMILIES])
def test_weights_in_half_precision_are_computed_with_in_single(
    checkpoint: Checkpoint, tmp_path: Path, family: str, number: torch.dtype
) -> None:
    model = with_config(checkpoint(family), tmp_path / "model", dtype=str(number).removeprefix("torch."))
    halved = {name: tensor.to(number) for name, tensor in load_file(model / "model.safetensors").items()}
    save_file(halved, model / "model.safetensors", metadata={"format": "pt"})
    expected = library(model)
    for backend in BACKENDS:
        assert furthest(vectors(model, backend), expected) <= 1e-5, backend


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_a_t5_with_its_decoder_only_the_encoder_is_run(checkpoint: Checkpoint, tmp_path: Path, backend: str) -> None:
    model = Path(shutil.copytree(checkpoint("t5"), tmp_path / "model"))
    whole = T5Model(T5Config.from_pretrained(model))
    whole.load_state_dict(T5EncoderModel.from_pretrained(model).state_dict(), strict=False)
    whole.save_pretrained(tmp_path / "whole")
    shutil.copy(tmp_path / "whole" / "model.safetensors", model)
    assert any(name.startswith("decoder.") for name in load_file(model / "model.safetensors"))
    assert furthest(vectors(model, backend), vectors(checkpoint("t5"), backend)) <= 1e-6
    assert type(loaded(model)) is T5EncoderModel


def test_no_keys_and_values_are_kept_for_texts_that_nobody_continues(checkpoint: Checkpoint, tmp_path: Path) -> None:
    saved = with_config(checkpoint("qwen3"), tmp_path / "qwen3", use_cache=True)
    small: dict[str, Any] = {
        "vocab_size": 30522,
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
    }
    LlamaModel(LlamaConfig(**small)).save_pretrained(tmp_path / "raw")
    llama = Path(
        shutil.copytree(saved, tmp_path / "llama")
    )  # its config.json is read by the library, Qwen's by the core
    for file in ("config.json", "model.safetensors"):
        shutil.copy(tmp_path / "raw" / file, llama)
    for model in (saved, llama):
        assert json.loads((model / "config.json").read_text())["use_cache"]
        with torch.inference_mode():
            assert [*loaded(model)(input_ids=torch.ones(1, 3, dtype=torch.long))] == ["last_hidden_state"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_loading_writes_nothing_on_stderr(
    checkpoint: Checkpoint, tmp_path: Path, fresh: Callable[..., subprocess.CompletedProcess[str]], backend: str
) -> None:
    stretched = {"rope_theta": 100.0, "rope_scaling": {"type": "ntk", "factor": 8.0}}
    hub = SIZES | stretched | {"model_type": "new", "position_embedding_type": "rope", "type_vocab_size": 1}
    alibaba = Path(shutil.copytree(checkpoint("gte"), tmp_path / "alibaba"))
    (alibaba / "config.json").write_text(json.dumps(hub))
    models = [str(checkpoint(family)) for family in (*FAMILIES, *LONG_FAMILIES)] + [str(alibaba)]
    code = f"from embedry import resolve\nfor model in {models}: resolve(model, backend={backend!r}).load()"
    result = fresh(code, env={"PYTHONWARNINGS": "default", "EMBEDRY_CACHE": os.environ["EMBEDRY_CACHE"]})
    assert result.stderr == ""


def test_a_long_text_among_many_short_ones_is_not_padded_to(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    plain = TorchEncoder._pooled

    def pooled(self: TorchEncoder, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> torch.Tensor:
        shapes.append(ids.shape)
        return plain(self, ids, mask)

    monkeypatch.setattr(TorchEncoder, "_pooled", pooled)
    embedder = resolve(checkpoint("qwen3", "lasttoken", max_seq_length=LONGEST), backend="transformers", threads=1)
    embedder.encode_document([*TEXTS[:5] * 20, TEXTS[-1]])
    assert (1, LONGEST) in shapes
    assert max(rows * length for rows, length in shapes) == LONGEST
