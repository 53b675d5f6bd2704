"""API keys of a server, compared in constant time and stored as digests."""

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers

from embedry import OptionError
from embedry_server.errors import ApiError

VARIABLE = "EMBEDRY_API_KEYS"
"""The environment variable with keys, separated by commas or white space."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Keys:
    """The API keys of a server; without keys, every client has access."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    @classmethod
    def found(cls, file: Path | None) -> "Keys":
        """The keys in a file, one per line, and in the environment. Raises OptionError if the file is empty or cannot be read."""
        keys = os.environ.get(VARIABLE, "").replace(",", " ").split()
        if file is not None:
            try:
                lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            except OSError as error:
                raise OptionError(f"the file of keys cannot be read: {error}") from error
            of_file = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            if not of_file:
                raise OptionError(f"the file of keys {str(file)!r} is empty; write one key per line")
            keys += of_file
        return cls(keys)

    def check(self, headers: Headers) -> None:
        """Raises ApiError, status 401, unless the request has a valid key."""
        if not self._digests:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = headers.get("x-api-key", "")
        digest = _digest(given.strip())
        # Compare all keys, so that the time reveals nothing.
        if sum([hmac.compare_digest(digest, known) for known in self._digests]) == 0:
            raise ApiError(
                401,
                "the request has no key that this server knows; send one as Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )


def check_address(host: str, keys: Keys, *, no_auth: bool) -> None:
    """Raises OptionError for a public address without keys."""
    if host not in _LOOPBACK and not keys and not no_auth:
        raise OptionError(
            f"--host {host} can be reached from other machines, and the server has no keys: every client could use it. Set "
            f"keys with --keys FILE or {VARIABLE}, or pass --no-auth if a proxy in front of it authenticates clients"
        )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
