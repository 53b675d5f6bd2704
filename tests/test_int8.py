"""int8 keeps the meaning within what the entry states, is a space of its own, and is refused where nothing was calibrated."""

import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, load_file, save_file

import embedry_graphs as graphs
from checkpoints import FAMILIES
from embedry import (
    Int8,
    IntegrityError,
    ModelSpec,
    OptionError,
    Resource,
    SpecError,
    list_models,
    resolve,
    resolve_reranker,
)
from embedry._files import digests
from embedry.testing.texts import MIXED
from embedry.views import LazyEmbedder
from embedry_cli.calibrate import ranges
from embedry_graphs.quantized import rounded
from embedry_onnxruntime import backend as onnxruntime
from embedry_onnxruntime import packing
from entries import entry, resource
from test_agreement import real_texts

Checkpoint = Callable[..., Path]

WORDS = ["paper", "river", "seven", "cloud", "against", "music", "window", "early", "market", "garden", "because"]
TEXTS = [" ".join(WORDS[(7 * n + 3 * at) % 11] for at in range(1 + n % 60)) for n in range(80)]


@pytest.fixture
def calibrated(checkpoint: Checkpoint, tmp_path: Path) -> Callable[..., tuple[ModelSpec, Path]]:
    """A small model with a calibration of its own, and where that lies."""

    def make(family: str = "bert", **options: Any) -> tuple[ModelSpec, Path]:
        folder = checkpoint(family, **options)
        exact = resolve(folder, cache_dir=tmp_path)
        path = tmp_path / "calibration.safetensors"
        path.write_bytes(ranges(exact, onnxruntime, TEXTS))
        spec = exact.spec
        return replace(spec, int8=Int8(calibration=resource(path), cosine=0.98)), path

    return make


def cosines(one: LazyEmbedder, other: LazyEmbedder, texts: list[str]) -> np.ndarray[Any, Any]:
    return np.einsum("ij,ij->i", one.encode_document(texts), other.encode_document(texts))


def test_the_real_model_is_as_near_to_fp32_as_its_entry_says(minilm: LazyEmbedder) -> None:
    int8 = resolve("all-MiniLM-L6-v2", precision="int8")
    found = cosines(minilm, int8, real_texts(200))
    assert minilm.spec.int8 is not None
    assert found.mean() >= 0.998 > minilm.spec.int8.cosine
    assert found.min() >= 0.985
    assert found.max() < 1 - 1e-6  # it is not fp32 under another name
    assert int8.info["precision"] == "int8"


def test_the_calibration_that_is_shipped_is_what_the_command_makes(minilm: LazyEmbedder) -> None:
    """Of some of its texts, the ranges lie within those of all of them, and come near."""
    assert minilm.spec.int8 is not None
    shipped = load_file(minilm.spec.int8.calibration.locate())
    made = load(ranges(minilm, onnxruntime, MIXED))
    assert made.keys() == shipped.keys()
    for name, values in made.items():
        beyond = values - shipped[name]
        assert (beyond.max() <= 1e-3) if name.endswith("high") else (beyond.min() >= -1e-3), name
        assert 0.3 < np.median(np.abs(values) / np.maximum(np.abs(shipped[name]), 1e-6)) <= 1, name


