"""Where the time of embedry goes: watched from outside while the backend runs unchanged, in one thread and then as it is."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any
from unittest.mock import patch

import gpu_card
import report
import torch
from contenders import OURS
from gpu_contenders import Processes
from gpu_report import Found
from gpu_speed import Setting, started
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from embedry_transformers import transfers

BLOCK = 2048
"""Texts that the pipeline reads at a time."""

READ, ARRAYS, TO, ISSUE, BACK, REST = STAGES = (
    "tokenizing, and planning batches",
    "arrays of ids and mask",
    "to the device",
    "the model's forward, until its kernels are issued",
    "waiting for the device, and back from it",
    "the rest",
)
"""What a thread does, one after the other."""

SAMPLED = 3.0
"""Seconds for which nvidia-smi looks."""

Interval = tuple[float, float]


@dataclass
class Watched:
    """One run."""

    wall: float = 0.0
    """Seconds of the whole run."""
    stages: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds by stage, those of all threads together."""
    forwards: list[Interval] = field(default_factory=list)
    """When the device computed the model, in seconds from the start by its own clock; on a CPU by the processor's."""
    batches: int = 0
    tokens: int = 0
    padded_tokens: int = 0


class Watch:
    """Measures what the threads of a loaded embedder do, for as long as a `with` block runs."""

    def __init__(self, embedder: Any) -> None:
        self._loaded = embedder.engine.load()
        self._reader = self._loaded.reader
        self._model = self._loaded.encoder._model
        self._on_gpu = self._model.device.type == "cuda"
        self._spans: list[tuple[str, float]] = []  # appended to by all threads
        self._marks: list[tuple[Any, Any]] = []
        self._local = threading.local()

    @contextmanager
    def run(self) -> Iterator[Watched]:
        """The run is filled in when the block ends."""
        found, scheduler = Watched(), self._loaded.scheduler
        before = scheduler.tokens, scheduler.padded_tokens
        self._spans, self._marks = [], []
        with ExitStack() as patches:
            for name, stage in (("read", READ), ("_padded", ARRAYS)):
                patches.enter_context(patch.object(self._reader, name, self._timed(stage, getattr(self._reader, name))))
            for name, stage in (("to_device", TO), ("to_host", BACK)):
                timed = self._timed(stage, getattr(transfers, name))
                patches.enter_context(patch.object(transfers, name, timed))
            for hook in (
                self._model.register_forward_pre_hook(self._before),
                self._model.register_forward_hook(self._after),
            ):
                patches.callback(hook.remove)
            base, start = self._mark(), time.perf_counter()
            yield found
            found.wall = time.perf_counter() - start
        for stage, seconds in self._spans:
            found.stages[stage] += seconds
        found.forwards = [(self._since(base, begun), self._since(base, ended)) for begun, ended in self._marks]
        found.batches = len(self._marks)
        found.tokens, found.padded_tokens = scheduler.tokens - before[0], scheduler.padded_tokens - before[1]

    def _timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*args, **options)
            finally:
                self._spans.append((stage, time.perf_counter() - start))

        return timed

    def _before(self, *_: Any) -> None:
        self._local.begun = time.perf_counter(), self._mark()

    def _after(self, *_: Any) -> None:
        start, begun = self._local.begun
        self._marks.append((begun, self._mark()))
        self._spans.append((ISSUE, time.perf_counter() - start))

    def _mark(self) -> Any:
        """A moment: on the device's own clock, in the order of what it was given."""
        if not self._on_gpu:
            return time.perf_counter()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._model.device))
        return event

    def _since(self, base: Any, moment: Any) -> float:
        """Seconds between two moments."""
        if not self._on_gpu:
            return float(moment - base)
        moment.synchronize()
        return float(base.elapsed_time(moment)) / 1000


def union(intervals: Iterable[Interval]) -> float:
    """How long at least one of the intervals lasts."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def in_turn(contender: Any, texts: list[str]) -> Watched:
    """The pipeline's steps one after the other, in this thread: the stages add up to the whole."""
    embedder = contender.embedder
    reader = embedder.engine.load().reader
    with Watch(embedder).run() as found:
        for start in range(0, len(texts), BLOCK):
            read = reader.read(
                texts[start : start + BLOCK], "document", embedder.config, step=lambda: None, count=False
            )
            for batch in read.batches:
                reader.forward([read.rows[place] for place in batch])
    found.stages[REST] = found.wall - sum(found.stages.values())
    return found


def as_it_is(contender: Any, texts: list[str]) -> Watched:
    """The same texts in one call, with the pipeline's threads."""
    with Watch(contender.embedder).run() as found:
        contender.encode_documents(texts)
    return found


