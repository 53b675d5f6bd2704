"""Errors of bulk jobs."""

from embedry import EmbedryError, OptionError

_MOST_CHARS = 500
"""Of a reason."""


class BulkError(EmbedryError):
    """The base of all errors of bulk jobs."""


class PlanError(BulkError, OptionError):
    """A job cannot be planned as it was asked for, or a folder holds the plan of another job."""


class InputError(BulkError, ValueError):
    """An input is missing or cannot be read."""


class ChangedInputError(InputError):
    """An input is not what it was when the job was planned."""


class OutputError(BulkError, OSError):
    """The job's folder cannot be read or written."""


class RejectedError(BulkError, RuntimeError):
    """More rows were rejected than the job allows."""


class IncompleteError(BulkError, RuntimeError):
    """The job ended and is not complete, or its results are not what was written."""


def in_a_line(error: BaseException) -> str:
    """What an error says, without line breaks, and without the whole of a large value that it shows."""
    text = " ".join(str(error).split())
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}..."
