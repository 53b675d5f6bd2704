"""The outer layer for every request: ids, API keys, errors in the format of its API, logging and metrics."""

import re
import secrets
import traceback
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedry_server import answers, logs, telemetry
from embedry_server.errors import ApiError, ClientGoneError
from embedry_server.keys import Keys
from embedry_server.observing import Metrics, Observed
from embedry_server.operations import Operation
from embedry_server.readiness import Readiness

_IDENTITY = re.compile(r"[\w.:-]{1,128}", re.ASCII)
"""What is taken over of a client's own x-request-id."""


class Envelope:
    """The outermost ASGI application.

    Args:
        app: the routes.
        operation_of: the operation of a method and a path, or None.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        metrics: Metrics,
        readiness: Readiness,
        operation_of: Callable[[str, str], Operation | None],
    ) -> None:
        self._app = app
        self._keys = keys
        self._metrics = metrics
        self._readiness = readiness
        self._operation_of = operation_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"this application answers HTTP, got {scope['type']}")
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        observed = scope["embedry"] = Observed(given if _IDENTITY.fullmatch(given) else secrets.token_hex(8))
        operation = self._operation_of(scope["method"], scope["path"])
        observed.route = operation.path if operation else ""  # labels must not contain client input
        scope["app"] = self  # Starlette's router raises for unknown routes instead of answering in its own format

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                observed.status = message["status"]
                found = MutableHeaders(scope=message)
                found["x-request-id"] = observed.identity
                if self._readiness.is_draining:
                    found["connection"] = "close"
            await send(message)

        with telemetry.span(observed, scope["method"], headers):
            try:
                if operation is None or not operation.is_open:
                    self._keys.check(headers)
                await self._app(scope, receive, sending)
            except ClientGoneError:
                observed.status = 499  # nginx's status for a closed connection; the client does not read a response
            except Exception as error:
                api_error = _as_api_error(error)
                observed.failed(api_error)
                content = api_error.tei() if operation and operation.is_tei else api_error.openai()
                await answers.as_json(content, api_error.status, api_error.headers)(scope, receive, sending)
        self._metrics.add(observed)
        if operation is not None and operation.is_open and observed.status < 400:
            return  # probes arrive every few seconds; logging them adds noise
        client = scope.get("client")
        logs.request(observed, scope["method"], client[0] if client else "")


def _as_api_error(error: Exception) -> ApiError:
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, error.detail, headers=dict(error.headers or {}))
    if isinstance(error, ApiError):
        if error.status == 500:
            _log(error)
        return error
    _log(error)
    return ApiError(500, "the server failed; its log says where", code="internal_error")


def _log(error: BaseException) -> None:
    """Logs where an error and its causes happened. Their messages may quote a text and are omitted."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        lines += [f"{type(cause).__name__}:", *(line.rstrip() for line in traceback.format_tb(cause.__traceback__))]
        cause = cause.__cause__
    logs.logger.error("a request failed\n%s", "\n".join(lines))
