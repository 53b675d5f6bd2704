"""The server's address and key, and the model's name on it, read from the environment and validated."""

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from embedry import OptionError

URL = "EMBEDRY_REMOTE_URL"
KEY = "EMBEDRY_REMOTE_KEY"
MODEL = "EMBEDRY_REMOTE_MODEL"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the connection."""

    api: str
    """The base of OpenAI's routes, such as "http://127.0.0.1:8080/v1"."""
    key: str | None = field(repr=False)
    model: str | None
    """The model's name at the server; None for the name of its entry."""

    @property
    def root(self) -> str:
        """The base URL of an embedry server's other routes, such as "http://127.0.0.1:8080"."""
        return self.api.removesuffix("/v1")


def from_environment() -> Settings:
    """Reads the settings from the environment.

    Raises:
        OptionError: there is no address, or a variable is invalid. Messages never contain the key.
    """
    return Settings(api=_api(), key=_key(), model=os.environ.get(MODEL, "").strip() or None)


def _api() -> str:
    url = os.environ.get(URL, "").strip().rstrip("/")
    if not url:
        raise OptionError(
            f"the backend 'remote' needs the address of a server: set {URL}, to http://127.0.0.1:8080 for example; "
            "embedry serve MODEL starts one there"
        )
    if any(sign in url for sign in "@?#"):  # not shown: it may be a password
        raise OptionError(f"{URL} must have no user, password, query or fragment; a key goes into {KEY}")
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise OptionError(f"{URL} must be an address like http://127.0.0.1:8080 or https://example.com/v1, got {url!r}")
    return url if parts.path else f"{url}/v1"


def _key() -> str | None:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:  # the HTTP library would show it in its error
        raise OptionError(
            f"{KEY} must be printable ASCII without spaces, which a header can hold; it is not shown here"
        )
    return key or None
