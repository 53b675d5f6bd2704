"""The conformance kit on a device, in a process of its own that is watched: a check that hangs or kills it fails, and the rest goes on.

python tests/benchmarks/gpu_kit.py JOBS     (a JSON list: a number, the options of a `Subject`, the name of a check)
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import report
from contenders import MODEL
from gpu_files import Files
from gpu_report import Found
from gpu_speed import Setting

PATIENCE = 60.0
"""Seconds that a check may take, the loading of a model included."""

LOADS = "loads"
"""The first thing that is asked of a subject; where it fails nothing else is."""

ONCE = ("lazy", "lasts", "survives_fork")
"""Checks that start processes, which takes long with torch, and say the same in each precision. The last is the one that may hang."""

DEVIATIONS = {
    "survives_fork": "a child forked after CUDA was initialized cannot use it: "
    "https://docs.pytorch.org/docs/stable/notes/multiprocessing.html"
}
"""What is known not to hold on CUDA, with the reason."""


class Job(NamedTuple):
    """A check of a subject."""

    number: int
    """Of the subject."""
    options: dict[str, str]
    check: str


class Verdict(NamedTuple):
    """How a check ended."""

    number: int
    check: str
    verdict: str
    """"passed", "failed", "not applicable", "known deviation" or "not run"."""
    seconds: float
    why: str


def subjects(setting: Setting, files: Files) -> list[dict[str, str]]:
    """What is checked: each precision on the transformers backend, then the first on the sentence-transformers backend."""
    model = MODEL if files.minilm and not setting.quick else str(files.model)
    pairs = [("transformers", precision) for precision in setting.precisions]
    pairs.append(("sentence-transformers", setting.precisions[0]))
    return [
        {"model": model, "backend": backend, "device": setting.device, "precision": precision}
        for backend, precision in pairs
    ]


def jobs(of: Sequence[dict[str, str]], quick: bool) -> list[Job]:
    """All checks of all subjects; those of `ONCE` of the first alone and after everything else, in the quick form only one of them."""
    from embedry.testing import CHECKS

    several = [check for check in CHECKS if check not in ONCE]
    found = [Job(number, options, check) for number, options in enumerate(of) for check in [LOADS, *several]]
    return found + [Job(0, of[0], check) for check in (ONCE[:1] if quick else ONCE)]


def conformance(setting: Setting, log: Callable[[str], None], left: Callable[[], float]) -> Found:
    """Runs the kit until it is done or no seconds are left."""
    of = subjects(setting, setting.files)
    verdicts: list[Verdict] = []
    for each in judged(jobs(of, setting.quick), left):
        verdicts.append(each)
        options = of[each.number]
        log(
            f"{options['backend']} {options['precision']} {each.check}: {each.verdict} in {each.seconds:.1f} s {each.why}"
        )
    failures = [f"{_label(of[each.number])}: {each.check}: {each.why}" for each in verdicts if each.verdict == "failed"]
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in verdicts:
        counts[each.number][each.verdict] += 1
    kinds = ("passed", "failed", "known deviation", "not applicable", "not run")
    rows = [(_label(of[number]), *(str(counts[number][kind]) for kind in kinds)) for number in counts]
    lines = [
        f"- {_label(of[each.number])}: `{each.check}` {each.verdict}: {each.why}"
        for each in verdicts
        if each.verdict in ("failed", "known deviation", "not run")
    ]
    name = "the model with random weights" if of[0]["model"] != MODEL else MODEL
    parts = [f"On {name}:", report.table(("", *kinds), rows), "\n".join(lines)]
    return Found("\n\n".join(filter(None, parts)), [each._asdict() for each in verdicts], failures)


def _label(options: dict[str, str]) -> str:
    return f"{options['backend']}, {options['precision']}, {options['device']}"


def judged(todo: Sequence[Job], left: Callable[[], float]) -> Iterator[Verdict]:
    """The verdict of each job, in order. A process that ends or hangs costs the job that it was at, and another does the others."""
    waiting = list(todo)
    while waiting and left() > 0:
        with Child(waiting) as child:
            while waiting and left() > 0:
                job, start = waiting[0], time.monotonic()
                answer = child.answer(min(PATIENCE, max(0.0, left())))
                seconds = time.monotonic() - start
                if answer is None and left() <= 0:
                    break
                waiting.pop(0)
                yield _known(job, answer or Verdict(job.number, job.check, "failed", seconds, child.end()))
                if answer is None:
                    break
    for job in waiting:
        yield Verdict(job.number, job.check, "not run", 0.0, "no time was left")


def _known(job: Job, verdict: Verdict) -> Verdict:
    on_cuda = job.options.get("device", "").startswith("cuda")
    if verdict.verdict == "failed" and on_cuda and job.check in DEVIATIONS:
        return verdict._replace(verdict="known deviation", why=f"{DEVIATIONS[job.check]} ({verdict.why})")
    return verdict


class Child:
    """The process that runs checks. It writes a line of JSON after each."""

    def __init__(self, todo: Sequence[Job]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )  # fmt: skip
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(todo))
        self._process.stdin.close()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("["):  # libraries may print as well
                self._lines.put(line)
        self._lines.put("")
        self._process.stdout.close()

    def answer(self, patience: float) -> Verdict | None:
        """The next verdict; None if the process ended before it, or if it does not come in so many seconds."""
        try:
            line = self._lines.get(timeout=patience)
        except queue.Empty:
            return None
        return Verdict(*json.loads(line)) if line else None

    def end(self) -> str:
        """Ends the process and those it started; how it was found."""
        try:
            code = self._process.wait(1)  # a process whose output has ended may still be ending
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return "it did not end in time"
        return f"its process ended with exit code {code}"

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()


def main() -> None:
    """Runs the jobs that come by standard input."""
    loaded: dict[int, Any] = {}
    for job in (Job(*each) for each in json.load(sys.stdin)):
        start = time.monotonic()
        verdict, why = _ran(job, loaded)
        line = json.dumps([job.number, job.check, verdict, time.monotonic() - start, why])
        sys.__stdout__.write(line + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        if verdict == "failed":
            _leave_if_broken()


def _ran(job: Job, loaded: dict[int, Any]) -> tuple[str, str]:
    from embedry.testing import CHECKS, NotApplicable, Subject, Violation, description, run

    subject = loaded.setdefault(job.number, Subject(**job.options))  # type: ignore[arg-type]
    if loaded[job.number] is None:
        return "not run", "it does not load"
    if job.check == LOADS:
        try:
            subject.embedder.load()
        except Exception as error:
            loaded[job.number] = None
            return "failed", f"{type(error).__name__}: {error}"
        return "passed", ""
    try:
        run(job.check, subject)
    except NotApplicable as answer:
        return "not applicable", str(answer)
    except Violation as violation:
        return "failed", str(violation).removeprefix(description(CHECKS[job.check])).lstrip(": ")
    return "passed", ""


def _leave_if_broken() -> None:
    """After some errors CUDA computes nothing more in this process: another must do the rest."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
