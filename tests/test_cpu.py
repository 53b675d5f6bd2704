"""Threads follow what the process may really use: its affinity mask and the quota of its container."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from embedry import _cpu, resolve

Quota = Callable[..., float | None]


@pytest.fixture
def quota(tmp_path: Path) -> Quota:
    """The quota of a process whose membership is these lines, under a root with these files."""

    def read(membership: str, files: dict[str, str]) -> float | None:
        (tmp_path / "membership").write_text(membership)
        for file, content in files.items():
            (tmp_path / "root" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "root" / file).write_text(content)
        return _cpu.cgroup_quota(tmp_path / "membership", tmp_path / "root")

    return read


def v1(folder: str, quota: str, period: str = "100000\n") -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"a/b/cpu.max": "max 100000\n"}, None),
        ({"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ({"a/b/cpu.max": "100000 50000\n", "a/cpu.max": "max 100000\n"}, 2.0),
        ({"cpu.max": "300000 100000\n"}, 3.0),
        ({"a/b/cpu.max": "nonsense\n"}, None),
        ({}, None),
        ({"other/cpu.max": "100000 100000\n"}, None),
    ],
)
def test_the_tightest_limit_of_version_2_holds(quota: Quota, files: dict[str, str], expected: float | None) -> None:
    assert quota("0::/a/b\n", files) == expected


@pytest.mark.parametrize("controllers", ["cpu,cpuacct", "cpuacct,cpu", "cpu"])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (v1("a/b", "250000\n"), 2.5),
        (v1("a/b", "-1\n"), None),
        (v1("a/b", "-1\n") | v1("a", "100000\n", "50000\n"), 2.0),
        (v1("a/b", "600000\n") | v1("", "300000\n"), 3.0),
        (v1("", "300000\n"), 3.0),
        ({"a/b/cpu.cfs_quota_us": "100000\n"}, None),
    ],
)
def test_the_tightest_limit_of_version_1_holds(
    quota: Quota, controllers: str, files: dict[str, str], expected: float | None
) -> None:
    membership = f"12:memory:/elsewhere\n4:{controllers}:/a/b\n1:name=systemd:/a\n"
    assert quota(membership, {f"{controllers}/{file}": content for file, content in files.items()}) == expected


def test_where_both_versions_are_mounted_the_tighter_holds(quota: Quota) -> None:
    files = {"a/cpu.max": "200000 100000\n"} | v1("cpu,cpuacct/a", "100000\n")
    assert quota("4:cpu,cpuacct:/a\n0::/a\n", files) == 1.0


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert _cpu.cgroup_quota(tmp_path / "missing", tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (0.5, 1), (1.9, 1), (2.0, 2), (64.0, 8)])
def test_threads_are_the_whole_processors_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(_cpu, "cgroup_quota", lambda membership, root: quota)
    assert _cpu.available() == expected
    assert resolve("minilm").config.threads == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_a_process_that_is_pinned_to_one_processor_computes_with_one_thread(
    fresh: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import embedry
print(embedry.resolve("minilm").config.threads, embedry.resolve("minilm").info["threads"])
"""
    assert fresh(code).stdout == "1 1\n"


@pytest.mark.parametrize("name", ["flags\t\t", "Features\t"])
def test_features_are_those_of_the_first_processor_in_one_order(tmp_path: Path, name: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{name}: sse avx2 avx\n\nprocessor\t: 1\n{name}: sse\n")
    assert _cpu.features(cpuinfo) == ("avx", "avx2", "sse")


def test_where_no_features_are_listed_there_are_none(tmp_path: Path) -> None:
    assert _cpu.features(tmp_path / "missing") == ()
    (tmp_path / "cpuinfo").write_text("processor : 0\n")
    assert _cpu.features(tmp_path / "cpuinfo") == ()
