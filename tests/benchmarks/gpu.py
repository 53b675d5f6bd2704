"""embedry on a GPU: whether it is right, how fast it is, and where the time goes: `make bench-gpu`.

    python tests/benchmarks/gpu.py                          everything, in 8 minutes at most, on the first CUDA device
    python tests/benchmarks/gpu.py --minutes 5              what 5 minutes suffice for; the rest is left out by name
    python tests/benchmarks/gpu.py --output DIR             where the report is written
    python tests/benchmarks/gpu.py --only kit               only the sections with this in their name
    python tests/benchmarks/gpu.py --device cpu --quick     all of it with a tiny model on the CPU, to check that it runs

The report is written anew after every section. A failed check, wrong vectors or a section that breaks off is reported by its name
and makes the exit status 1, and the rest goes on. docs/benchmarks.md describes what is measured.
"""

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gpu_card
import gpu_files
import gpu_kit
import gpu_speed
import gpu_stages
import gpu_vectors
import machine
import report as tables
from contenders import MODEL
from gpu_contenders import Processes
from gpu_report import Found, Report, timed
from gpu_speed import Setting

OUTPUT = Path(__file__).parents[2] / "build" / "bench-gpu"

GRACE = 30.0
"""Seconds before the end in which no section is begun, and what has begun may end."""

PACKAGES = ("torch", "transformers", "sentence-transformers", "tokenizers", "numpy", "embedry-transformers")


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    name: str
    work: Callable[[], Found]
    seconds: float
    """After which it is broken off."""


def main() -> int:
    """Measures and writes the report; the exit status."""
    parser = argparse.ArgumentParser(description="embedry on a GPU: its vectors, its speed, and where the time goes")
    parser.add_argument("--device", default="cuda", help='"cuda", "cuda:1" and so on, or "cpu" to try the program')
    parser.add_argument("--quick", action="store_true", help="a tiny model and few texts; its numbers mean nothing")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="of the whole run; what they do not suffice for is left out"
    )
    parser.add_argument("--only", default="", help="a part of the names of the sections to run")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder for the report")
    arguments = parser.parse_args()
    start = time.monotonic()
    end = start + 60 * arguments.minutes - GRACE
    check_device(arguments.device)

    report = Report(arguments.output, introduction(arguments.device, arguments.quick))
    print("preparing the model and the texts", file=sys.stderr, flush=True)
    setting = prepared(arguments.device, arguments.quick)
    with Processes() as running:
        for section in sections(setting, report, running, lambda: end - time.monotonic()):
            if arguments.only in section.name:
                run(section, report, running, end - time.monotonic())
    return report.finish(time.monotonic() - start)


def check_device(name: str) -> None:
    """Ends the program, before anything is done, unless torch finds the device."""
    import torch

    if name == "cpu":
        return
    number = int(name.partition(":")[2] or 0)
    if torch.cuda.is_available() and number < torch.cuda.device_count():
        return
    built = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
    sys.exit(
        f"torch {torch.__version__} {built} and finds no device {name!r} here. Run this on a machine with an NVIDIA card, its "
        "driver and a torch for CUDA, which `make bench-gpu` installs; or try the program itself on the CPU: --device cpu --quick"
    )


def prepared(device: str, quick: bool) -> Setting:
    """The model, the texts and the precisions."""
    files = gpu_files.prepare(gpu_files.TINY if quick else gpu_files.BASE)
    return Setting(device, precisions(device), files, gpu_files.texts_of(files, quick), quick)


def precisions(device: str) -> tuple[str, ...]:
    """Those that the device computes in; the first is the one to measure most."""
    import torch

    if device == "cpu":
        return "bf16", "fp32"
    return ("bf16", "fp16", "fp32") if torch.cuda.is_bf16_supported(including_emulation=False) else ("fp16", "fp32")


def introduction(device: str, quick: bool) -> str:
    """The head of the report: what it was measured on."""
    facts = machine.facts(0, "gpu.py") | {"cores": str(os.cpu_count())}
    rows = (gpu_card.facts(device) | facts | machine.versions(PACKAGES)).items()
    note = "\n\nThis is the quick form with a tiny model: it shows that everything runs, and its speeds mean nothing." if quick else ""  # fmt: skip
    return f"# embedry on {gpu_card.facts(device)['device']}{note}\n\n{tables.table(('', ''), rows)}"


def sections(setting: Setting, report: Report, running: Processes, left: Callable[[], float]) -> Iterator[Section]:
    """In the order of what is wanted most."""
    first, *others = setting.precisions
    yield Section("What is measured", lambda: Found(_described(setting)), 10)
    for which in (setting.files.size.name, MODEL):
        if which == MODEL and setting.files.minilm is None:
            report.leave_out(f"The vectors of {which}", setting.files.why_not)
            continue
        compare = partial(gpu_vectors.compared, setting, setting.precisions, which, running)
        yield Section(f"The vectors of {which}", compare, 120)
    for load in ("paragraphs", "documents"):
        yield Section(f"Speed: {load}, {first}", partial(gpu_speed.throughput, setting, load, first, running), 120)
    yield Section("Where the time goes", partial(gpu_stages.where, setting, "paragraphs", first, running), 60)
    yield Section("The device's idle time", partial(gpu_stages.idle, setting, first, running), 60)
    yield Section("One query at a time", partial(gpu_speed.one_query, setting, first, running), 60)
    yield Section("Memory of the device", partial(gpu_speed.memory, setting, first, running), 60)
    yield Section("With and without padding", partial(gpu_vectors.packed, setting, first, running), 60)
    running.end()
    yield Section("The conformance kit", partial(gpu_kit.conformance, setting, report.log, left), 1e9)
    yield Section(
        "The vectors of every family", partial(gpu_vectors.families, setting, setting.precisions, running), 120
    )
    for precision in others:
        if setting.quick:
            report.leave_out(f"Speed: paragraphs, {precision}", "the quick form measures one precision")
            continue
        running.end()
        speed = partial(gpu_speed.throughput, setting, "paragraphs", precision, running)
        yield Section(f"Speed: paragraphs, {precision}", speed, 60)


def _described(setting: Setting) -> str:
    texts = "\n".join(f"- {name}: {load.described}" for name, load in setting.loads.items())
    return (
        f"{gpu_files.described(setting.files)}\n\n{texts}\n\nEvery contender runs in a process of its own, and they alternate, round "
        "by round. Speeds and ratios are medians, with the least and the greatest. Tokens are real ones, without padding."
    )


def run(section: Section, report: Report, running: Processes, left: float) -> None:
    """One section. Whatever it raises, or that it takes too long, is reported, and the processes start anew."""
    if left <= 0:
        report.leave_out(section.name, "no time was left for it; give it more with --minutes")
        return
    print(f"{section.name} ...", file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        with limited(min(section.seconds, left + GRACE)):
            found, seconds = timed(section.work)
    except (Exception, SystemExit) as error:  # a process that died ends in the latter
        traceback.print_exc()
        running.end(broken=True)
        text = f"**Broken off**: {type(error).__name__}: {error}"
        report.add(section.name, Found(text, None, [f"{type(error).__name__}: {error}"]), time.monotonic() - start)
    else:
        report.add(section.name, found, seconds)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError within the block after so many seconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"it took longer than {seconds:.0f} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main())
