"""The promises: what a check is, the table of all of them, and how one is run.

A check is a function that takes a `Subject` and raises `Violation` where the promise is broken. The first line of its
docstring is the promise, and the beginning of its message.
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
    """The promise that a check holds an embedder to."""
    return (check.__doc__ or "").partition("\n")[0].rstrip(".")


def run(name: str, subject: Subject) -> None:
    """Runs one check.

    Raises:
        Violation: the promise is broken, by a wrong answer or by an error where there should be none.
        NotApplicable: the check says nothing about this subject.
    """
    function = CHECKS[name]
    try:
        function(subject)
    except (Violation, NotApplicable):
        raise
    except Exception as error:  # an embedder may break a promise in any way
        raise Violation(f"{description(function)}: {type(error).__name__}: {error}") from error
