"""Identifies the server and finds the model on it."""

import msgspec

from embedry import BackendError, SpaceError
from embedry.errors import some
from embedry_remote.connection import Connection
from embedry_remote.failures import RefusedError
from embedry_remote.settings import MODEL, URL

_NO_LIST = (403, 404, 405, 501)
"""What servers answer that do not list their models, or not to everybody."""


class Served(msgspec.Struct):
    """A model listed by `/v1/models`; embedry's server adds all fields except the name."""

    id: str
    owned_by: str = ""
    root: str | None = None
    dims: int | None = None
    space: str | None = None
    """The fingerprint of its vector space."""

    @property
    def name(self) -> str:
        """The model's name, without the role that a listed id may end with."""
        return self.root or self.id

    @property
    def unprompted(self) -> str:
        """The id of the model without prompts."""
        return f"{self.name}-unprompted"


class _List(msgspec.Struct):
    data: list[Served]


class _Status(msgspec.Struct):
    version: str


def find(connection: Connection, name: str, dims: int) -> Served | None:
    """The model with this name on an embedry server; None for other servers.

    Raises:
        BackendError: the server cannot be reached, or is embedry's and does not have the model.
        SpaceError: the server's model has other dims.
    """
    api = connection.settings.api
    try:
        listed = msgspec.json.decode(connection.get(f"{api}/models").content, type=_List).data
    except RefusedError as error:
        if error.status in _NO_LIST:
            return None
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    ours = [each for each in listed if each.owned_by == "embedry"]
    if not ours:
        return None
    served = next((each for each in ours if name in (each.root, each.id)), None)
    if served is None:
        names = list(dict.fromkeys(each.name for each in ours))
        raise BackendError(
            f"the server at {api} has no model {name!r}; it has {some(names, 10)}; start it with the model, or set {MODEL} "
            "to the name there"
        )
    if served.dims not in (None, dims):
        raise SpaceError(
            f"the model {served.name!r} at {api} has vectors of {served.dims} values, and {name!r} has {dims} here: it is "
            f"another model; see {URL} and {MODEL}"
        )
    return served


def version(connection: Connection) -> str | None:
    """The version of an embedry server; None if not stated."""
    try:
        return msgspec.json.decode(connection.get(f"{connection.settings.root}/status").content, type=_Status).version
    except (BackendError, msgspec.DecodeError, UnicodeDecodeError):
        return None
