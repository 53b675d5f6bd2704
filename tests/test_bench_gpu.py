"""The benchmark on a GPU runs from end to end on the CPU, counts rightly, and goes on after whatever fails."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).with_name("benchmarks")))  # last, so that its programs hide no module

import gpu
import gpu_card
import gpu_files
import gpu_kit
import gpu_stages
import gpu_vectors
from gpu_contenders import Processes
from gpu_report import LOG, RAW, REPORT, Found, Report
from gpu_speed import Setting

PROGRAM = Path(__file__).with_name("benchmarks") / "gpu.py"

MEASURED = [
    "What is measured",
    "The vectors of a tiny encoder",
    "The vectors of all-MiniLM-L6-v2",
    "Speed: paragraphs, bf16",
    "Speed: documents, bf16",
    "Where the time goes",
    "The device's idle time",
    "One query at a time",
    "Memory of the device",
    "With and without padding",
    "The conformance kit",
    "The vectors of every family",
]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """An empty one."""
    return Report(tmp_path / "report", "# A run")


def written(report: Report) -> tuple[str, dict[str, Any]]:
    """The report and the raw numbers as they are on the disk."""
    return (report.folder / REPORT).read_text(), json.loads((report.folder / RAW).read_text())


def test_only_what_its_environment_installs_is_imported() -> None:
    """`make bench-gpu` installs no engine for processors."""
    absent = [
        "embedry_graphs",
        "embedry_onnxruntime",
        "embedry_openvino",
        "embedry_static",
        "onnx",
        "onnxruntime",
        "openvino",
    ]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); sys.path.insert(0, {str(PROGRAM.parent)!r}); import gpu"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr


def test_the_quick_form_measures_everything_on_the_cpu(tmp_path: Path, minilm_folder: Path) -> None:
    program = [sys.executable, str(PROGRAM), "--device", "cpu", "--quick", "--output", str(tmp_path)]
    # For models so small torch's threads would spend their time waiting for each other.
    result = subprocess.run(
        program, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=500, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    raw = json.loads((tmp_path / RAW).read_text())
    assert raw["failures"] == []
    assert raw["left out"] == ["Speed: paragraphs, fp32: the quick form measures one precision"]
    assert list(raw["sections"]) == MEASURED
    found = {name: section["found"] for name, section in raw["sections"].items()}

    vectors = found["The vectors of all-MiniLM-L6-v2"]
    assert [row["precision"] for row in vectors] == ["bf16"] * 5 + ["fp32"] * 5
    assert 0 < max(row["agreement"]["largest"] for row in vectors if row["precision"] == "fp32") <= 1e-5
    assert 1e-4 < min(row["agreement"]["largest"] for row in vectors if row["wanted"] == "fp32 on the CPU" and row["precision"] == "bf16") <= 1e-2  # fmt: skip

    stages = found["Where the time goes"]["one after the other"]
    assert sum(stages["stages"].values()) == pytest.approx(stages["wall"])
    assert sum(end - start for start, end in stages["forwards"]) == pytest.approx(
        stages["stages"][gpu_stages.ISSUE], rel=0.1
    )
    assert stages["batches"] > 3

    verdicts = found["The conformance kit"]
    assert {row["verdict"] for row in verdicts} == {"passed", "not applicable"}
    assert sum(row["verdict"] == "passed" for row in verdicts) > 60
    assert len((tmp_path / LOG).read_text().splitlines()) == len(verdicts)

    page = (tmp_path / REPORT).read_text()
    assert [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")] == MEASURED
    assert "Packing was not active in bf16 on cpu." in page


def test_without_a_device_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path / "report")])
    with pytest.raises(SystemExit, match=r"finds no device 'cuda' here.*--device cpu --quick"):
        gpu.main()
    assert not (tmp_path / "report").exists()


def test_a_section_that_fails_hangs_or_finds_no_time_is_named_and_the_others_go_on(report: Report) -> None:
    def wrong() -> Found:
        raise ValueError("a device-side assert")

    sections = [
        (wrong, 10.0, 10.0),
        (lambda: sys.exit("the process of embedry ended with exit code -6"), 10.0, 10.0),
        (lambda: time.sleep(5), 0.1, 10.0),
        (lambda: Found("a table", {"value": np.float32(1.5)}, ["wrong vectors"]), 10.0, 10.0),
        (lambda: Found("another table"), 10.0, -1.0),
    ]
    with Processes() as running:
        for number, (work, seconds, left) in enumerate(sections):
            gpu.run(gpu.Section(f"section {number}", work, seconds), report, running, left)  # type: ignore[arg-type]
            page, raw = written(report)
            assert "This run has not ended" in page
            assert len(raw["sections"]) == min(number + 1, 4)
    assert report.finish(12) == 1
    page, raw = written(report)
    assert raw["failures"] == [
        "section 0: ValueError: a device-side assert",
        "section 1: SystemExit: the process of embedry ended with exit code -6",
        "section 2: TimeoutError: it took longer than 0 seconds",
        "section 3: wrong vectors",
    ]
    assert raw["sections"]["section 3"]["found"] == {"value": 1.5}
    assert raw["left out"] == ["section 4: no time was left for it; give it more with --minutes"]
    assert all(each in page for each in [*raw["failures"], *raw["left out"], "a table", "took 12 seconds"])


def test_a_run_in_which_nothing_fails_ends_with_0(report: Report) -> None:
    report.add("a section", Found("a table"), 1.0)
    report.leave_out("another section", "there was no time")
    assert report.finish(1) == 0


def test_a_models_products_are_those_that_torch_counts() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertConfig, BertModel

    size = gpu_files.Size("", layers=3, hidden=64, inner=96, heads=4)
    config = BertConfig(
        hidden_size=size.hidden, intermediate_size=size.inner, num_hidden_layers=size.layers, num_attention_heads=size.heads
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval()
    model.set_attn_implementation("eager")  # whose products are counted one by one
    total = 0
    for length in (7, 40):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(input_ids=torch.ones(1, length, dtype=torch.long))
        total += counter.get_total_flops()
    assert size.flops([7, 40]) == total


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [([], 0), ([(1, 3)], 2), ([(5, 6), (1, 3)], 3), ([(1, 4), (2, 3), (3, 5)], 4), ([(1, 2), (1, 2)], 1)],
)
def test_the_time_in_which_anything_ran_counts_once(intervals: list[tuple[float, float]], expected: float) -> None:
    assert gpu_stages.union(intervals) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40", None),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_a_published_rate_is_known_by_the_cards_name(name: str, expected: float | None) -> None:
    found = gpu_card.published(name)
    assert (found[0] if found else None) == expected


@pytest.mark.parametrize("change", ["nothing", "rounded", "other order", "NaN", "other shape"])
def test_wrong_vectors_are_a_failure_with_their_name(change: str) -> None:
    right = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    changes: dict[str, Callable[[], Any]] = {
        "nothing": lambda: right.copy(),
        "rounded": lambda: right + np.float32(1e-6),
        "other order": lambda: right[::-1],
        "NaN": lambda: np.where(right == right[0, 0], np.nan, right),
        "other shape": lambda: right[:3],
    }
    row = gpu_vectors._compared("a model", "fp32", "embedry, transformers", changes[change](), "fp32", right, 1e-5)
    (failure,) = row.failure() or [""]
    assert failure.startswith("a model, fp32: embedry, transformers against fp32: ") != (
        change in ("nothing", "rounded")
    )


class Scripted:
    """A child of the kit that passes what it is asked, except that it hangs at some checks, or fails them."""

    hangs: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    started = 0

    def __init__(self, todo: list[gpu_kit.Job]) -> None:
        self._todo = list(todo)
        type(self).started += 1

    def answer(self, patience: float) -> gpu_kit.Verdict | None:
        job = self._todo.pop(0)
        if job.check in self.hangs:
            return None
        verdict = "failed" if job.check in self.fails else "passed"
        return gpu_kit.Verdict(job.number, job.check, verdict, 0.1, "a reason" if verdict == "failed" else "")

    def end(self) -> str:
        return "it did not end in time"

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def setting(device: str) -> Setting:
    """Of a run that measures one precision."""
    files: Any = SimpleNamespace(minilm=None, model="a folder")
    return Setting(device, ("bf16",), files, {}, quick=False)


@pytest.mark.parametrize(("device", "known"), [("cuda", True), ("cpu", False)])
def test_a_check_that_hangs_fails_and_the_rest_is_run(
    monkeypatch: pytest.MonkeyPatch, device: str, known: bool
) -> None:
    class Child(Scripted):
        hangs, fails = ("order", "survives_fork"), ("golden_vectors",)

    monkeypatch.setattr(gpu_kit, "Child", Child)
    lines: list[str] = []
    found = gpu_kit.conformance(setting(device), lines.append, lambda: 100.0)
    of_each = {(row["number"], row["check"]): row["verdict"] for row in found.data}
    assert len(of_each) == len(found.data) == len(lines) == len(gpu_kit.jobs([{}, {}], quick=False))
    wrong = {key for key, verdict in of_each.items() if verdict != "passed"}
    assert wrong == {(0, "order"), (1, "order"), (0, "golden_vectors"), (1, "golden_vectors"), (0, "survives_fork")}
    assert of_each[0, "survives_fork"] == ("known deviation" if known else "failed")
    assert len(found.failures) == (4 if known else 5)
    assert f"transformers, bf16, {device}: order: it did not end in time" in found.failures
    assert Child.started == 1 + 2  # after each that hung, the last one apart


def test_checks_for_which_no_time_is_left_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_kit, "Child", Scripted)
    seconds = iter([9.0] * 8)
    found = gpu_kit.conformance(setting("cuda"), print, lambda: next(seconds, -1.0))
    assert {row["verdict"] for row in found.data} == {"passed", "not run"}
    assert found.failures == []
    assert "`survives_fork` not run: no time was left" in found.text


def test_a_model_that_does_not_load_is_one_failure_and_a_process_that_dies_another(tmp_path: Path) -> None:
    options = {"model": str(tmp_path / "nothing"), "backend": "transformers", "device": "cpu", "precision": "fp32"}
    todo = [gpu_kit.Job(0, options, check) for check in (gpu_kit.LOADS, "order", "finite")]
    first, second, third = gpu_kit.judged(todo, lambda: 100.0)
    assert (first.check, first.verdict) == (gpu_kit.LOADS, "failed")
    assert "nothing" in first.why
    assert [each.verdict for each in (second, third)] == ["not run", "not run"]
    (died,) = gpu_kit.judged([gpu_kit.Job(0, {"device": "cpu", "unknown": "option"}, "order")], lambda: 100.0)
    assert (died.verdict, died.why) == ("failed", "its process ended with exit code 1")