def where(setting: Setting, load_name: str, precision: str, running: Processes) -> Found:
    """The stages of a load, and how long the device computed."""
    texts = setting.loads[load_name].texts
    ours = started(setting, precision, running)[OURS]
    turn, real = ours(in_turn, texts), ours(as_it_is, texts)
    thousands = len(texts) / 1000
    rows = [
        (
            stage,
            f"{turn.stages[stage] / thousands * 1000:,.1f}",
            f"{turn.stages[stage] / turn.wall:.1%}",
            f"{real.stages[stage] / thousands * 1000:,.1f}" if stage != REST else "",
        )
        for stage in STAGES
    ]
    for label, measure in (("the device computes the model", union), ("the whole", None)):
        both = [measure(run.forwards) if measure else run.wall for run in (turn, real)]
        share = f"{both[0] / turn.wall:.1%}"
        rows.append((label, f"{both[0] / thousands * 1000:,.1f}", share, f"{both[1] / thousands * 1000:,.1f}"))
    columns = ("", "one after the other, ms for 1,000 texts", "share", "as it is, ms for 1,000 texts")
    busy = union(real.forwards) / real.wall
    text = f"""{load_name.capitalize()}, in {precision}. Of *as it is* the stages of all threads are added up, which run at the same time. *The
device computes the model* is by {"CUDA events around" if setting.device.startswith("cuda") else "the clock before and after"} the model's \
forward, in which the device may also wait for kernels to be issued.

{report.table(columns, rows)}

As it is: {real.batches} batches of {real.tokens / max(1, real.batches):,.0f} tokens on average, {real.padded_tokens / max(1, real.tokens) - 1:.1%} \
more with padding up to each batch's longest; the model's forward was on the device for {busy:.1%} of the time."""
    return Found(text, {"one after the other": turn, "as it is": real, "device busy with the model": busy})


@dataclass
class Kernels:
    """What torch's profiler saw on the device during one call."""

    wall: float
    busy: float
    """Seconds in which anything ran there."""
    names: list[tuple[str, float, int]]
    """Of the longest kernels and copies: their names, seconds, and how often they ran."""


def kernels_of(contender: Any, texts: list[str]) -> Kernels:
    """Profiles one call."""
    device = ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU
    with profile(activities=[device]) as profiled:
        start = time.perf_counter()
        contender.encode_documents(texts)
        wall = time.perf_counter() - start
    seconds: dict[str, list[float]] = defaultdict(list)
    intervals: list[Interval] = []
    for event in profiled.events() or ():
        if event.device_type != DeviceType.CPU:
            intervals.append((event.time_range.start / 1e6, event.time_range.end / 1e6))
            seconds[event.name].append(event.time_range.elapsed_us() / 1e6)
    longest = sorted(seconds, key=lambda name: -sum(seconds[name]))[:12]
    return Kernels(wall, union(intervals), [(name, sum(seconds[name]), len(seconds[name])) for name in longest])


def repeat_for(contender: Any, texts: list[str], seconds: float) -> int:
    """Encodes the texts again and again; how often."""
    calls, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        contender.encode_documents(texts)
        calls += 1
    return calls


def idle(setting: Setting, precision: str, running: Processes) -> Found:
    """The share of the time in which nothing runs on the device, by torch's profiler and by nvidia-smi."""
    texts = setting.loads["paragraphs"].texts
    ours = started(setting, precision, running)[OURS]
    with gpu_card.sampling(setting.device) as samples:
        ours(repeat_for, texts, 0.1 if setting.quick else SAMPLED)
    kernels = ours(kernels_of, texts)
    if kernels.names:
        rows = [(_short(name), f"{total * 1000:,.1f}", f"{count:,}", f"{total / kernels.busy:.1%}") for name, total, count in kernels.names]  # fmt: skip
        profiled = (
            f"By torch's profiler the device was idle for {1 - kernels.busy / kernels.wall:.1%} of a call of {kernels.wall:.2f} s "
            "(the profiler itself slows a call down). What ran longest:\n\n"
            + report.table(("", "ms", "times", "share"), rows)
        )
    else:
        profiled = "torch's profiler saw nothing run on a device."
    sampled = samples.rows()
    smi = (
        f"nvidia-smi, meanwhile every {gpu_card.INTERVAL} ms (*utilisation* is the share of the time in which any kernel ran):\n\n"
        + report.table(("", "median", "least and most"), sampled)
        if sampled
        else "nvidia-smi gave no samples."
    )
    return Found(f"Paragraphs, in {precision}. {profiled}\n\n{smi}", {"profiler": kernels, "nvidia-smi": samples})


def _short(name: str) -> str:
    """A kernel's name, as a cell of a table."""
    return name.replace("|", "/")[:90]
