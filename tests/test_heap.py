"""Freed memory is given back now and then, where the C library keeps it; elsewhere nothing is done."""

import sys

import pytest

from embedry._pipeline import heap


def test_after_so_much_work_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed, calls = heap.HeapTrimmer(), []
    monkeypatch.setattr(trimmed, "_trim", calls.append)
    for _ in range(7):
        trimmed(heap._SECONDS / 4)
    assert calls == [0]
    trimmed(heap._SECONDS / 4)
    assert calls == [0, 0]


def test_a_c_library_that_does_so_by_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    trimmed = heap.HeapTrimmer()
    trimmed(heap._SECONDS)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is found on Linux")
def test_memory_that_is_kept_in_holes_comes_back() -> None:
    """Small blocks, for large ones the C library returns at once; the last one keeps the heap from shrinking by itself."""

    def held() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1])

    trimmed = heap.HeapTrimmer()
    if trimmed._trim is None:
        pytest.skip("another C library")
    blocks = [bytes(100_000) for _ in range(1000)]
    last = bytes(100_000)
    before = held()
    blocks.clear()
    trimmed(heap._SECONDS)
    assert before - held() > 50_000_000 // 4096
    assert last
