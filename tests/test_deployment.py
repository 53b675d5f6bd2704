"""docs/deployment.md: its manifests and units fit the server, its image and each other."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from starlette.testclient import TestClient

from containerfile import PREFIX, USER, instructions, the
from embedry import __version__
from embedry_server import create_app, serving
from embedry_server.command import serve
from embedry_server.settings import Limits
from examples import ROOT, blocks

PAGE = ROOT / "docs" / "deployment.md"
FILES = {block.file: block.text for block in blocks(PAGE) if block.file is not None}
IMAGE = "embedry-server"


def documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(FILES[file]))


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = (
        each for file in ("embedry.yaml", "autoscaling.yaml") for each in documents(file) if each["kind"] == kind
    )
    return found


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = of_kind("Deployment")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return found


def unit() -> list[tuple[str, str]]:
    """The settings of the service; one that is given twice is there twice."""
    lines = FILES["embedry.service"].partition("[Service]")[2].partition("[Install]")[0].splitlines()
    return [tuple(line.split("=", 1)) for line in lines if line and not line.startswith("#")]


def started_by_the_unit() -> list[str]:
    program, command, *arguments = shlex.split(dict(unit())["ExecStart"])
    assert (program, command) == (f"{PREFIX}/bin/embedry", "serve")
    return arguments


def started_by_docker() -> list[str]:
    """What follows the image in the command that runs it."""
    (run,) = (
        line
        for block in blocks(PAGE)
        if block.language == "sh"
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.startswith("docker run")
    )
    words = shlex.split(run)
    return words[words.index(IMAGE) + 1 :]


def options(arguments: list[str]) -> dict[str, Any]:
    """The options of `embedry serve` by their names, read by the command itself; a wrong one is an error."""
    app = typer.Typer()
    app.command()(serve)
    return typer.main.get_command(app).make_context("serve", list(arguments)).params


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def value(file: str, name: str) -> str:
    """The value of a setting that is on a line of its own."""
    (found,) = re.findall(rf"^\s*{name}\s+(\S+?);?$", FILES[file], re.MULTILINE)
    return found


STARTED = {
    "docker": ["model", *started_by_docker()],
    "compose": ["model", *documents("compose.yaml")[0]["services"]["embedry"]["command"]],
    "kubernetes": ["model", *container()["args"]],
    "systemd": started_by_the_unit(),
}


@pytest.mark.parametrize("arguments", STARTED.values(), ids=STARTED)
def test_every_command_line_has_options_that_the_server_takes(arguments: list[str]) -> None:
    assert options(arguments)


def stopping() -> dict[str, float]:
    """The seconds after which each kills a server that was told to stop."""
    docker = next(line for line in PAGE.read_text().splitlines() if "--stop-timeout" in line)
    return {
        "docker": float(re.findall(r"--stop-timeout (\d+)", docker)[0]),
        "compose": seconds(documents("compose.yaml")[0]["services"]["embedry"]["stop_grace_period"]),
        "kubernetes": float(pod()["terminationGracePeriodSeconds"]),
        "systemd": float(dict(unit())["TimeoutStopSec"]),
    }


@pytest.mark.parametrize("name", STARTED)
def test_nothing_kills_the_server_before_it_has_answered(name: str) -> None:
    given = options(STARTED[name])
    assert stopping()[name] > given["drain"] + given["receive"] + given["deadline"]


def test_a_proxy_waits_longer_than_the_server_and_closes_idle_connections_sooner() -> None:
    limits = Limits()
    for file, waiting, idle in (
        ("embedry.conf", "proxy_read_timeout", "keepalive_timeout"),
        ("Caddyfile", "response_header_timeout", "keepalive"),
    ):
        assert seconds(value(file, waiting)) > limits.deadline
        assert seconds(value(file, idle)) < serving._KEEP_ALIVE
    assert int(value("embedry.conf", "client_max_body_size").removesuffix("m")) * 2**20 > limits.body_bytes
    for name in ("max_size", "request_buffers"):
        assert int(value("Caddyfile", name).removesuffix("MiB")) * 2**20 > limits.body_bytes


def test_the_pod_has_no_rights_and_is_the_user_of_the_image() -> None:
    security = pod()["securityContext"]
    assert security["runAsUser"] == security["runAsGroup"] == USER
    assert security["seccompProfile"]["type"] == "RuntimeDefault"
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (secret,) = pod()["volumes"]
    assert secret["secret"]["defaultMode"] == 0o440


def test_the_keys_are_where_the_server_is_told_to_look() -> None:
    (mount,) = container()["volumeMounts"]
    assert options(STARTED["kubernetes"])["keys"] == Path(mount["mountPath"], "keys.txt")
    assert "--from-file=keys.txt" in PAGE.read_text()
    compose = documents("compose.yaml")[0]
    assert options(STARTED["compose"])["keys"] == Path("/run/secrets", *compose["secrets"])
    assert compose["services"]["embedry"]["secrets"] == [*compose["secrets"]]
    credential, _, source = dict(unit())["LoadCredential"].partition(":")
    assert options(STARTED["systemd"])["keys"] == Path("%d", credential)
    assert f"/dev/stdin {source}\n" in PAGE.read_text()


def test_ports_names_and_labels_meet() -> None:
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("Service")["spec"]["selector"] == labels
    assert of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    (port,) = container()["ports"]
    assert port["containerPort"] == options(["model"])["port"] == int(the("EXPOSE"))
    assert of_kind("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    target = of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == of_kind("Deployment")["metadata"]["name"]
    (scraped,) = documents("prometheus.yaml")[0]["scrape_configs"]
    ((label, name),) = labels.items()
    (kept,) = scraped["relabel_configs"]
    assert kept["source_labels"] == [f"__meta_kubernetes_pod_label_{re.sub(r'[^a-z]', '_', label)}"]
    assert kept["regex"] == name


def test_what_is_asked_of_the_server_is_there() -> None:
    client = TestClient(create_app(["all-MiniLM-L6-v2"]))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container()[probe]["httpGet"]
        assert asked["port"] == "http"
        assert client.get(asked["path"]).status_code in (200, 503)
    (metric,) = of_kind("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert f"\n{metric['pods']['metric']['name']} 0.0\n" in client.get("/metrics").text


def test_the_unit_has_the_environment_of_the_image() -> None:
    image = dict(pair.split("=", 1) for pair in shlex.split(the("ENV")))
    given = dict(pair.split("=", 1) for name, line in unit() if name == "Environment" for pair in line.split())
    assert given == {name: value for name, value in image.items() if not name.startswith("P")}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "embedry.service"
    unit.write_text(FILES["embedry.service"].replace(f"{PREFIX}/bin/embedry", "/bin/sh"))
    result = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")  # a key that it does not know is a warning


def test_the_build_arguments_of_the_page_are_those_of_the_containerfile() -> None:
    known = {rest.partition("=")[0] for stage in range(3) for name, rest in instructions(stage) if name == "ARG"}
    text = PAGE.read_text()
    assert set(re.findall(r"--build-arg (\w+)=", text)) <= known
    secrets = set(re.findall(r"--mount=type=secret,id=([\w-]+)", dict(instructions(1))["RUN"]))
    assert secrets == set(re.findall(r"--secret id=([\w-]+)", text))


def test_the_image_and_the_manifest_have_the_version_of_the_code() -> None:
    labels = dict(pair.split("=", 1) for pair in shlex.split(the("LABEL")))
    assert labels["org.opencontainers.image.version"] == __version__
    assert container()["image"].rpartition(":")[2] == __version__
