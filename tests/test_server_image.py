"""The image of the server: the steps of its build, run here, and the server run from the result as the image runs it.

Root runs it as the image would be run with a read-only root file system and no network: in namespaces of its own, as
another user and as process 1. Where that is not possible, the rights of the files and HF_HUB_OFFLINE have to do.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from containerfile import FOLDER, PREFIX, USER, command, instructions, the
from embedry.views import LazyEmbedder
from other_users import folder_for_all
from serving import SECONDS, Server

_CONFINE = """
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && mount -o remount,bind,ro / && ip link set lo up &&
exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs \
    --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search "$@"
"""
"""Reading is allowed everywhere, because the interpreter of these tests may be in a folder of root; writing is not."""

_ASK = """
import json, sys
from urllib.request import ProxyHandler, Request, build_opener
url, body, key = sys.argv[1:]
request = Request(url, body.encode() or None, {"authorization": "Bearer " + key, "content-type": "application/json"})
with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
    print(json.dumps({"status": answer.status, "body": json.load(answer)}))
"""


def variables(prefix: Path, home: Path) -> dict[str, str]:
    """The environment of the image, as it is with another prefix."""
    stated = dict(pair.split("=", 1) for pair in shlex.split(the("ENV").replace(PREFIX, str(prefix))))
    return stated | {"PATH": stated["PATH"].replace("$PATH", "/usr/bin:/bin"), "HOME": str(home)}


def can_confine() -> bool:
    """Whether this user may have namespaces of its own, and the programs for them are here."""
    return (
        sys.platform == "linux"
        and os.geteuid() == 0
        and all(shutil.which(name) for name in ("unshare", "nsenter", "setpriv", "ip"))
        and subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], check=False).returncode == 0
    )


CONFINED = can_confine()


def confined(prefix: Path) -> list[str]:
    """What is put before a command to run it as in the image."""
    if not CONFINED:
        return []
    own = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc"]
    return [*own, "sh", "-c", _CONFINE, str(prefix)]


def processes(process: "subprocess.Popen[str]") -> list[int]:
    """The process of the server: that of a command, or the one for which `unshare` waits."""
    if not CONFINED:
        return [process.pid]
    return [int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


class Container:
    """A server that was started from what was baked."""

    def __init__(self, prefix: Path, server: Server) -> None:
        self.server = server
        self._python = str(prefix / "bin" / "python")
        self._environment = variables(prefix, prefix)
        self.port = server.url.rpartition(":")[2]
        (self.process,) = processes(server.process)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs a command where the server can be reached."""
        own = ["nsenter", f"--net=/proc/{self.process}/ns/net"] if CONFINED else []
        return subprocess.run(
            [*own, *arguments], env=self._environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def ask(self, path: str, body: object = None, key: str = "") -> Any:
        """Status and body of an answer that is JSON."""
        content = json.dumps(body) if body is not None else ""
        result = self.run(self._python, "-I", "-c", _ASK, f"http://127.0.0.1:{self.port}{path}", content, key)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


@contextmanager
def started(prefix: Path, home: Path, **env: str) -> Iterator[Container]:
    """The entry point of the image, ready; ended with the block."""
    process = subprocess.Popen(
        [*confined(prefix), *command(the("ENTRYPOINT"), prefix), *(() if CONFINED else ("--port", "0"))],
        env=variables(prefix, home) | env, cwd="/", stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:  # closes its pipe
        try:
            yield Container(prefix, Server(process))
        finally:
            if process.poll() is None:
                for each in processes(process):
                    os.kill(each, signal.SIGKILL)


def listing(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    """Mode, size, inode and modification time of everything in a folder."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_size, status.st_ino, status.st_mtime_ns)
    return found


def bake(*arguments: object, folder: Path, home: Path) -> "subprocess.CompletedProcess[str]":
    """Runs `bake.sh` with nothing of this environment but the settings of pip."""
    kept = {name: value for name, value in os.environ.items() if re.match(r"PIP_|SSL_|\w+_proxy$", name, re.IGNORECASE)}
    return subprocess.run(
        ["sh", str(FOLDER / "bake.sh"), *map(str, arguments)],
        env=kept | {"PATH": "/usr/bin:/bin", "HOME": str(home), "HF_HUB_OFFLINE": "1",
                    "PYTHON": getattr(sys, "_base_executable", sys.executable)},
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def prefix() -> Iterator[Path]:
    """What `bake.sh` leaves, after a copy as from one stage of the image to the next, closed to every writer."""
    with folder_for_all() as folder:
        home = folder / "home"
        home.mkdir()
        result = bake("embedry", "all-MiniLM-L6-v2", folder=folder, home=home)
        assert result.returncode == 0, result.stdout + result.stderr
        (folder / "embedry").rename(folder / "stage")
        shutil.copytree(folder / "stage", folder / "embedry", symlinks=True)
        shutil.rmtree(folder / "stage")
        subprocess.run(["chmod", "-R", "a-w", folder / "embedry"], check=True)
        yield folder / "embedry"
        subprocess.run(["chmod", "-R", "u+w", folder / "embedry"], check=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is empty and stays so."""
    (tmp_path / "home").mkdir(mode=0o555)
    return tmp_path / "home"


def test_the_image_serves_without_a_network_and_writes_nothing(prefix: Path, home: Path, minilm: LazyEmbedder) -> None:
    before = listing(prefix)
    with started(prefix, home, EMBEDRY_API_KEYS="a-key") as container:
        assert container.ask("/health/ready")["status"] == 200
        assert (
            container.run(
                *command(the("HEALTHCHECK").partition("CMD")[2].replace("8080", container.port), prefix)
            ).returncode
            == 0
        )
        text = "When do I get my money back?"
        answer = container.ask("/v1/embeddings", {"model": "all-MiniLM-L6-v2", "input": text}, "a-key")
        vector = np.array(answer["body"]["data"][0]["embedding"])
        os.kill(container.process, signal.SIGTERM)
        assert container.server.process.wait(SECONDS) == 0
    assert np.abs(vector - minilm.encode_query([text])[0]).max() < 1e-6
    log = "".join(container.server.lines)
    assert "ready: " in log
    assert "arning" not in log
    assert listing(prefix) == before
    assert not list(home.iterdir())


@pytest.mark.skipif(not CONFINED, reason="only root can have namespaces of its own")
def test_what_runs_as_in_the_image_can_neither_write_nor_reach_a_network(prefix: Path, home: Path) -> None:
    program = f"touch {prefix}/x || touch {home}/x || touch /x || ip route get 192.0.2.1"
    result = subprocess.run([*confined(prefix), "sh", "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert result.stderr.count("Read-only file system") == 3
    assert "unreachable" in result.stderr


def test_the_image_does_not_start_without_keys_and_says_how_to_give_some(prefix: Path, home: Path) -> None:
    result = subprocess.run(
        [*confined(prefix), *command(the("ENTRYPOINT"), prefix)],
        env=variables(prefix, home), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "the server has no keys" in result.stderr
    assert "--keys FILE or EMBEDRY_API_KEYS" in result.stderr


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_fails_unless_the_server_is_ready(status: int, prefix: Path, home: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        check = command(the("HEALTHCHECK").partition("CMD")[2].replace("8080", str(server.server_port)), prefix)
        result = subprocess.run(check, env=variables(prefix, home), capture_output=True, timeout=SECONDS, check=False)
        server.shutdown()
    assert result.returncode == (0 if status == 200 else 1)


def test_any_user_can_read_what_was_baked_and_nobody_else_could_ever_write_it(prefix: Path) -> None:
    for path in (prefix, *prefix.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.lstat().st_mode
        assert mode & 0o004, path
        assert not path.is_dir() or mode & 0o001, path
        assert not mode & 0o022, path


def test_what_was_baked_has_all_bytecode_and_neither_tests_nor_pip(prefix: Path) -> None:
    (packages,) = prefix.glob("lib/python*/site-packages")
    assert (packages / "embedry_server").is_dir()
    assert not list(prefix.rglob("tests"))
    assert not list(packages.glob("pip*"))
    assert not list(prefix.glob("bin/pip*"))
    for source in packages.glob("embedry*/**/*.py"):
        assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), source


def test_bake_refuses_a_folder_that_exists_and_a_call_without_a_model(tmp_path: Path) -> None:
    result = bake(tmp_path, "all-MiniLM-L6-v2", folder=tmp_path, home=tmp_path)
    assert (result.returncode, result.stderr) == (2, f"bake.sh: {tmp_path} exists; name a new folder\n")
    result = bake("new", folder=tmp_path, home=tmp_path)
    assert (result.returncode, result.stderr) == (2, "usage: bake.sh PREFIX MODEL...\n")
    assert not list(tmp_path.iterdir())


def test_the_containerfile_copies_what_bake_installs_and_its_context_has_it() -> None:
    copied = {word for name, rest in instructions(1) if name == "COPY" for word in rest.split()[:-1]}
    installed = set(re.findall(r'"\$checkout/([\w/-]+)"', (FOLDER / "bake.sh").read_text()))
    assert installed
    assert copied == installed | {"pyproject.toml", "embedry.loc[k]"}
    ignored = (FOLDER / "Containerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == installed | {"pyproject.toml", "embedry.lock"}


def test_the_last_stage_has_a_user_of_its_own_and_starts_without_a_shell() -> None:
    assert the("USER") == f"{USER}:{USER}"
    assert command(the("ENTRYPOINT"), Path("/x")) == ["/x/bin/serve"]
    assert the("STOPSIGNAL") == "SIGTERM"
    assert [rest for name, rest in instructions() if name == "COPY"] == [f"--from=bake {PREFIX} {PREFIX}"]
