"""Both torch backends run rerankers, sparse embedders and multi-vector embedders as sentence-transformers computes them."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BartConfig,
    EsmConfig,
)

import kind_folders
import kind_references as reference
from embedry import (
    Classifier,
    Dense,
    IntegrityError,
    ModelSpec,
    Pooling,
    Score,
    TermWeights,
    UnsupportedModelError,
    resolve,
    resolve_reranker,
    resolve_sparse,
)
from embedry.chains import Kind
from embedry.resolver import resolve_kind
from embedry_transformers import heads
from embedry_transformers.encoder import TorchEncoder
from kind_entries import ENTRIES
from kind_references import PAIRS, TEXTS, Floats, Role

BACKENDS = ("transformers", "sentence-transformers")
CASES = [(kind, name) for kind, entries in ENTRIES.items() for name in entries if "biases" not in name]
ROLES: tuple[Role, ...] = ("query", "document")
CLOSE: dict[Kind, float] = {"reranker": 1e-5, "sparse": 2e-5, "multi_vector": 1e-5}
"""What computing in another order may change; of weights, the library itself changes as much from one size of batches to another."""

HEADS = {"reranker": AutoModelForSequenceClassification, "sparse": AutoModelForMaskedLM}

Folder = Callable[[Kind, str], Path]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this module's own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These models are so small that torch's threads would spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def copied(folder: Path, to: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(folder, to))


def remade(folder: Path, to: Path, kind: Any, **settings: Any) -> Path:
    """A copy with other settings in its config.json, and other weights, for this class of transformers."""
    model = kind.from_config(AutoConfig.from_pretrained(folder, **settings))
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(copied(folder, to))
    return to


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Changes what model.safetensors of a folder holds."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **settings: Any) -> None:
    """Changes settings in config.json; None takes one out."""
    read = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps({key: value for key, value in read.items() if value is not None}))


_expected: dict[tuple[Path, str], list[Floats]] = {}


def expected(kind: Kind, model: Path, role: Role) -> list[Floats]:
    """By the library, what a model gives for each of `inputs`."""
    key = (model, role)
    if key not in _expected:
        some = inputs(kind, role)
        if kind == "reranker":
            found = list(reference.scores(model, some, batch_size=16).reshape(len(some), -1))
        elif kind == "sparse":
            found = list(reference.sparse(model, some, role, batch_size=16))
        else:
            found = reference.token_vectors(model, some, role, batch_size=16)
        _expected[key] = found
    return _expected[key]


def inputs(kind: Kind, role: Role) -> list[Any]:
    """200 pairs or documents, or 50 queries."""
    return PAIRS if kind == "reranker" else TEXTS if role == "document" else TEXTS[::4]


def results(kind: Kind, model: Any, some: list[Any], role: Role) -> list[Floats]:
    """By the code under test, what a model gives for each of these."""
    if kind == "reranker":
        return list(model.logits(some))
    found = model.encode(some, role=role)
    return list(found.to_dense() if kind == "sparse" else found)


def check_close(kind: Kind, found: list[Floats], wanted: list[Floats]) -> None:
    """Whether each of some results is as wanted."""
    assert [each.shape for each in found] == [each.shape for each in wanted]
    every = np.concatenate(wanted)
    assert np.ptp(every, axis=0).max() > 0.1, "all are alike, and this proves nothing"
    np.testing.assert_allclose(np.concatenate(found), every, rtol=1e-6, atol=CLOSE[kind])


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_gives_what_the_library_computes_in_batches_and_alone(
    kind_folder: Folder, cache_dir: Path, backend: str, kind: Kind, name: str
) -> None:
    spec = ENTRIES[kind][name](kind_folder(kind, name))
    model = resolve_kind(kind, spec, backend=backend, cache_dir=cache_dir)
    for role in ROLES[:1] if kind == "reranker" else ROLES:
        some, wanted = inputs(kind, role), expected(kind, kind_folder(kind, name), role)
        check_close(kind, results(kind, model, some, role), wanted)
        alone = [results(kind, model, [each], role)[0] for each in some[::20]]
        check_close(kind, alone, wanted[::20])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["reranker", "sparse"])
def test_biases_of_norms_are_refused_where_config_json_is_read(
    kind_folder: Folder, cache_dir: Path, backend: str, kind: Kind
) -> None:
    spec = ENTRIES[kind]["modernbert, biases"](kind_folder(kind, "modernbert, biases"))
    with pytest.raises(UnsupportedModelError, match="sets norm_bias to True"):
        resolve_kind(kind, spec, backend=backend, cache_dir=cache_dir).load()


# keys of config.json, and families without an entry there


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("kind", "name", "settings"),
    [
        ("reranker", "modernbert, cls", {"classifier_bias": True, "classifier_activation": "silu"}),
        ("sparse", "modernbert", {"decoder_bias": False, "classifier_bias": True, "classifier_activation": "relu"}),
    ],
)
def test_settings_that_only_a_head_has_reach_it(
    kind_folder: Folder, tmp_path: Path, cache_dir: Path, kind: Kind, name: str, settings: dict[str, Any], backend: str
) -> None:
    model = remade(kind_folder(kind, name), tmp_path / "model", HEADS[kind], **settings)
    found = resolve_kind(kind, ENTRIES[kind][name](model), backend=backend, cache_dir=cache_dir)
    check_close(kind, results(kind, found, inputs(kind, "query"), "query"), expected(kind, model, "query"))


def decoder(model: Path, architecture: str) -> ModelSpec:
    """The entry of a decoder with a head for classification, whose tokenizer puts nothing around the texts of a pair."""
    spec = ENTRIES["reranker"]["bert"](model)
    return replace(spec, architecture=architecture, max_seq_length=kind_folders.TEMPLATE_LENGTH)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_a_decoder_is_classified_by_its_last_token(
    kind_folder: Folder, cache_dir: Path, backend: str, architecture: str
) -> None:
    model = kind_folder("reranker", architecture)
    found = resolve_reranker(decoder(model, architecture), backend=backend, cache_dir=cache_dir)
    check_close("reranker", list(found.logits(PAIRS)), expected("reranker", model, "query"))


@pytest.mark.parametrize("pad", [None, 400])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_last_token_is_found_with_any_padding_or_none(
    kind_folder: Folder, tmp_path: Path, cache_dir: Path, architecture: str, pad: int | None, backend: str
) -> None:
    model = copied(kind_folder("reranker", architecture), tmp_path / "model")
    change_config(model, pad_token_id=pad)
    found = resolve_reranker(decoder(model, architecture), backend=backend, cache_dir=cache_dir)
    some = [*list(dict.fromkeys(PAIRS))[:60], ("music", "a river<|endoftext|>")]  # whose last token has the id 0
    check_close("reranker", list(found.logits(some)), list(reference.scores(model, some).reshape(-1, 1)))


# tensors


TENSORS: list[tuple[Kind, str, str]] = [
    ("reranker", "bert", "classifier.weight"),
    ("reranker", "roberta", "classifier.dense.weight"),
    ("reranker", "distilbert", "pre_classifier.bias"),
    ("reranker", "modernbert, cls", "head.dense.weight"),
    ("reranker", "new", "classifier.bias"),
    ("reranker", "saved qwen3 decoder", "model.layers.1.mlp.up_proj.weight"),
    ("sparse", "bert", "cls.predictions.transform.dense.weight"),
    ("sparse", "bert, untied", "cls.predictions.decoder.weight"),
    ("sparse", "distilbert", "vocab_transform.weight"),
    ("sparse", "roberta", "lm_head.dense.bias"),
    ("sparse", "modernbert", "head.norm.weight"),
    ("multi_vector", "stanford", "linear.weight"),
]
"""Tensors of heads, and one of a decoder in front of one."""

DAMAGES = [(*tensor, "missing") for tensor in TENSORS]
DAMAGES += [(*tensor, damage) for tensor in TENSORS[::2] for damage in ("misshapen", "left over")]
DAMAGES.append(("reranker", "bert", "bert.pooler.dense.weight", "missing"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "name", "tensor", "damage"), DAMAGES)
def test_a_tensor_that_does_not_fit_is_refused_by_its_name(
    kind_folder: Folder, tmp_path: Path, kind: Kind, name: str, tensor: str, damage: str, backend: str
) -> None:
    model = copied(kind_folder(kind, name), tmp_path / "model")
    more = f"{tensor.rpartition('.')[0]}.more.weight"

    def change(tensors: dict[str, torch.Tensor]) -> None:
        if damage == "left over":
            tensors[more] = torch.ones(2, 2)
        elif damage == "missing":
            del tensors[tensor]
        else:
            tensors[tensor] = torch.ones(5, 7)

    change_tensors(model, change)
    wrong = more if damage == "left over" else tensor
    with pytest.raises(IntegrityError, match=f"(?s)(of 'model'|in the shape) .*{wrong}|{wrong}.* in the shape"):
        resolve_kind(kind, ENTRIES[kind][name](model), backend=backend, cache_dir=tmp_path / "cache").load()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "name"), [("reranker", "roberta"), ("sparse", "bert"), ("sparse", "modernbert")])
def test_of_a_model_with_a_head_another_chain_leaves_the_head_alone(
    kind_folder: Folder, cache_dir: Path, kind: Kind, name: str, backend: str
) -> None:
    model = kind_folder(kind, name)
    spec = replace(
        ENTRIES[kind][name](model), chain=(Pooling(mode="cls"),), dims=kind_folders.WIDTH, similarity="cosine"
    )
    found = resolve(spec, backend=backend, cache_dir=cache_dir)
    (tokens,) = found.tokenize(["the river ran"], role="document")
    with torch.inference_mode():
        vectors = AutoModel.from_pretrained(model)(torch.tensor([[token.id for token in tokens]]))[0]
    np.testing.assert_allclose(found.encode_document(["the river ran"]), vectors[:, 0].numpy(), rtol=0, atol=1e-5)


# heads of their own


def test_the_weight_of_a_term_is_the_greatest_of_its_tokens(
    kind_folder: Folder, tmp_path: Path, cache_dir: Path
) -> None:
    model = copied(kind_folder("multi_vector", "bert, no Dense"), tmp_path / "model")
    weight, bias = torch.randn(1, kind_folders.WIDTH) * 0.5, torch.tensor([0.1])
    (model / "sparse_linear").mkdir()
    save_file({"linear.weight": weight, "linear.bias": bias}, model / "sparse_linear" / "model.safetensors")
    module = TermWeights(path="sparse_linear", inputs=kind_folders.WIDTH, outputs=4000, skip=(101, 102))
    plain = ENTRIES["multi_vector"]["bert, no Dense"](model)
    files = {**plain.files, module.weights: None}
    spec = replace(plain, chain=(module,), dims=4000, files=files, similarity="dot")
    found = resolve_sparse(spec, backend="transformers", cache_dir=cache_dir)
    vectors = found.encode_document(TEXTS)
    transformer = AutoModel.from_pretrained(model)
    for place in range(0, len(TEXTS), 7):
        ids = [token.id for token in found.tokenize(TEXTS[place : place + 1], role="document")[0]]
        ids = [*ids[:63], 102] if len(ids) > 64 else ids
        with torch.inference_mode():
            values = torch.relu(transformer(torch.tensor([ids]))[0][0] @ weight[0] + bias)
        wanted: dict[int, float] = {}
        for token, value in zip(ids, values.tolist(), strict=True):
            if value > 0 and token not in (101, 102):
                wanted[token] = max(value, wanted.get(token, 0))
        indices, weights = vectors[place]
        assert indices.tolist() == sorted(wanted)
        np.testing.assert_allclose(weights, [wanted[token] for token in sorted(wanted)], rtol=0, atol=1e-5)
    assert len(vectors.indices) > 500


def test_the_vocabulary_is_multiplied_some_terms_at_a_time(
    kind_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = kind_folder("sparse", "bert, sum")
    sizes = []
    linear = torch.nn.functional.linear

    def watched(*tensors: torch.Tensor) -> torch.Tensor:
        found = linear(*tensors)
        sizes.append(found.numel())
        return found

    monkeypatch.setattr(heads, "_CPU_BLOCK", 5000)
    found = resolve_sparse(ENTRIES["sparse"]["bert, sum"](model), backend="transformers", cache_dir=tmp_path).load()
    with monkeypatch.context() as patch:
        patch.setattr("embedry_transformers.heads.functional.linear", watched)
        weights = results("sparse", found, inputs("sparse", "query"), "query")
    assert len(sizes) > 100
    check_close("sparse", weights, expected("sparse", model, "query"))


@pytest.mark.parametrize(("backend", "precision"), list(zip(BACKENDS, ("bf16", "fp16"), strict=True)))
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("reranker", "bert"),
        ("reranker", "modernbert, mean"),
        ("reranker", "saved qwen3 decoder, one token"),
        ("sparse", "bert, sum"),
        ("multi_vector", "bert, two Dense"),
    ],
)
def test_half_precision_is_pooled_stated_and_close(
    kind_folder: Folder, cache_dir: Path, kind: Kind, name: str, precision: str, backend: str
) -> None:
    spec = ENTRIES[kind][name](kind_folder(kind, name))
    some = inputs(kind, "query")[:40]
    full, half = (
        resolve_kind(kind, spec, backend=backend, precision=each, cache_dir=cache_dir) for each in ("fp32", precision)
    )
    found, wanted = (np.concatenate(results(kind, each, some, "query")) for each in (half, full))
    assert 1e-6 < np.abs(found - wanted).max() < {"fp16": 0.01, "bf16": 0.08}[precision] * np.abs(wanted).max()
    assert half.info["precision"] == precision


@pytest.mark.parametrize(
    ("kind", "name"), [("reranker", "bert"), ("sparse", "bert"), ("multi_vector", "bert, expansion")]
)
def test_where_memory_runs_out_batches_are_halved(
    kind_folder: Folder, tmp_path: Path, kind: Kind, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve_kind(kind, ENTRIES[kind][name](kind_folder(kind, name)), backend="transformers", cache_dir=tmp_path)
    pooled, most = TorchEncoder._pooled, []

    def limited(self: TorchEncoder, *arrays: Any) -> torch.Tensor:
        if len(arrays[0]) > 3:
            raise torch.OutOfMemoryError("no more")
        most.append(len(arrays[0]))
        return pooled(self, *arrays)

    monkeypatch.setattr(TorchEncoder, "_pooled", limited)
    check_close(
        kind, results(kind, model, inputs(kind, "query"), "query"), expected(kind, kind_folder(kind, name), "query")
    )
    assert max(most) in (2, 3)


# what is refused


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mean_that_a_familys_class_does_not_take_is_refused(
    kind_folder: Folder, cache_dir: Path, backend: str
) -> None:
    plain = ENTRIES["reranker"]["bert"](kind_folder("reranker", "bert"))
    spec = replace(plain, chain=(Classifier(pooling="mean"), Score()))
    with pytest.raises(UnsupportedModelError, match=r"BertForSequenceClassification, takes one of .*pooling='mean'"):
        resolve_reranker(spec, backend=backend, cache_dir=cache_dir).load()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("chain", "why"),
    [
        ((Classifier(labels=8), Dense(path="", inputs=8, outputs=1), Score()), "has a Classifier beside other modules"),
        ((Pooling(mode="cls"), Classifier(), Score()), "has a Classifier beside other modules, Pooling, Classifier"),
    ],
)
def test_a_head_beside_modules_that_it_does_not_go_with_is_refused(
    kind_folder: Folder, chain: Any, why: str, backend: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=why):
        resolve_reranker(
            replace(ENTRIES["reranker"]["bert"](kind_folder("reranker", "bert")), chain=chain), backend=backend
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_head_behind_a_decoder_that_reads_the_text_again_is_refused(
    kind_folder: Folder, tmp_path: Path, backend: str
) -> None:
    config = BartConfig(
        vocab_size=4000, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    model = copied(kind_folder("reranker", "bert"), tmp_path / "model")
    AutoModelForSequenceClassification.from_config(config, num_labels=1).save_pretrained(model)
    spec = replace(ENTRIES["reranker"]["bert"](model), architecture="bart")
    with pytest.raises(UnsupportedModelError, match="is behind a decoder that reads the text again"):
        resolve_reranker(spec, backend=backend, cache_dir=tmp_path / "cache").load()


def test_logits_that_a_class_computes_in_a_way_of_its_own_are_refused(kind_folder: Folder, tmp_path: Path) -> None:
    config = EsmConfig(
        vocab_size=4000, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=66, pad_token_id=0, mask_token_id=103,
    )  # fmt: skip
    model = copied(kind_folder("sparse", "bert"), tmp_path / "model")
    AutoModelForMaskedLM.from_config(config).save_pretrained(model)
    spec = replace(ENTRIES["sparse"]["bert"](model), architecture="esm")
    with pytest.raises(UnsupportedModelError, match="cannot load 'model' with its own code"):
        resolve_sparse(spec, backend="transformers", cache_dir=tmp_path / "cache").load()
