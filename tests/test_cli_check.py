"""`embedry check`: the promises as a table, and an exit code that a script can read."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from command_line import run
from embedry.testing import CHECKS, description

Checkpoints = Callable[..., Path]


def test_a_sound_model_keeps_every_promise(checkpoint: Checkpoints) -> None:
    result = run("check", str(checkpoint("bert")))
    assert result.code == 0, result.out + result.err
    flowing = " ".join(result.out.split())
    assert all(description(check) in flowing for check in CHECKS.values())
    assert f"{len(CHECKS) - 1} kept, 0 broken, 1 not asked" in flowing  # it has no golden vectors


def test_a_broken_promise_is_shown_with_what_was_found_and_fails(checkpoint: Checkpoints, mutants: None) -> None:
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
