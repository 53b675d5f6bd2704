"""Every family and pooling gives the vectors of its own implementation, from checkpoints in which every weight matters."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import agreement
import references
from agreement import CASES, POOLINGS, SHORT_FAMILIES, TEXTS, expected, furthest, longest
from embedry import resolve
from embedry_onnxruntime.session import OnnxEncoder

Checkpoint = Callable[..., Path]
Encode = Callable[..., agreement.Vectors]

SOME = TEXTS[::8]


@pytest.fixture
def first(checkpoint: Checkpoint) -> Callable[[str], Path]:
    """The checkpoint of a family with the first of its poolings: what its reference is computed from."""
    return lambda family: checkpoint(family, POOLINGS[family][0], max_seq_length=longest(family))


@pytest.mark.parametrize(("family", "pooling"), CASES)
def test_a_family_gives_the_vectors_of_its_reference_in_batches_and_alone(
    checkpoint: Checkpoint, first: Callable[[str], Path], vectors: Encode, family: str, pooling: str
) -> None:
    model = checkpoint(family, pooling, max_seq_length=longest(family))
    reference = agreement.poolings(first(family), tuple(TEXTS))[pooling]
    assert furthest(vectors(model, TEXTS), reference) <= 1e-5
    alone = np.concatenate([vectors(model, [text]) for text in TEXTS])
    assert furthest(alone, reference) <= 1e-5
    assert np.ptp(reference, axis=0).max() > 0.01, "the texts must be told apart, or this proves nothing"


@pytest.mark.parametrize(("family", "projections"), [("embeddinggemma", (192, 48)), ("t5", (64,)), ("t5-gated", (64,))])
def test_plain_projections_behind_the_pooling_give_the_vectors_of_sentence_transformers(
    checkpoint: Checkpoint, vectors: Encode, family: str, projections: tuple[int, ...]
) -> None:
    model = checkpoint(family, projections=projections, max_seq_length=longest(family))
    assert furthest(vectors(model, SOME), expected(model, SOME)) <= 1e-5


@pytest.mark.parametrize("family", [family for family in POOLINGS if family not in references.FAMILIES])
def test_every_weight_of_a_checkpoint_matters(first: Callable[[str], Path], family: str) -> None:
    """Otherwise two implementations could agree, and one of them not look at it."""
    model = agreement.implementation(first(family))[0].auto_model
    ids = {"input_ids": torch.tensor([[101, *range(2000, 2100), 102]])}
    with torch.inference_mode():
        before = model(**ids)[0]
        for name, weights in model.named_parameters():
            if name.startswith("pooler.") or re.search(r"\.(key|k|k_lin)\.bias$", name):
                continue  # the one is not read, the other adds the same to all scores of a query
            kept = weights.clone()
            weights += torch.randn_like(weights) * 0.1
            assert (model(**ids)[0] - before).abs().max() > 1e-4, name
            weights.copy_(kept)


def test_mpnets_buckets_of_distances_are_those_of_the_original_code() -> None:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    from embedry_graphs.relative import bucket

    distances = np.arange(1 - 512, 512)
    original = MPNetEncoder.relative_position_bucket(torch.from_numpy(distances), num_buckets=32, max_distance=128)
    np.testing.assert_array_equal(bucket(distances, 32, 128), original.numpy())


@pytest.mark.parametrize("family", SHORT_FAMILIES)
def test_padding_in_the_middle_of_a_text_is_numbered_as_its_library_does(
    checkpoint: Checkpoint, tmp_path: Path, family: str
) -> None:
    """Who writes the padding token into a text gets its id there; RoBERTa and its kin skip it when they count places."""
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
