"""Finishing vectors in the one right order, and grouping texts into batches."""

import random
from itertools import pairwise

import numpy as np
import pytest

from embedry import BackendError
from embedry.vectors import batches, finish, padded


def test_vectors_are_shortened_first_and_brought_to_unit_length_then() -> None:
    pooled = np.float32([[3, 4, 12, 0], [0.6, -0.8, 5, 7]])
    finished = finish(pooled, rows=2, full_dims=4, dims=2, normalize=True)
    assert finished.dtype == np.float32
    np.testing.assert_allclose(finished, [[0.6, 0.8], [0.6, -0.8]], rtol=1e-6)


def test_without_normalising_they_are_only_shortened() -> None:
    pooled = np.float32([[3, 4, 12, 0], [0, 0, 5, 7]])
    np.testing.assert_array_equal(finish(pooled, rows=2, full_dims=4, dims=3, normalize=False), [[3, 4, 12], [0, 0, 5]])


def test_a_vector_of_zeros_stays_one() -> None:
    pooled = np.float32([[0, 0, 9], [1, 0, 0]])
    np.testing.assert_array_equal(finish(pooled, rows=2, full_dims=3, dims=2, normalize=True), [[0, 0], [1, 0]])


def test_normalising_is_that_of_torch() -> None:
    import torch

    scales = np.float32(10.0) ** np.arange(-18, 18, 2, dtype=np.float32)[:, np.newaxis]
    pooled = scales * np.random.default_rng(0).standard_normal((18, 384)).astype(np.float32)
    expected = torch.nn.functional.normalize(torch.from_numpy(pooled), dim=1).numpy()
    np.testing.assert_allclose(
        finish(pooled, rows=18, full_dims=384, dims=384, normalize=True), expected, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_an_error_even_where_it_would_be_cut_off(bad: float) -> None:
    pooled = np.ones((3, 4), dtype=np.float32)
    pooled[1, 3] = bad
    with pytest.raises(BackendError, match="not finite for 1 of 3 texts"):
        finish(pooled, rows=3, full_dims=4, dims=2, normalize=True)


def test_every_text_is_in_one_batch_within_the_budget_and_texts_of_like_length_are_together() -> None:
    chance = random.Random(0)
    for _ in range(300):
        lengths = [chance.randint(1, chance.choice([4, 512])) for _ in range(chance.randint(0, 200))]
        budget = chance.choice([1, 100, 512, 4096])
        groups = [[lengths[place] for place in batch] for batch in batches(lengths, budget)]
        assert sorted(place for batch in batches(lengths, budget) for place in batch) == list(range(len(lengths)))
        assert all(len(group) == 1 or len(group) * max(group) <= budget for group in groups)
        assert [length for group in groups for length in group] == sorted(lengths, reverse=True)
        for group, following in pairwise(groups):
            assert (len(group) + 1) * max(group) > budget, f"{following} could have begun in the batch before"


def test_rows_are_padded_on_the_right_and_masked_there() -> None:
    ids, mask = padded([np.int32([5, 6, 7]), np.int32([8]), np.int32([9, 0])], pad_id=1)
    assert ids.dtype == mask.dtype == np.int32
    assert ids.tolist() == [[5, 6, 7], [8, 1, 1], [9, 0, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize("workers", [2, 3, 16])
def test_batches_are_shared_by_the_workers_and_end_small(workers: int) -> None:
    lengths = [50] * 400
    sizes = [len(batch) * 50 for batch in batches(lengths, 512, workers)]
    assert sum(sizes) == 20_000
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= 512
    assert sizes[-1] <= 128
    few = [len(batch) for batch in batches([50] * 20, 512, workers)]
    assert len(few) >= min(workers, 8)
    assert max(few) <= max(20 // workers, 2)


@pytest.mark.parametrize("workers", [1, 2, 16])
def test_what_fits_into_one_batch_is_one(workers: int) -> None:
    assert [len(batch) for batch in batches([10, 20, 32, 5], 128, workers)] == [4]
