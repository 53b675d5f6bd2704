"""Every family and pooling gives the vectors of sentence-transformers, from checkpoints in which every weight matters."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from checkpoints import FAMILIES
from embedry import ModelSpec, resolve
from embedry_onnxruntime.session import OnnxEncoder

LONGEST = 512
TOKENS = (1, 2, 3, 4, 7, 16, 33, 100, 127, 128, 129, 256, LONGEST - 3, LONGEST - 2, 700)
WORDS = ["paper", "river", "seven", "cloud", "against", "music", "window", "early", "market", "garden", "because"]
TEXTS = ["", *(" ".join(WORDS[(n * n + place) % len(WORDS)] for place in range(n)) for n in TOKENS)]

Checkpoint = Callable[..., Path]
Vectors = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Vectors:
    """Vectors of a model by the code under test; the cache is new, so its graph is compiled by it too."""
    cache_dir = tmp_path_factory.mktemp("cache")

    def encode(
        model: Path | ModelSpec, texts: list[str], role: str = "document", **options: Any
    ) -> NDArray[np.float32]:
        return resolve(model, cache_dir=cache_dir, **options).encode(texts, role=role)

    return encode


def expected(model: Path, texts: list[str], role: str = "document", **options: Any) -> NDArray[np.float32]:
    """Vectors of a model by sentence-transformers, in float32."""
    import torch
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(model), device="cpu", model_kwargs={"dtype": torch.float32})
    encode = {"query": reference.encode_query, "document": reference.encode_document}[role]
    return np.asarray(encode(texts, **options))


def changed(model: Path, folder: Path, make: Callable[[Any], Any]) -> Path:
    """A copy of a checkpoint whose weights file is that of another model, which `make` makes of its encoder."""
    from transformers import AutoModel

    shutil.copytree(model, folder)
    make(AutoModel.from_pretrained(model)).save_pretrained(folder.parent / "raw")
    shutil.copy(folder.parent / "raw" / "model.safetensors", folder)
    return folder


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_gives_the_vectors_of_sentence_transformers_with_and_without_padding(
    checkpoint: Checkpoint, vectors: Vectors, family: str, pooling: str
) -> None:
    model = checkpoint(family, pooling, max_seq_length=LONGEST)
    reference = expected(model, TEXTS)
    assert np.abs(vectors(model, TEXTS) - reference).max() <= 1e-5
    alone = np.concatenate([vectors(model, [text]) for text in TEXTS])
    assert np.abs(alone - reference).max() <= 1e-5
    assert np.ptp(reference, axis=0).max() > 0.01, "the texts must be told apart, or this proves nothing"


@pytest.mark.parametrize("role", ["query", "document"])
@pytest.mark.parametrize(
    ("pooling", "prompts"),
    [
        ("cls", {"query": "represent this sentence for searching relevant passages: "}),
        ("mean", {"query": "query: ", "document": "passage: "}),
        ("mean", {"query": "query: ", "passage": "passage: ", "clustering": "cluster: "}),
    ],
)
def test_a_role_has_the_prompt_that_sentence_transformers_gives_it(
    checkpoint: Checkpoint, vectors: Vectors, role: str, pooling: str, prompts: dict[str, str]
) -> None:
    model = checkpoint("bert", pooling, prompts=prompts)
    assert np.abs(vectors(model, TEXTS, role) - expected(model, TEXTS, role)).max() <= 1e-5


def test_without_normalising_vectors_are_those_of_the_chain_without_it(
    checkpoint: Checkpoint, vectors: Vectors
) -> None:
    bare = checkpoint("mpnet", normalize=False)
    reference = expected(bare, TEXTS)
    assert np.linalg.norm(reference, axis=1).min() > 1.1
    assert np.abs(vectors(bare, TEXTS) - reference).max() <= 1e-5
    assert np.abs(vectors(checkpoint("mpnet"), TEXTS, normalize=False) - reference).max() <= 1e-5
    assert np.abs(vectors(bare, TEXTS, normalize=True) - expected(checkpoint("mpnet"), TEXTS)).max() <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_of_a_model_with_a_pretraining_head_are_found_behind_its_prefix(
    checkpoint: Checkpoint, vectors: Vectors, tmp_path: Path, family: str
) -> None:
    from safetensors import safe_open
    from transformers import AutoModelForMaskedLM

    def with_head(encoder: Any) -> Any:
        model = AutoModelForMaskedLM.from_config(encoder.config)
        model.base_model.load_state_dict(encoder.state_dict(), strict=False)  # the head has no pooler
        return model

    model = checkpoint(family, max_seq_length=LONGEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        headed = changed(model, tmp_path / "headed", with_head)
    with safe_open(headed / "model.safetensors", "numpy") as file:
        names = list(file.keys())
    assert not any(name.startswith(("embeddings.", "encoder.", "transformer.")) for name in names)
    np.testing.assert_array_equal(vectors(headed, TEXTS), vectors(model, TEXTS))


def test_weights_in_half_precision_are_computed_with_in_single(
    checkpoint: Checkpoint, vectors: Vectors, tmp_path: Path
) -> None:
    model = checkpoint("bert", "cls", max_seq_length=LONGEST)
    halved = changed(model, tmp_path / "halved", lambda encoder: encoder.half())
    assert (halved / "model.safetensors").stat().st_size < 0.6 * (model / "model.safetensors").stat().st_size
    assert np.abs(vectors(halved, TEXTS) - expected(halved, TEXTS)).max() <= 1e-5


def test_mpnets_buckets_of_distances_are_those_of_the_original_code() -> None:
    import torch
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    from embedry_graphs.relative import bucket

    distances = np.arange(1 - LONGEST, LONGEST)
    original = MPNetEncoder.relative_position_bucket(torch.from_numpy(distances), num_buckets=32, max_distance=128)
    np.testing.assert_array_equal(bucket(distances, 32, 128), original.numpy())


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_in_the_middle_of_a_text_is_numbered_as_its_library_does(
    checkpoint: Checkpoint, tmp_path: Path, family: str
) -> None:
    """Who writes the padding token into a text gets its id there; RoBERTa and its kin skip it when they count places."""
    import torch
    from transformers import AutoModel

    folder = checkpoint(family, "cls")
    pad = json.loads((folder / "config.json").read_text())["pad_token_id"]
    ids = np.array([[101, 2051, pad, 2300, 2160, 102], [101, 2300, 102, pad, pad, pad]], dtype=np.int32)
    mask = np.array([[1] * 6, [1, 1, 1, 0, 0, 0]], dtype=np.int32)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        reference = model(torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long())[0][:, 0]
    encoder = resolve(folder, cache_dir=tmp_path, normalize=False).engine.load().encoder
    assert isinstance(encoder, OnnxEncoder)
    assert np.abs(encoder.forward(ids, mask) - reference.numpy()).max() <= 1e-5
