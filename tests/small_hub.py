"""A Hugging Face hub for tests: serves repositories on 127.0.0.1, and has bad days when it is asked to.

    with SmallHub() as hub:
        commit = hub.commit("acme/tiny", {"model.safetensors": b"weights"})
        hub.faults.append(too_many_requests(seconds=30))
        ...                      # with HF_ENDPOINT=hub.url
        hub.requests             # what the client asked for

It answers what `huggingface_hub` needs in order to find and download models: `/api/models/REPO`, its revisions and trees, and
`/REPO/resolve/REVISION/FILE` with `HEAD`, `GET` and `Range`. Like the real one it answers 401, not 404, if a request without a
token names a repository that does not exist.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Request:
    """One request that the hub was sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    """With names in lower case."""


@dataclass
class Fault:
    """What goes wrong with the requests whose path contains `path` and whose method is one of `methods`."""

    path: str = ""
    methods: tuple[str, ...] = ("GET", "HEAD")
    times: int = -1
    """How many requests it happens to; -1 for all."""
    status: int | None = None
    """Answer this in place of what was asked for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Send these bytes in place of the file's or of the answer's."""
    cut_after: int | None = None
    """Promise everything, send as many bytes, and close the connection."""
    silent: bool = False
    """Do not answer for as long as the hub runs."""


def refused(status: int, code: str = "", message: str = "", path: str = "") -> Fault:
    """An error as the hub reports it: a status, and its own headers that say more."""
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return Fault(
        path=path, status=status, headers={name: value for name, value in headers.items() if value}, body=b"{}"
    )


def gated(status: int = 401) -> Fault:
    """A repository that everybody can see, and whose files are for those who accepted its conditions."""
    return refused(status, "GatedRepo", "Access to model acme/tiny is restricted", path="/resolve/")


def too_many_requests(seconds: int) -> Fault:
    """The limit of requests is reached for as many seconds."""
    return Fault(status=429, headers={"Retry-After": str(seconds)}, body=b"{}")


def login_page(path: str = "", status: int = 200) -> Fault:
    """A captive portal answers instead of the hub."""
    page = b"<!doctype html><title>Welcome to the guest network</title>"
    return Fault(path=path, status=status, headers={"Content-Type": "text/html; charset=utf-8"}, body=page)


