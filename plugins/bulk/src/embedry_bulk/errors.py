"""Errors of bulk jobs."""

from embedry import EmbedryError, OptionError


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
