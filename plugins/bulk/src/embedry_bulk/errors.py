"""Errors of bulk jobs."""

from embedry import EmbedryError, OptionError

_MOST_CHARS = 500
"""Of a reason."""


class BulkError(EmbedryError):
    """The base of all errors of bulk jobs."""


class PlanError(BulkError, OptionError):
    """A job cannot be planned with these settings, or the folder contains the plan of another job."""


class InputError(BulkError, ValueError):
    """An input is missing or cannot be read."""


class ChangedInputError(InputError):
    """An input has changed since the job was planned."""


class OutputError(BulkError, OSError):
    """The job's folder cannot be read or written."""


class RejectedError(BulkError, RuntimeError):
    """More rows were rejected than the job allows."""


class IncompleteError(BulkError, RuntimeError):
    """The job ended but is not complete, or its results do not match what was written."""


def in_a_line(error: BaseException) -> str:
    """The message of an error on one line, with large values shortened."""
    text = " ".join(str(error).split())
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}..."
