"""A description of the machine."""

import os
import platform
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("numpy", "onnxruntime", "torch", "transformers", "tokenizers")


def facts(threads: int, program: str) -> dict[str, str]:
    """The processor, memory and system, the command of a program of this folder, and the version of Python."""
    return {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}; every contender computes with {threads} threads",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": _system(),
        "command": " ".join([f"python tests/benchmarks/{program}", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "Python": platform.python_version(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of packages of this environment."""
    return {name: version(name) for name in packages}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {platform.machine()}"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform(terse=True)
