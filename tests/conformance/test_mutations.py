"""The kit sees what it is there to see: each rule broken, in a copy of a backend or of the pipeline, fails its check."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import ModelSpec, Transformer, engine, options
from embedry._files import consistency, model_config
from embedry._pipeline import finishing, scheduler, tokenizer
from embedry.modules import Chain, Truncate
from embedry.testing import CHECKS, Conformance, Subject, Violation, description, run

MUTANTS = {
    "swaps_pooling": "golden_vectors",
    "drops_the_prompt": "roles",
    "returns_float64": "shape_and_dtype",
    "shuffles_order": "order",
    "truncates_early": "length",
    "leaks_padding": "alone_and_together",
    "loads_twice": "loaded_once",
    "drops_a_module": "library",
}

Checkpoints = Callable[..., Path]


def fails(check: str, subject: Subject) -> str:
    with pytest.raises(Violation) as caught:
        run(check, subject)
    assert str(caught.value).startswith(description(CHECKS[check])), "the message begins with what the check is about"
    return str(caught.value)


@pytest.mark.parametrize(("mutant", "check"), MUTANTS.items())
def test_a_backend_with_one_rule_broken_fails_its_check(
    mutant: str, check: str, mutants: None, minilm_folder: Path, checkpoint: Checkpoints
) -> None:
    model = "all-MiniLM-L6-v2"
    if mutant == "drops_the_prompt":
        model = str(checkpoint("bert", prompts={"query": "query: ", "document": "passage: "}))
    if mutant == "drops_a_module":
        model = str(checkpoint("bert", dense=48))
    run(check, Subject(model))
    fails(check, Subject(model, backend=mutant))


def test_forgetting_to_renormalize_fails_its_check(monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoints) -> None:
    model = str(checkpoint("bert"))
    real = finishing.finish

    def normalized_before_it_is_shortened(
        pooled: NDArray[np.float32], tail: Chain, **options: Any
    ) -> NDArray[np.float32]:
        return real(pooled, tuple(sorted(tail, key=lambda module: isinstance(module, Truncate))), **options)

    run("shorter_vectors", Subject(model))
    monkeypatch.setattr(finishing, "finish", normalized_before_it_is_shortened)
    fails("shorter_vectors", Subject(model))


def test_files_that_are_not_compared_fail_their_check(monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoints) -> None:
    def anything_goes(spec: ModelSpec, folder: Path, **options: Any) -> Any:
        return model_config.read(folder, "config.json")

    model = str(checkpoint("bert"))
    run("contradictions", Subject(model))
    monkeypatch.setattr(consistency, "check", anything_goes)
    fails("contradictions", Subject(model))


def test_a_tokenizer_that_is_taken_as_it_stands_fails_its_check(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoints
) -> None:
    class AsItStands(tokenizer.Tokenizer):
        def __init__(self, file: Path, reading: Transformer) -> None:
            super().__init__(file)

    model = str(checkpoint("bert"))
    run("reading", Subject(model))
    monkeypatch.setattr(tokenizer, "Tokenizer", AsItStands)
    fails("reading", Subject(model, threads=1))


def one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads a model for each length."""
    real = options.Config.engine.fget
    assert real is not None
    monkeypatch.setattr(
        options.Config, "engine", property(lambda self: replace(real(self), threads=1000 + self.max_seq_length))
    )


def unloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps what was unloaded."""
    kept: list[object] = []
    monkeypatch.setattr(
        engine.Engine, "unload", lambda self: kept.append(self._loaded) or setattr(self, "_loaded", None)
    )


def takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computes one request after the other."""

    def following(self: Any) -> list[scheduler.Batch]:
        group = [self._waiting[0].todo.popleft()]
        self._waiting = [request for request in self._waiting if request.todo]
        return group

    monkeypatch.setattr(scheduler.Scheduler, "_following", following)


def cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes on with what nobody waits for."""
    monkeypatch.setattr(scheduler.Request, "cancel", lambda self: None)


@pytest.mark.parametrize("broken", [one_engine, unloads, takes_turns, cancels], ids=lambda broken: broken.__name__)
def test_a_process_that_breaks_a_promise_fails_its_check(
    broken: Callable[[pytest.MonkeyPatch], None], checkpoint: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(str(checkpoint("bert")), threads=2)
    run(broken.__name__, subject)
    monkeypatch.setattr("embedry.testing.watched._PATIENCE", 2.0)
    broken(monkeypatch)
    fails(broken.__name__, subject)


def test_a_known_deviation_must_fail_and_is_reported_when_it_passes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from embedry.testing import Conformance, Subject

        class TestIt(Conformance):
            deviations = {"no_texts": "a reason that is gone"}

            @pytest.fixture
            def subject(self):
                return Subject("all-MiniLM-L6-v2")
        """
    )
    result = pytester.runpytest_subprocess("-k", "no_texts")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*listed in deviations (a reason that is gone) but passes now*"])


def test_a_check_cannot_be_overridden() -> None:
    with pytest.raises(TypeError, match="deviations"):
        type("TestSly", (Conformance,), {"test_promise": lambda self: None})
    with pytest.raises(TypeError, match="no_such_check"):
        type("TestTypo", (Conformance,), {"deviations": {"no_such_check": "a reason"}})
