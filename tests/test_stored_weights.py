"""However a checkpoint stores its weights - with a head, as halves, in parts, under old names - they give the same vectors."""

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, T5ForConditionalGeneration

import agreement
import embedry_graphs
from agreement import POOLINGS, TEXTS, expected, furthest, longest
from checkpoints import FAMILIES, LONG_FAMILIES
from embedry import IntegrityError
from embedry._files import model_config
from embedry._layouts import from_folder

Checkpoint = Callable[..., Path]
Encode = Callable[..., agreement.Vectors]
Weights = dict[str, torch.Tensor]

SOME = TEXTS[::10]
HEADS = {
    **dict.fromkeys((*FAMILIES, "modernbert", "nomic_bert", "gte"), AutoModelForMaskedLM),
    **dict.fromkeys(("qwen3", "gemma3_text"), AutoModelForCausalLM),
    "t5": T5ForConditionalGeneration,
}
"""Families -> the class that has a head of pretraining, or a decoder, around them."""


@pytest.fixture
def changed(checkpoint: Checkpoint, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a family's checkpoint whose tensors are what a function makes of them."""

    def make(family: str, change: Callable[[Weights], Weights]) -> Path:
        folder = Path(shutil.copytree(plain(checkpoint, family), tmp_path / "model"))
        tensors = change(load_file(folder / "model.safetensors"))
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


def plain(checkpoint: Checkpoint, family: str) -> Path:
    return checkpoint(family, POOLINGS[family][0], max_seq_length=longest(family))


@pytest.mark.parametrize("backend", ["onnxruntime", "transformers", "sentence-transformers"])
@pytest.mark.parametrize("family", HEADS)
def test_the_weights_of_a_model_with_a_head_are_found_behind_its_prefix(
    checkpoint: Checkpoint, changed: Callable[..., Path], vectors: Encode, tmp_path: Path, family: str, backend: str
) -> None:
    model = plain(checkpoint, family)

    def with_head(_: Weights) -> Weights:
        encoder = AutoModel.from_pretrained(model)
        whole: Any = HEADS[family]
        headed = whole(encoder.config) if family == "t5" else whole.from_config(encoder.config)
        headed.base_model.load_state_dict(encoder.state_dict(), strict=False)  # the head has no pooler
        headed.save_pretrained(tmp_path / "raw")
        return load_file(tmp_path / "raw" / "model.safetensors")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        headed = changed(family, with_head)
    names, before = (load_file(folder / "model.safetensors").keys() for folder in (headed, model))
    assert {name for name in names if name not in before}, "a head, or a prefix"
    found, wanted = (vectors(folder, SOME, backend=backend) for folder in (headed, model))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("new", {"classifier.weight": (1, 48), "new.pooler.dense.weight": (48, 48), "lm_head.dense.weight": (48, 48)}),
        ("nomic_bert", {"encoder.layers.0.attn.rotary_emb.inv_freq": (6,), "pooler.dense.weight": (48, 48)}),
        ("jina_bert_v2", {"encoder.alibi": (1, 3, 16, 16), "pooler.dense.bias": (48,)}),
        ("bert", {"embeddings.position_ids": (1, 512), "cls.seq_relationship.weight": (2, 48)}),
        ("qwen3", {"lm_head.weight": (30522, 48), "layers.1.self_attn.rotary_emb.inv_freq": (8,)}),
        ("t5", {"lm_head.weight": (30522, 48), "encoder.embed_tokens.weight": (30522, 48)}),
    ],
)
def test_heads_and_buffers_that_published_files_have_are_left_out(
    checkpoint: Checkpoint, changed: Callable[..., Path], vectors: Encode, family: str, more: dict[str, tuple[int, ...]]
) -> None:
    model = changed(family, lambda tensors: tensors | {name: torch.randn(shape) for name, shape in more.items()})
    np.testing.assert_array_equal(vectors(model, SOME), vectors(plain(checkpoint, family), SOME))


def test_an_encoder_of_t5_may_name_the_words_as_its_own(
    checkpoint: Checkpoint, changed: Callable[..., Path], vectors: Encode
) -> None:
    names = {"shared.weight": "encoder.embed_tokens.weight"}
    model = changed("t5", lambda tensors: {names.get(name, name): value for name, value in tensors.items()})
    np.testing.assert_array_equal(vectors(model, SOME), vectors(plain(checkpoint, "t5"), SOME))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["bert", "modernbert", "qwen3", "embeddinggemma", "t5"])
def test_halves_are_computed_with_in_single_precision(
    changed: Callable[..., Path], vectors: Encode, family: str, half: torch.dtype
) -> None:
    model = changed(family, lambda tensors: {name: value.to(half) for name, value in tensors.items()})
    assert furthest(vectors(model, SOME), expected(model, SOME)) <= 1e-5


@pytest.mark.parametrize("family", ["bert", "modernbert", "qwen3", "embeddinggemma", "t5"])
def test_weights_in_several_files_are_one_model(
    checkpoint: Checkpoint, vectors: Encode, tmp_path: Path, family: str
) -> None:
    whole = plain(checkpoint, family)
    model = Path(shutil.copytree(whole, tmp_path / "model"))
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    files = {}
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, model / file, metadata={"format": "pt"})
        files |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": 0}, "weight_map": files}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(vectors(model, SOME), vectors(whole, SOME))


@pytest.mark.parametrize("family", ["bert", "new"])
def test_norms_may_have_the_names_that_tensorflow_gave_them(
    checkpoint: Checkpoint, changed: Callable[..., Path], vectors: Encode, family: str
) -> None:
    def renamed(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    model = changed(family, lambda tensors: {renamed(name): value for name, value in tensors.items()})
    np.testing.assert_array_equal(vectors(model, SOME), vectors(plain(checkpoint, family), SOME))


def test_a_tensor_with_and_without_the_prefix_is_refused_by_name(changed: Callable[..., Path], vectors: Encode) -> None:
    name = "embeddings.LayerNorm.bias"
    model = changed("new", lambda tensors: tensors | {name: tensors[f"new.{name}"].clone()})
    with pytest.raises(IntegrityError, match=f"has the tensor '{name}' twice, with and without the prefix 'new.'"):
        vectors(model, ["a text"])


@pytest.mark.parametrize("family", [*LONG_FAMILIES, "new", "jina_bert_v2", "jina_bert_v2_qk_post_norm"])
def test_a_tensor_that_is_missing_left_over_or_of_another_shape_is_refused_by_name(
    checkpoint: Checkpoint, tmp_path: Path, family: str
) -> None:
    model = Path(shutil.copytree(plain(checkpoint, family), tmp_path / "model"))
    spec, config = from_folder(model), model_config.read(model, "config.json")
    tensors = load_file(model / "model.safetensors")
    read = [name for name in tensors if not re.search(r"^(layers|encoder\.layers?)\.[02]\.|pooler", name)]
    assert len(read) > 8

    def check(changed: Weights, fault: str) -> None:
        save_file(changed, model / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(IntegrityError, match=fault):
            embedry_graphs.write(spec, config, model, tmp_path)

    for name in read:
        short = re.escape(name.removeprefix("new."))
        check({each: value for each, value in tensors.items() if each != name}, f"has no tensor '{short}'")
        larger = torch.cat([tensors[name], tensors[name][:1]])
        shape = re.escape(str(tuple(larger.shape)))
        check(tensors | {name: larger}, rf"the tensor '{short}' of .* is {shape}, and config\.json says")
    check(tensors | {"encoder.layer.7.weight": torch.ones(2, 2)}, "not account for: encoder.layer.7.weight")
