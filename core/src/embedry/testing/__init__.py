"""The conformance kit: checks that models of every kind must pass on every backend.

To run them in your own package, `pip install "embedry-core[testing]"` and add a test file:

    import pytest
    from embedry.testing import Conformance, Subject

    class TestMyBackend(Conformance):
        @pytest.fixture
        def subject(self):
            return Subject("all-MiniLM-L6-v2", backend="my-backend")

Each check is a function that takes a `Subject` (see `CHECKS`). `embedry check` runs the same checks without pytest.
"""

from typing import TYPE_CHECKING, Any

from embedry.testing import checks as checks
from embedry.testing.golden import Golden
from embedry.testing.running import CHECKS, Check, description, run
from embedry.testing.subject import NotApplicable, Subject, Violation

if TYPE_CHECKING:
    from embedry.testing.suite import Conformance

__all__ = ["CHECKS", "Check", "Conformance", "Golden", "NotApplicable", "Subject", "Violation", "description", "run"]


def __getattr__(name: str) -> Any:
    if name == "Conformance":  # the only name that needs pytest, which `embedry check` does not
        from embedry.testing.suite import Conformance

        return Conformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