@pytest.mark.parametrize("spec", [spec for spec in list_models() if spec.int8], ids=lambda spec: spec.name)
def test_a_calibration_that_is_shipped_has_every_layer_of_its_model(spec: ModelSpec) -> None:
    assert spec.int8 is not None
    path = spec.int8.calibration.locate()
    assert digests.sha256(path) == spec.int8.calibration.sha256
    found = load_file(path)
    layers = {"all-MiniLM-L6-v2": 6, "all-mpnet-base-v2": 12}[spec.name]
    channels = {"attention": spec.dims, "attended": spec.dims, "feed_forward": spec.dims, "hidden": 4 * spec.dims}
    assert {name: values.shape for name, values in found.items()} == {
        f"{layer}.{place}.{end}": (count,)
        for layer in range(layers)
        for place, count in channels.items()
        for end in ("low", "high")
    }
    for name in found:
        if name.endswith("low"):
            assert (found[name] <= found[name.replace("low", "high")]).all(), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_every_family_is_near_fp32_alone_and_in_a_batch(
    calibrated: Callable[..., tuple[ModelSpec, Path]], tmp_path: Path, family: str, pooling: str
) -> None:
    spec, _ = calibrated(family, pooling=pooling)
    int8 = resolve(spec, precision="int8", cache_dir=tmp_path)
    found = cosines(resolve(spec, cache_dir=tmp_path), int8, TEXTS)
    assert found.min() >= 0.99
    assert found.max() < 1 - 1e-7
    together = int8.encode_document(TEXTS)
    alone = np.concatenate([int8.encode_document([text]) for text in TEXTS])
    # A rounding that falls the other way moves a value by one step of 256; a step of the batch's own would move all.
    assert np.median(np.abs(together - alone).max(axis=1)) <= 1e-5


def test_int8_is_a_space_of_its_own_and_so_is_another_calibration(
    calibrated: Callable[..., tuple[ModelSpec, Path]], tmp_path: Path
) -> None:
    spec, path = calibrated()
    options: dict[str, Any] = {"precision": "int8", "cache_dir": tmp_path}
    first = resolve(spec, **options).fingerprint
    assert first != resolve(spec, cache_dir=tmp_path).fingerprint
    assert first == resolve(spec, **options).fingerprint
    other = tmp_path / "other.safetensors"
    save_file({name: values * 2 for name, values in load_file(path).items()}, other)
    wider = resolve(replace(spec, int8=Int8(calibration=resource(other), cosine=0.9)), **options)
    assert wider.fingerprint != first
    narrow = resolve(spec, **options).encode_document(TEXTS)
    assert np.abs(wider.encode_document(TEXTS) - narrow).max() > 1e-4  # and its graph is not the first one's


