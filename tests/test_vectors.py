"""Finishing vectors: the tail of a chain, in its order."""

import numpy as np
import pytest

from embedry import BackendError
from embedry._pipeline.finishing import finish
from embedry.modules import LayerNorm, Normalize, Truncate


def test_vectors_are_shortened_first_and_brought_to_unit_length_then() -> None:
    pooled = np.float32([[3, 4, 12, 0], [0.6, -0.8, 5, 7]])
    finished = finish(pooled, rows=2, tail=(Truncate(dims=2), Normalize()), width=4)
    assert finished.dtype == np.float32
    np.testing.assert_allclose(finished, [[0.6, 0.8], [0.6, -0.8]], rtol=1e-6)


def test_without_normalizing_they_are_only_shortened() -> None:
    pooled = np.float32([[3, 4, 12, 0], [0, 0, 5, 7]])
    np.testing.assert_array_equal(finish(pooled, rows=2, tail=(Truncate(dims=3),), width=4), [[3, 4, 12], [0, 0, 5]])


def test_a_vector_of_zeros_stays_one() -> None:
    pooled = np.float32([[0, 0, 9], [1, 0, 0]])
    np.testing.assert_array_equal(
        finish(pooled, rows=2, tail=(Truncate(dims=2), Normalize()), width=3), [[0, 0], [1, 0]]
    )


def test_normalizing_is_that_of_torch() -> None:
    import torch

    scales = np.float32(10.0) ** np.arange(-18, 18, 2, dtype=np.float32)[:, np.newaxis]
    pooled = scales * np.random.default_rng(0).standard_normal((18, 384)).astype(np.float32)
    expected = torch.nn.functional.normalize(torch.from_numpy(pooled), dim=1).numpy()
    np.testing.assert_allclose(finish(pooled, rows=18, tail=(Normalize(),), width=384), expected, rtol=1e-5, atol=1e-7)


def test_a_layer_norm_is_that_of_torch_and_runs_where_it_stands() -> None:
    import torch

    pooled = np.random.default_rng(0).standard_normal((5, 48)).astype(np.float32) * 3
    norm = torch.nn.functional.layer_norm(torch.from_numpy(pooled), (48,))
    expected = torch.nn.functional.normalize(norm[:, :16], dim=1).numpy()
    finished = finish(pooled, rows=5, tail=(LayerNorm(), Truncate(dims=16), Normalize()), width=48)
    assert finished.dtype == np.float32
    np.testing.assert_allclose(finished, expected, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_an_error_even_where_it_would_be_cut_off(bad: float) -> None:
    pooled = np.ones((3, 4), dtype=np.float32)
    pooled[1, 3] = bad
    with pytest.raises(BackendError, match="not finite for 1 of 3 texts"):
        finish(pooled, rows=3, tail=(Truncate(dims=2), Normalize()), width=4)
