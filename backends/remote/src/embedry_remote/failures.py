"""Classifies error responses: retry, send less, or report to the caller."""

import re
from typing import Any

import httpx2
import msgspec

from embedry import BackendError
from embedry_remote.settings import KEY, MODEL, URL, Settings
from embedry_remote.waiting import retry_after

_TRANSIENT = frozenset({408, 429, 502, 503, 504})
_TOO_LARGE = re.compile(r"too (many|large|long|big)|batch size|maximum|exceed", re.IGNORECASE)
"""How servers say in words that a request is too large: OpenAI, text-embeddings-inference, vLLM, llama.cpp."""
_MOST_SHOWN = 300
"""Characters of a server's message that are shown."""


class TryAgainError(BackendError):
    """A temporary failure of the server or network; `after` is the server's Retry-After in seconds, if any."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class RefusedError(BackendError):
    """The server rejects the request with a permanent status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class TooLargeError(RefusedError):
    """The server rejects the request because it is too large."""


def unreachable(url: str, error: httpx2.TransportError) -> TryAgainError:
    """The error for a request without a response."""
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return TryAgainError(f"{url} gives no answer ({reason}); is a server running there? {URL} has its address")


def refused(response: httpx2.Response, settings: Settings) -> BackendError:
    """The error for a response whose status is not 200."""
    status, said = response.status_code, _without_key(_message(response), settings.key)
    told = f"{response.url} answered {status} {response.reason_phrase}".rstrip() + (f": {said}" if said else "")
    if status in _TRANSIENT:
        return TryAgainError(told, retry_after(response.headers.get("retry-after")))
    if status == 413 or (status in (400, 422) and _TOO_LARGE.search(said)):
        return TooLargeError(told, status)
    advice = _advice(status, settings)
    return RefusedError(f"{told}; {advice}" if advice else told, status)


def _advice(status: int, settings: Settings) -> str:
    if status in (401, 403):
        return f"the key in {KEY} is not accepted there" if settings.key else f"set {KEY} to a key of that server"
    if status == 404:
        return f"see whether {URL} is right, and set {MODEL} if the model has another name there"
    if 300 <= status < 400:
        return f"redirects are not followed; set {URL} to the final address"
    return ""


def _message(response: httpx2.Response) -> str:
    """The server's error message, in any of the common formats."""
    try:
        said: Any = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return " ".join(response.text.split())
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    return said if isinstance(said, str) else msgspec.json.encode(said).decode()


def _without_key(said: str, key: str | None) -> str:
    shown = said.replace(key, "***") if key else said  # some servers repeat the rejected key
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
