"""The conformance kit: what every model must do, whatever it gives, as checks that anybody can run.

In a test file of your own package, with `pip install "embedry-core[testing]"`:

    import pytest
    from embedry.testing import Conformance, Subject

    class TestMyBackend(Conformance):
        @pytest.fixture
        def subject(self):
            return Subject("all-MiniLM-L6-v2", backend="my-backend")

Every check is a plain function of a `Subject` (see `CHECKS`), so `embedry check` runs the same ones without pytest.
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
    if name == "Conformance":  # the one name that needs pytest, which `embedry check` does without
        from embedry.testing.suite import Conformance

        return Conformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
