"""Grouping texts into batches, and padding them."""

import random
from collections.abc import Iterator

import numpy as np
import pytest

from embedry._pipeline.batching import batches, padded


def test_every_text_is_in_one_batch_within_the_budget_and_texts_of_like_length_are_together() -> None:
    for lengths, budget in _chances():
        groups = [[lengths[place] for place in batch] for batch in batches(lengths, budget)]
        assert sorted(place for batch in batches(lengths, budget) for place in batch) == list(range(len(lengths)))
        assert all(len(group) == 1 or len(group) * max(group) <= budget for group in groups)
        assert [length for group in groups for length in group] == sorted(lengths, reverse=True)


def test_no_other_batches_would_be_cheaper_by_more_than_a_thousandth() -> None:
    for lengths, budget in _chances():
        groups = [[lengths[place] for place in batch] for batch in batches(lengths, budget)]
        cost = sum(len(group) * max(group) + budget // 32 for group in groups)
        least = _least_cost(sorted(lengths, reverse=True), budget)
        assert least <= cost <= 1.001 * least


def test_an_engine_that_packs_has_as_few_batches_as_its_budget_allows_and_of_about_the_same_size() -> None:
    for lengths, budget in _chances():
        groups = [[lengths[place] for place in batch] for batch in batches(lengths, budget, 2, packs=True)]
        assert [length for group in groups for length in group] == sorted(lengths, reverse=True)
        assert len(groups) <= -(-sum(lengths) // budget)
        assert all(sum(group[:-1]) < budget for group in groups)
        assert all(abs(sum(group) - sum(lengths) / len(groups)) <= max(lengths) for group in groups if budget >= 512)


def test_texts_without_tokens_are_in_no_batch() -> None:
    for packs in (False, True):
        assert [batch.tolist() for batch in batches([0, 3, 0, 2], 100, packs=packs)] == [[1, 3]]
        assert batches([0, 0], 100, packs=packs) == []


def _chances() -> Iterator[tuple[list[int], int]]:
    chance = random.Random(0)
    for _ in range(300):
        lengths = [chance.randint(1, chance.choice([4, 512])) for _ in range(chance.randint(0, 200))]
        yield lengths, chance.choice([1, 100, 512, 4096])


def _least_cost(lengths: list[int], budget: int) -> int:
    """Of all ways to cut the sorted lengths, every end tried."""
    costs = [0] * (len(lengths) + 1)
    for start in reversed(range(len(lengths))):
        most = max(1, budget // lengths[start])
        ends = range(start + 1, min(len(lengths), start + most) + 1)
        costs[start] = min(costs[end] + (end - start) * lengths[start] for end in ends) + budget // 32
    return costs[0]


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
def test_texts_of_like_length_that_fit_into_one_batch_are_one(workers: int) -> None:
    assert [len(batch) for batch in batches([12, 9, 15, 11], 512, workers)] == [4]
    assert [len(batch) for batch in batches([32] * 16, 512, workers)] == [16]


def test_short_texts_are_not_padded_to_a_long_one_where_a_batch_of_their_own_is_cheaper() -> None:
    assert [batch.tolist() for batch in batches([8, 100, 9, 7], 512)] == [[1], [2, 0, 3]]
