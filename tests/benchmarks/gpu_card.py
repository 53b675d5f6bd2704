"""The device: what it is, what its maker publishes, and what nvidia-smi says while it works."""

import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PUBLISHED: tuple[tuple[str, float, str], ...] = (
    (r"H100 NVL", 835, "NVIDIA's H100 data sheet: 1,671 with sparsity"),
    (r"H100 PCIe", 756, "NVIDIA's H100 data sheet: 1,513 with sparsity"),
    (r"H100.*HBM3|H100 SXM", 989, "NVIDIA's H100 data sheet: 1,979 with sparsity"),
    (r"H200 NVL", 835, "NVIDIA's H200 data sheet: 1,671 with sparsity"),
    (r"H200", 989, "NVIDIA's H200 data sheet: 1,979 with sparsity"),
    (r"A100", 312, "NVIDIA's A100 data sheet"),
    (r"L40S", 362, "NVIDIA's L40S data sheet"),
    (r"L4\b", 121, "NVIDIA's L4 data sheet: 242 with sparsity"),
    (r"A10\b", 125, "NVIDIA's A10 data sheet"),
)
"""How a card's name begins after the maker's -> TFLOP/s of dense products in bf16 and fp16, and the source. Where a sheet gives
only the rate with structured sparsity, the dense one is half of it."""

QUERIES = {
    "utilization.gpu": "utilisation, %",
    "clocks.sm": "clock of the multiprocessors, MHz",
    "power.draw": "power, W",
    "temperature.gpu": "temperature, °C",
    "memory.used": "memory in use, MiB",
}
INTERVAL = 200
"""Milliseconds between two samples."""


def published(name: str) -> tuple[float, str] | None:
    """The published TFLOP/s of dense bf16 products of a card with this name, and the source. A slice of a card has none."""
    if "MIG" in name:
        return None
    short = name.removeprefix("NVIDIA ")
    return next(((rate, source) for pattern, rate, source in PUBLISHED if re.match(pattern, short)), None)


def facts(device: str) -> dict[str, str]:
    """What the device is."""
    import torch

    if not device.startswith("cuda"):
        return {"device": device}
    card = torch.cuda.get_device_properties(torch.device(device))
    return {
        "device": card.name,
        "its memory": f"{card.total_memory / 2**30:.0f} GiB",
        "its multiprocessors": str(card.multi_processor_count),
        "compute capability": f"{card.major}.{card.minor}",
        "CUDA of torch": str(torch.version.cuda),
        "bf16 in hardware": str(torch.cuda.is_bf16_supported(including_emulation=False)),
    } | _asked(
        device, {"driver_version": "driver", "power.limit": "power limit, W", "clocks.max.sm": "highest clock, MHz"}
    )


@dataclass
class Samples:
    """What nvidia-smi said while something ran."""

    values: dict[str, list[float]] = field(default_factory=dict)
    """By what was asked for, see `QUERIES`; empty where there is no nvidia-smi."""

    def rows(self) -> list[tuple[str, str, str]]:
        """For a table: what, the median, the least and the most."""
        return [
            (QUERIES[name], f"{statistics.median(found):,.0f}", f"{min(found):,.0f} to {max(found):,.0f}")
            for name, found in self.values.items()
            if found
        ]


@contextmanager
def sampling(device: str) -> Iterator[Samples]:
    """Has nvidia-smi look at the device, for as long as the block runs; afterwards the samples are there."""
    samples = Samples()
    if not device.startswith("cuda"):
        yield samples
        return
    try:
        process = subprocess.Popen(
            [*_command(device, QUERIES), "-lms", str(INTERVAL)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )  # fmt: skip
    except OSError:
        yield samples
        return
    time.sleep(2 * INTERVAL / 1000)  # its start takes time of the processor
    try:
        yield samples
    finally:
        process.terminate()
        output, _ = process.communicate()
    lines = [line.split(",") for line in output.splitlines()]
    for place, name in enumerate(QUERIES):
        samples.values[name] = [value for line in lines if len(line) > place for value in _number(line[place])]


def _asked(device: str, queries: dict[str, str]) -> dict[str, str]:
    try:
        found = subprocess.run(_command(device, queries), capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {"nvidia-smi": "not to be had"}
    values = found.stdout.strip().split(",")
    return {label: value.strip() for label, value in zip(queries.values(), values, strict=False)}


def _command(device: str, queries: dict[str, str]) -> list[str]:
    import torch

    uuid = str(torch.cuda.get_device_properties(torch.device(device)).uuid)
    chosen = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    return ["nvidia-smi", f"--query-gpu={','.join(queries)}", "--format=csv,noheader,nounits", "-i", chosen]


def _number(text: str) -> list[float]:
    try:
        return [float(text)]
    except ValueError:  # "[N/A]", as of a virtual card
        return []
