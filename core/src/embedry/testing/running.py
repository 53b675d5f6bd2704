"""The table of all checks, and the function that runs one.

A check is a function that takes a `Subject` and raises `Violation` if it fails. The first line of its docstring describes
the check and is the start of its messages.
"""

from collections.abc import Callable

from embedry.testing.subject import NotApplicable, Subject, Violation

Check = Callable[[Subject], None]

CHECKS: dict[str, Check] = {}
"""Name -> check, in the order of execution."""


def check(function: Check) -> Check:
    """Adds a check to `CHECKS` under its name."""
    CHECKS[function.__name__] = function
    return function


def description(check: Check) -> str:
    """The first line of a check's docstring."""
    return (check.__doc__ or "").partition("\n")[0].rstrip(".")


def run(name: str, subject: Subject) -> None:
    """Runs one check.

    Raises:
        Violation: the check fails, because of a wrong result or an unexpected error.
        NotApplicable: the check does not apply to this subject.
    """
    function = CHECKS[name]
    try:
        function(subject)
    except (Violation, NotApplicable):
        raise
    except Exception as error:  # an embedder may fail in any way
        raise Violation(f"{description(function)}: {type(error).__name__}: {error}") from error
