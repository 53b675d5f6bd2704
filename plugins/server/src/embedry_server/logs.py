"""Logs one line per request to standard error, as text or JSON. Lines never contain texts or keys."""

import json
import logging
import sys
from datetime import UTC, datetime

from embedry_server.observing import Observed
from embedry_server.settings import LogFormat

logger = logging.getLogger("embedry.server")


def configure(form: LogFormat, *, requests: bool) -> None:
    """Sends the server's log lines, and warnings of its dependencies, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Plain())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # invalid requests are already logged
    _requests.setLevel(logging.INFO if requests else logging.WARNING)


_requests = logging.getLogger("embedry.server.requests")


def request(observed: Observed, method: str, client: str) -> None:
    """Logs an answered request."""
    if _requests.isEnabledFor(logging.INFO):
        facts = {
            "id": observed.identity,
            "client": client,
            "method": method,
            "route": observed.route or "(unknown)",
            "status": observed.status,
            "ms": observed.milliseconds,
            "model": observed.model,
            "role": observed.role,
            "inputs": observed.inputs,
            "tokens": observed.tokens,
            "truncated": observed.truncated,
            "code": observed.code,
        }
        _requests.info("request", extra={"facts": {name: value for name, value in facts.items() if value}})


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        return json.dumps(line | getattr(record, "facts", {}))


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().isoformat(sep=" ", timespec="seconds")
        facts = getattr(record, "facts", None)
        if facts is None:
            return f"{time} {record.levelname.lower()}: {record.getMessage()}"
        return " ".join([time, *(f"{name}={value}" for name, value in facts.items())])
