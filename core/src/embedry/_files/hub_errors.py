"""Converts errors of the hub's client to embedry's errors: the cause first, then what to do."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from embedry.errors import CacheError, DownloadError, EmbedryError, UnknownModelError


def explain(error: BaseException, repo: str, revision: str | None, endpoint: str) -> EmbedryError:
    """The error to raise for what the hub's client raised while it looked for a repository or downloaded it."""
    causes = list(_causes(error))
    for cause in causes:
        if getattr(cause, "response", None) is not None:
            return _refusal(cause, repo, revision, endpoint)
    for cause in causes:
        if is_unreachable(cause):
            reason = _first_line(cause)
            if "certificate" in reason.lower():
                reason += "; set SSL_CERT_FILE to a file with the certificates of your network"
            return DownloadError(f"the connection to the hub ({endpoint}) failed: {reason}{_proxy()}")
    for cause in causes:
        if isinstance(cause, json.JSONDecodeError | UnicodeDecodeError) or _is(cause, "FileMetadataError"):
            return _web_page(endpoint)
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno is not None:
            return CacheError(
                f"{repo} could not be put into the cache: {cause}; set EMBEDRY_CACHE to a folder with room that you can write"
            )
    return DownloadError(
        f"{repo} at {revision or 'main'} could not be downloaded from {endpoint}: {_first_line(error)}"
    )


def explain_first(error: BaseException, repo: str, revision: str | None, endpoint: str) -> EmbedryError:
    """The error to raise for what the client raised at its first request, which writes no file."""
    if isinstance(error, OSError) and error.errno is not None:  # it opens nothing but the certificates and the token
        return wrong_setting(error)
    if isinstance(error, TypeError | KeyError):  # JSON, but not what a hub says of a repository
        return _web_page(endpoint)
    return explain(error, repo, revision, endpoint)


def is_unreachable(error: BaseException) -> bool:
    """Whether no answer came: no network, no such host, refused, no answer in time, cut off."""
    # The client's HTTP library is httpx or httpx2, depending on its version; their errors have the same names.
    return isinstance(error, TimeoutError) or _is(error, "TransportError")


def is_missing_revision(error: BaseException) -> bool:
    """Whether the hub answered that the repository exists, but not the revision."""
    return _is(error, "RevisionNotFoundError")


def missing_revision(repo: str, revision: str | None, endpoint: str) -> DownloadError:
    """The hub has the repository, but not this revision of it."""
    return DownloadError(
        f"the hub ({endpoint}) has no revision {revision or 'main'} of {repo}; its author may have removed it"
    )


def wrong_setting(error: Exception) -> DownloadError:
    """The client cannot even ask, because of a value in the environment."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if isinstance(error, OSError) and os.environ.get(name):
            missing = "" if Path(os.environ[name]).exists() else ", which does not exist"
            return DownloadError(
                f"the certificates that {name} names cannot be loaded: {os.environ[name]}{missing}; correct or unset {name}"
                + ("" if missing else f" ({_first_line(error)})")
            )
    names = [name for name, value in os.environ.items() if name.startswith("HF_") and repr(value) in str(error)]
    if names:
        return DownloadError(
            f"the environment variable {' or '.join(names)} has a value that the hub's client does not accept; correct or unset it "
            f"({_first_line(error)})"
        )
    return DownloadError(f"the hub's client cannot be used: {_first_line(error)}{_proxy()}")


def _refusal(error: BaseException, repo: str, revision: str | None, endpoint: str) -> EmbedryError:
    """The error for an answer with an HTTP status of 400 or more."""
    response = error.response  # type: ignore[attr-defined]
    message = response.headers.get("X-Error-Message") or response.reason_phrase
    status = f"{response.status_code} {message}".strip()
    if is_missing_revision(error):
        return missing_revision(repo, revision, endpoint)
    if _is(error, "GatedRepoError"):
        return DownloadError(
            f"{repo} is gated and the hub does not let you download it ({status}); accept the conditions on the model's "
            f"page, {endpoint}/{repo}, and set HF_TOKEN to a token of yours"
        )
    if "html" in response.headers.get("Content-Type", ""):
        return _web_page(endpoint)
    # A caller without a token gets 401, not 404, for a repository that does not exist; the client knows these answers.
    if _is(error, "RepositoryNotFoundError") or (response.status_code == 404 and not _is(error, "EntryNotFoundError")):
        return UnknownModelError(
            f"the hub ({endpoint}) has no public repository {repo}; if it is private, set HF_TOKEN"
        )
    if response.status_code in (401, 403):
        return DownloadError(
            f"the hub ({endpoint}) does not let you download {repo} ({status}); set HF_TOKEN to a token that may read it, "
            f"and accept the conditions on the model's page, {endpoint}/{repo}, if it has any"
        )
    if response.status_code == 429:
        return DownloadError(f"the hub ({endpoint}) has had too many requests ({status}); {_wait(response.headers)}")
    return DownloadError(f"the hub ({endpoint}) answered {status}; try again later")


def _web_page(endpoint: str) -> DownloadError:
    return DownloadError(
        f"a web page answered in place of the hub ({endpoint}): something between this machine and the hub, such as the login "
        f"page of a network or a proxy, or HF_ENDPOINT is wrong; open {endpoint} in a browser to see it{_proxy()}"
    )


def _wait(headers: Mapping[str, str]) -> str:
    after = headers.get("Retry-After", "")
    if not after:  # what the hub itself sends: "api";r=0;t=55
        found = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
        after = found.group(1) if found else ""
    if after.isdigit():
        return f"try again in {after} seconds; with HF_TOKEN set the limit is higher"
    return f"try again after {after}" if after else "try again later"


def _proxy() -> str:
    # Names alone: a proxy's address may hold a password.
    names = [name for name, value in os.environ.items() if re.fullmatch("(https?|all)_proxy", name.lower()) and value]
    return f" (the proxy is set by {', '.join(names)})" if names else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is(error: BaseException, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
