"""`embedry check`: the checks as a table, and an exit code that a script can read."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from command_line import run
from embedry.testing import CHECKS, description

Checkpoints = Callable[..., Path]


def test_a_sound_model_passes_every_check(checkpoint: Checkpoints) -> None:
    result = run("check", str(checkpoint("bert")))
    assert result.code == 0, result.out + result.err
    flowing = " ".join(result.out.split())
    assert all(description(check) in flowing for check in CHECKS.values())
    assert (
        f"{len(CHECKS) - 6} passed, 0 failed, 6 not applicable" in flowing
    )  # it has no golden vectors and is of one kind


def test_json_has_every_check_with_its_verdict(checkpoint: Checkpoints, mutants: None) -> None:
    folder = str(checkpoint("bert"))
    result = run("check", folder, "--backend", "returns_float64", "--json")
    found = json.loads(result.out)
    assert result.code == 1
    assert (found["kind"], [each["check"] for each in found["checks"]]) == ("dense", list(CHECKS))
    verdicts = [each["verdict"] for each in found["checks"]]
    assert found["counts"] == {name: verdicts.count(name) for name in ("passed", "failed", "not applicable")}
    assert found["counts"]["failed"] > 0
    (failed,) = (each for each in found["checks"] if each["check"] == "shape_and_dtype")
    assert (failed["verdict"], "returned float64" in failed["reason"]) == ("failed", True)


def test_a_failed_check_is_shown_with_what_was_found(checkpoint: Checkpoints, mutants: None) -> None:
    result = run("check", str(checkpoint("bert")), "--backend", "returns_float64")
    assert result.code == 1
    assert "returned float64" in " ".join(result.out.split())


def test_a_model_that_cannot_be_loaded_is_one_error() -> None:
    result = run("check", "no-such-model")
    assert result.code == 2
    assert "no model is called 'no-such-model'" in result.err
    assert result.out == ""


def test_the_checks_need_no_pytest(fresh: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    found = fresh("import sys; sys.modules['pytest'] = None\nfrom embedry.testing import CHECKS; print(len(CHECKS))")
    assert int(found.stdout) == len(CHECKS)
