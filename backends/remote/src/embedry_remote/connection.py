"""Requests to a server, with keep-alive connections and retries."""

import weakref
from time import monotonic, sleep
from typing import Any

import httpx2
import msgspec

from embedry import BackendError, __version__
from embedry_remote import waiting
from embedry_remote.failures import TryAgainError, refused, unreachable
from embedry_remote.settings import Settings

TRIES = 6
"""How often a request is sent at most."""
PATIENCE = 120.0
"""Seconds after the first try in which others may begin."""
CONNECT_SECONDS = 10.0
"""The most that opening a connection may take."""
ANSWER_SECONDS = 120.0
"""The most that a server may be silent: it may have to wait for its other clients."""


class Connection:
    """A thread-safe connection pool for the configured server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        headers = {"User-Agent": f"embedry-remote/{__version__}", "Content-Type": "application/json"}
        if settings.key is not None:
            headers["Authorization"] = f"Bearer {settings.key}"
        self._client = httpx2.Client(headers=headers, timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS))
        weakref.finalize(self, self._client.close).atexit = False  # exit handlers may still embed

    def get(self, url: str) -> httpx2.Response:
        """Like `post`, without a body."""
        return self._ask("GET", url, None)

    def post(self, url: str, body: dict[str, Any]) -> httpx2.Response:
        """Returns a response with status 200. Retries temporary failures.

        Raises:
            TooLargeError: the server rejects the request as too large.
            RefusedError: the server rejects the request for another reason.
            BackendError: the server did not answer, or only asked to retry, for `TRIES` tries or `PATIENCE` seconds.
        """
        return self._ask("POST", url, msgspec.json.encode(body))

    def _ask(self, method: str, url: str, body: bytes | None) -> httpx2.Response:
        begun, attempt = monotonic(), 0
        while True:
            attempt += 1
            try:
                return self._asked(method, url, body)
            except TryAgainError as error:
                seconds = waiting.seconds_before(attempt + 1, error.after)
                if attempt == TRIES or monotonic() - begun + seconds > PATIENCE:
                    asks = f"; it asks to wait {error.after:,.0f} seconds" if error.after else ""
                    tries = "1 try" if attempt == 1 else f"{attempt} tries"
                    raise BackendError(f"{error}{asks}; given up after {tries}") from error.__cause__
            sleep(seconds)

    def _asked(self, method: str, url: str, body: bytes | None) -> httpx2.Response:
        try:
            response = self._client.request(method, url, content=body)
        except httpx2.TransportError as error:
            raise unreachable(url, error) from error
        except httpx2.DecodingError as error:
            raise BackendError(f"{url} sent a body that cannot be decompressed: {error}") from error
        if response.status_code != 200:
            raise refused(response, self.settings)
        return response