class SmallHub:
    """A running hub. `faults` may change at any time; the first one that fits a request happens to it.

    `states_digests` says whether it answers with the digests of files, as some mirrors do not; `cards` has the metadata of
    repositories' model cards.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.states_digests = True
        self.cards: dict[str, dict[str, object]] = {}
        self._commits: dict[tuple[str, str], Files] = {}
        self._refs: dict[tuple[str, str], str] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def commit(self, repo: str, files: Files, *, ref: str = "main", commit: str = "") -> str:
        """Makes these files the newest commit of a branch or tag; returns its hash. Older commits stay.

        Args:
            repo: the repository, made if there is none of that name.
            files: path -> content, all files of the commit.
            ref: the branch or tag.
            commit: the hash to give it, 40 hex digits; by default one of its content.
        """
        state = repr((repo, ref, self._refs.get((repo, ref)), sorted(files.items())))
        commit = commit or hashlib.sha1(state.encode()).hexdigest()
        self._commits[repo, commit] = dict(files)
        self._refs[repo, ref] = commit
        return commit

    def forget(self, repo: str, commit: str) -> None:
        """Removes a commit, as an author does who rewrites the history."""
        del self._commits[repo, commit]

    def asked(self, text: str) -> list[Request]:
        """The requests so far whose path contains the text."""
        return [request for request in self.requests if text in request.path]

    def has(self, repo: str) -> bool:
        """Whether there is a repository of that name."""
        return any(name == repo for name, _ in self._refs)

    def find(self, repo: str, revision: str) -> tuple[str, Files] | None:
        """The commit that a revision stands for, and its files."""
        commit = self._refs.get((repo, revision), revision)
        files = self._commits.get((repo, commit))
        return None if files is None else (commit, files)

    def fault_of(self, request: Request) -> Fault | None:
        """Records the request, and counts down and returns the fault that happens to it."""
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.path in request.path and request.method in fault.methods and fault.times != 0:
                    fault.times -= 1
                    return fault
        return None

    def wait_for_the_end(self) -> None:
        """Returns when the hub stops."""
        self._stopped.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: SmallHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests look at `SmallHub.requests`."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)  # through a proxy the whole address is asked for
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.server.hub.fault_of(Request(self.command, path, headers))
        if fault is not None and fault.silent:
            self.server.hub.wait_for_the_end()
            self.close_connection = True
        elif fault is not None and fault.status is not None:
            self._send(fault.status, fault.headers, fault.body or b"")
        elif path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"), fault)
        else:
            self._file(*path.removeprefix("/").partition("/resolve/")[::2], fault)

    def _api(self, path: str, fault: Fault | None) -> None:
        parts = path.split("/", 3)
        repo = "/".join(parts[:2])
        what, revision = parts[2:] if len(parts) == 4 else ("revision", "main")
        found = self._find(repo, revision)
        if found is None:
            return
        commit, files = found
        if what == "tree":
            tree = [_tree_entry(name, content) for name, content in files.items()]
            self._json(tree, fault)
        else:
            asked = "blobs" in parse_qs(urlsplit(self.path).query) and self.server.hub.states_digests
            siblings = [{"rfilename": name} | (_sibling(name, files[name]) if asked else {}) for name in files]
            answer = {"id": repo, "sha": commit, "siblings": siblings, "private": False, "tags": []}
            self._json(answer | {"cardData": self.server.hub.cards.get(repo)}, fault)

    def _file(self, repo: str, place: str, fault: Fault | None) -> None:
        revision, _, name = place.partition("/")
        found = self._find(repo, revision)
        if found is None:
            return
        commit, files = found
        if name not in files:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        content = files[name]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(name, content)}"', "Accept-Ranges": "bytes"}
        if _is_large(name):
            headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content))}
        whole = content if fault is None or fault.body is None else fault.body
        wanted = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if wanted:
            headers["Content-Range"] = f"bytes {wanted}-{len(whole) - 1}/{len(whole)}"
        self._send(206 if wanted else 200, headers, whole[int(wanted or 0) :], fault)

    def _find(self, repo: str, revision: str) -> tuple[str, Files] | None:
        hub = self.server.hub
        found = hub.find(repo, revision)
        if found is None and hub.has(repo):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif found is None and "Authorization" in self.headers:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif found is None:
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
        return found

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, {"X-Error-Code": code, "X-Error-Message": message}, json.dumps({"error": message}).encode())

    def _json(self, value: object, fault: Fault | None) -> None:
        body = json.dumps(value).encode() if fault is None or fault.body is None else fault.body
        self._send(200, {"Content-Type": "application/json"}, body, fault)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, fault: Fault | None = None) -> None:
        self.send_response(status, HTTPStatus(status).phrase)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.cut_after is not None:
            body = body[: fault.cut_after]
            self.close_connection = True
        self.wfile.write(body)


def _is_large(name: str) -> bool:
    """Whether a file is kept in large file storage, and so is known by its sha256."""
    return name.endswith((".safetensors", ".onnx"))


def _etag(name: str, content: bytes) -> str:
    if _is_large(name):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(name: str, content: bytes) -> dict[str, object]:
    """What is stated of a file if digests are asked for; of a large one git knows only a file that points to it."""
    if not _is_large(name):
        return {"size": len(content), "blobId": _etag(name, content)}
    lfs = {"sha256": _etag(name, content), "size": len(content), "pointerSize": 134}
    return {"size": len(content), "blobId": "0" * 40, "lfs": lfs}


def _tree_entry(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": _etag(name, content)}
    if _is_large(name):
        entry["lfs"] = {"oid": _etag(name, content), "size": len(content), "pointerSize": 134}
    return entry
