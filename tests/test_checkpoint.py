"""A weights file that is damaged is refused by its tensor's name; one that is merely unusual is not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from embedry import IntegrityError, _layouts
from embedry._files import sources, weights
from entries import contents, fill, registered

LARGEST = float(np.finfo(np.float16).max)


def written(folder: Path, name: str, tensor: NDArray[np.generic]) -> Path:
    """A weights file of one sound tensor and this one."""
    file = folder / "model.safetensors"
    save_file({"a.sound.weight": np.ones((2, 2), dtype=np.float32), name: np.asarray(tensor)}, file)
    return file


def holding(value: float, kind: type[np.floating] = np.float32) -> NDArray[np.generic]:
    """A matrix of small numbers with one of this value."""
    matrix = np.full((3, 4), 0.5, dtype=kind)
    matrix[1, 2] = value
    return matrix


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("value", "fault"),
    [(np.nan, "has values that are not finite"), (np.inf, "not finite"), (-np.inf, "not finite")],
)
def test_one_value_that_is_not_finite_is_refused_by_its_tensors_name(
    tmp_path: Path, kind: type[np.floating], value: float, fault: str
) -> None:
    file = written(tmp_path, "layer.3.weight", holding(value, kind))
    with pytest.raises(IntegrityError, match=rf"tensor 'layer\.3\.weight' of .*model\.safetensors .*{fault}"):
        weights.check(file)


@pytest.mark.parametrize("value", [LARGEST * 1.01, -LARGEST * 1.01, 3e38])
def test_a_value_beyond_half_precision_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(IntegrityError, match=r"tensor 'layer\.bias' .* beyond any that a trained model holds"):
        weights.check(written(tmp_path, "layer.bias", holding(value)[1]))


@pytest.mark.parametrize("value", [LARGEST, -LARGEST, 0.0])
def test_the_largest_half_precision_number_is_sound(tmp_path: Path, value: float) -> None:
    weights.check(written(tmp_path, "layer.weight", holding(value)))


def test_a_weight_of_zeros_is_refused_and_a_bias_of_zeros_is_not(tmp_path: Path) -> None:
    zeros = np.zeros((3, 4), dtype=np.float32)
    with pytest.raises(IntegrityError, match=r"tensor 'layer\.weight' .* is all zeros"):
        weights.check(written(tmp_path, "layer.weight", zeros))
    weights.check(written(tmp_path, "layer.bias", zeros))


@pytest.mark.parametrize("name", ["roberta.embeddings.token_type_embeddings.weight", "pooler.dense.weight"])
def test_zeros_that_good_checkpoints_hold_are_sound(tmp_path: Path, name: str) -> None:
    weights.check(written(tmp_path, name, np.zeros((1, 4), dtype=np.float32)))


@pytest.mark.parametrize(
    "tensor", [np.zeros((0, 4), dtype=np.float32), np.zeros(4, dtype=np.int64), np.zeros(4, dtype=np.bool_)]
)
def test_an_empty_tensor_and_integers_are_sound(tmp_path: Path, tensor: NDArray[np.generic]) -> None:
    weights.check(written(tmp_path, "embeddings.position.weight", tensor))


def test_bfloat16_is_read_by_whoever_can_and_the_other_tensors_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    brief = torch.ones(2, 2, dtype=torch.bfloat16)
    save_torch_file({"a.weight": brief}, file)
    weights.check(file)
    save_torch_file({"a.weight": brief, "b.weight": torch.full((2, 2), torch.nan)}, file)
    with pytest.raises(IntegrityError, match=r"tensor 'b\.weight' .* not finite"):
        weights.check(file)


@pytest.mark.parametrize("cut", [0, 4, 60, -1])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    file = written(tmp_path, "layer.weight", holding(1))
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(IntegrityError, match=r"model\.safetensors cannot be read as safetensors, it is damaged or cut"):
        weights.check(file)


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"gone\.safetensors cannot be read"):
        weights.check(tmp_path / "gone.safetensors")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read for their soundness, in order."""
    files: list[Path] = []
    check = weights.check

    def counting(path: Path) -> None:
        files.append(path)
        check(path)

    monkeypatch.setattr(weights, "check", counting)
    return files


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a tiny checkpoint."""
    return fill(tmp_path / "model", contents(request.getfixturevalue("checkpoint")("bert")))


def test_weights_without_a_digest_are_checked_once_and_again_when_they_change(
    model: Path, tmp_path: Path, checked: list[Path]
) -> None:
    spec = _layouts.from_folder(model)
    for _ in range(3):
        sources.ensure_local(spec, tmp_path / "cache")
    assert checked == [model / "model.safetensors"]
    written(model, "layer.weight", holding(np.nan))
    for _ in range(2):  # that a file is damaged is not remembered
        with pytest.raises(IntegrityError, match=r"layer\.weight"):
            sources.ensure_local(spec, tmp_path / "cache")
    assert len(checked) == 3


def test_a_file_whose_digest_is_right_is_not_read_for_soundness(
    model: Path, tmp_path: Path, checked: list[Path]
) -> None:
    written(model, "layer.weight", holding(np.nan))
    sources.ensure_local(registered(model), tmp_path / "cache")
    assert checked == []


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("encoder.layer.0.output.dense.weight", True),
        ("embeddings.word_embeddings.weight", True),
        ("pooler.dense.weight", False),
        ("embeddings.position_ids", False),
        ("lm_head.bias", False),
        ("cls.predictions.bias", False),
    ],
)
def test_only_the_heads_of_pretraining_are_left_unread(name: str, read: bool) -> None:
    assert weights.is_read(name) is read
