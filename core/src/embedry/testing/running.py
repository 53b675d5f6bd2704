"""What a check is, the table of all checks, and how one is run.

A check is a function that takes a `Subject` and raises `Violation` if it fails. The first line of its docstring says
what is checked, and begins its message.
"""

from collections.abc import Callable

from embedry.testing.subject import NotApplicable, Subject, Violation

Check = Callable[[Subject], None]

CHECKS: dict[str, Check] = {}
"""Name -> check, in the order in which they are run."""


def check(function: Check) -> Check:
    """Adds a check to `CHECKS` under its name."""
    CHECKS[function.__name__] = function
    return function


def description(check: Check) -> str:
    """What a check is about."""
    return (check.__doc__ or "").partition("\n")[0].rstrip(".")


def run(name: str, subject: Subject) -> None:
    """Runs one check.

    Raises:
        Violation: the check fails, by a wrong answer or by an error where there should be none.
        NotApplicable: the check says nothing about this subject.
    """
    function = CHECKS[name]
    try:
        function(subject)
    except (Violation, NotApplicable):
        raise
    except Exception as error:  # an embedder may fail in any way
        raise Violation(f"{description(function)}: {type(error).__name__}: {error}") from error
