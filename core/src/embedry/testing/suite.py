"""The kit as a test class: subclass it, define one fixture, run pytest."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from embedry.testing.running import CHECKS, run
from embedry.testing.subject import NotApplicable, Subject, Violation


class Conformance:
    """Subclass it and define the fixture `subject`; every check in `CHECKS` becomes a test.

    List checks that an embedder is known to fail in `deviations`: check -> reason. Such a check must fail; if it passes, the
    suite fails, so the list stays up to date. Checks cannot be overridden.
    """

    deviations: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    def subject(self) -> Subject:
        """The model to check."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture `subject` that returns embedry.testing.Subject(...)"
        )

    @pytest.mark.parametrize("check", CHECKS)
    def test_promise(self, subject: Subject, check: str) -> None:
        """Runs one check on the subject."""
        reason = self.deviations.get(check)
        try:
            run(check, subject)
        except NotApplicable as answer:
            pytest.skip(str(answer))
        except Violation:
            if reason is None:
                raise
            pytest.xfail(reason)
        if reason is not None:
            pytest.fail(f"{check} is listed in deviations ({reason}) but passes now; remove it there", pytrace=False)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.test_promise is not Conformance.test_promise:
            raise TypeError(
                f"{cls.__name__} overrides test_promise; list checks that it is known to fail in `deviations`, with the reason"
            )
        unknown = sorted(set(cls.deviations) - set(CHECKS))
        if unknown:
            raise TypeError(f"{cls.__name__}.deviations names checks that do not exist: {', '.join(unknown)}")
