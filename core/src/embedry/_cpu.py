"""The number of processors available to this process, and their instruction sets."""

import os
from pathlib import Path


def available() -> int:
    """Processors allowed by the affinity mask and by the container's quota, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return max(1, min(count, int(quota) if quota is not None else count))


def features(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """The instruction sets of the first processor, sorted; none where the system does not list them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ()
    # "flags" on x86, "Features" on ARM.
    named = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return tuple(sorted(next(named, "").split()))


def cgroup_quota(membership: Path, root: Path) -> float | None:
    """Processors granted by the control group, or None without a limit.

    Version 2 writes `quota period` to cpu.max; version 1 has a file for each, with -1 for none
    (kernel documentation, admin-guide/cgroup-v2 and cgroup-v1). The tightest limit of the group and those above it holds.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            continue
        group = (root / controllers if controllers else root) / path.lstrip("/")
        # Inside a container the path of the membership is the host's; the group then stands at the root.
        limits += [_limit(folder) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