def test_a_feed_forward_block_has_the_activation_that_its_configuration_names(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint("bert"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    exact = resolve(folder, cache_dir=tmp_path)
    (tmp_path / "calibration.safetensors").write_bytes(ranges(exact, onnxruntime, TEXTS))
    spec = replace(exact.spec, int8=Int8(calibration=resource(tmp_path / "calibration.safetensors"), cosine=0.98))
    assert cosines(exact, resolve(spec, precision="int8", cache_dir=tmp_path), TEXTS).min() >= 0.9999


def test_int8_is_for_the_families_whose_layers_can_be_exchanged_and_for_no_others() -> None:
    for architecture, module in graphs.FAMILIES.items():
        takes = "build_layer" in inspect.signature(import_module(module).token_vectors).parameters
        refusal = graphs.int8_refusal(entry(architecture=architecture))
        assert (refusal is None) == takes, architecture
        assert takes or f"not for {architecture!r}" in str(refusal)


def test_what_was_not_calibrated_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(OptionError, match=r"'bge-small-en-v1\.5' was not calibrated"):
        resolve("bge-small-en-v1.5", precision="int8")
    with pytest.raises(
        OptionError, match=r"'nomic-embed-text-v1\.5': 8-bit products are written for bert, .* not for 'nomic_bert'"
    ):
        resolve("nomic-embed-text-v1.5", precision="int8")
    with pytest.raises(OptionError, match="give one vector for a text, and this is a reranker model"):
        resolve_reranker("ms-marco-MiniLM-L6-v2", precision="int8")
    with pytest.raises(OptionError, match="'transformers' does not support precision='int8'"):
        resolve("all-MiniLM-L6-v2", precision="int8", backend="transformers")


def test_a_calibration_that_cannot_be_read_or_is_another_models_is_an_error_that_names_it(
    calibrated: Callable[..., tuple[ModelSpec, Path]], tmp_path: Path
) -> None:
    spec, path = calibrated()
    missing = replace(
        spec, int8=Int8(calibration=Resource(path=str(tmp_path / "missing"), sha256="0" * 64), cosine=0.9)
    )
    with pytest.raises(SpecError, match="missing"):
        resolve(missing, precision="int8")
    path.write_bytes(b"not safetensors")
    with pytest.raises(IntegrityError, match=r"calibration\.safetensors is not the file that the model's entry names"):
        resolve(spec, precision="int8", cache_dir=tmp_path).load()
    stated = replace(spec, int8=Int8(calibration=resource(path), cosine=0.9))
    with pytest.raises(SpecError, match=r"calibration\.safetensors cannot be read"):
        resolve(stated, precision="int8", cache_dir=tmp_path).load()
    save_file({"0.attention.low": np.zeros(3, dtype=np.float32)}, path)
    stated = replace(spec, int8=Int8(calibration=resource(path), cosine=0.9))
    with pytest.raises(SpecError, match=r"calibration\.safetensors .* layer 0"):
        resolve(stated, precision="int8", cache_dir=tmp_path).load()


def test_an_onnx_file_of_its_own_is_not_quantized(
    calibrated: Callable[..., tuple[ModelSpec, Path]], tmp_path: Path
) -> None:
    spec, _ = calibrated()
    own = replace(spec, onnx="model.onnx", files=dict(spec.files) | {"model.onnx": None})
    (Path(spec.folder or "") / "model.onnx").write_bytes(b"never read")
    with pytest.raises(OptionError, match="int8 cannot be made of"):
        resolve(own, precision="int8", cache_dir=tmp_path)


@pytest.mark.parametrize("cosine", [0.0, -0.5, 1.01])
def test_an_entry_with_an_impossible_tolerance_is_refused(minilm: LazyEmbedder, cosine: float) -> None:
    with pytest.raises(SpecError, match=r"int8\.cosine"):
        replace(minilm.spec, int8=Int8(calibration=Resource(path="file", sha256="0" * 64), cosine=cosine))


@pytest.mark.parametrize("inputs", [1, 6, 7, 384])
def test_rounded_weights_cannot_saturate_and_are_as_near_as_their_step_allows(inputs: int) -> None:
    random = np.random.default_rng(inputs)
    weight = (random.standard_normal((inputs, 20)) ** 3).astype(np.float32)
    weight[:, 0] = 0
    weight[:, 1] = 1  # neighbors of one size and sign: the worst case
    values, steps = rounded(weight)
    assert values.dtype == np.int8
    assert (np.abs(values * steps - weight) <= steps / 2 + 1e-6).all()
    padded = np.zeros((inputs + inputs % 2, 20), dtype=np.int64)
    padded[:inputs] = values
    pairs = padded.reshape(-1, 2, 20)
    for activations in ((255, 255), (255, 0), (0, 255)):
        sums = np.einsum("kpn,p->kn", pairs, np.array(activations))
        assert -(2**15) <= sums.min() <= sums.max() < 2**15
    assert np.abs(values).max() > 60  # and the range is made use of


def test_a_graph_is_found_on_processors_that_pack_integers_alike_and_made_anew_for_others(
    calibrated: Callable[..., tuple[ModelSpec, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = calibrated()
    haswell = ("avx", "avx2", "fma", "sse4_2")
    processors = [
        haswell,
        (*haswell, "avx512_vnni", "avx512f"),
        (*haswell, "avx_vnni"),
        (*haswell, "amx_int8", "amx_tile"),
    ]
    graphs = []
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for threads, flags in enumerate(processors, start=1):
        monkeypatch.setattr(packing, "cpu_features", lambda flags=flags: flags)
        embedder = resolve(spec, precision="int8", threads=threads, cache_dir=tmp_path / "cache").load()
        graphs.append((Path(embedder.info["graph"]), embedder.info["compiled for"]))
    assert graphs[0] == graphs[1] == graphs[2]
    assert [level for _, level in graphs] == [*["x86-64 avx2"] * 3, "x86-64 amx"]
    assert {folder for folder, _ in graphs} == set((tmp_path / "cache" / "graphs").iterdir())
