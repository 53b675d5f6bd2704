"""Errors of clusters, and unwrapping of errors from Ray."""

import re
from textwrap import shorten

from ray.exceptions import RayError, RayTaskError

from embedry import EmbedryError
from embedry_bulk import BulkError

_MOST = 200
"""Characters of what Ray says. It goes on with advice."""


class ClusterError(BulkError, RuntimeError):
    """A cluster cannot be reached, has no room, or does not start actors."""


class ActorError(BulkError, RuntimeError):
    """An actor ended or was killed before it returned a result."""


def behind(error: BaseException, where: str) -> BaseException:
    """The original error of an actor's method; an ActorError for the end of the actor and other failures of Ray.

    Args:
        error: the error from Ray, with the original one as its cause or as text.
        where: the name of the actor, for the message.
    """
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, RayError):
        return ActorError(_said(re.sub(r"\x1b\[\d+m", "", str(cause)), where))
    if not isinstance(cause, EmbedryError):
        cause.__cause__ = error  # which has the lines of our code where it happened
    return cause


def _said(text: str, where: str) -> str:
    missing = re.search(r"No module named '\w+'", text)
    if missing:
        return f"{where} does not start: {missing[0]}; install embedry-ray and the model's backend on every machine of the cluster"
    reason = text.partition("The actor is dead because ")[2] or text
    return f"{where} ended: {shorten(reason, _MOST, placeholder=' ...')}"
