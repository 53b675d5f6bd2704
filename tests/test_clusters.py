"""docs/clusters.md: its Kubernetes job and its Slurm script are valid, fit the command, and begin shards of their own."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes.client as kubernetes
import pytest
import typer
import yaml

from bulk_jobs import planned, rows, written
from embedry import __version__
from embedry_bulk import done_shards
from embedry_bulk.command import bulk
from examples import ROOT, blocks

FILES = {block.file: block.text for block in blocks(ROOT / "docs" / "clusters.md") if block.file is not None}


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILES["embed.yaml"])
    return found


def unknown(value: Any, kind: str) -> Iterator[str]:
    """Fields of a manifest that Kubernetes does not have where they are."""
    if isinstance(value, list):
        for each in value:
            yield from unknown(each, re.sub(r"^list\[(.*)\]$", r"\1", kind, flags=re.IGNORECASE))
    elif (model := getattr(kubernetes, kind, None)) is not None:
        names = {name: attribute for attribute, name in model.attribute_map.items()}
        for name, each in value.items():
            if name not in names:
                yield f"{kind} has no {name}"
            else:
                yield from unknown(each, model.openapi_types[names[name]])


def options(command: list[str]) -> dict[str, Any]:
    """The options of `embedry bulk run` by their names, read by the command itself; a wrong one is an error."""
    assert command[:3] == ["embedry", "bulk", "run"]
    group = typer.main.get_command(bulk)
    return group.commands["run"].make_context("run", command[3:]).params  # type: ignore[attr-defined]


def test_the_manifest_has_only_fields_that_kubernetes_knows() -> None:
    assert not list(unknown(manifest(), "V1Job"))
    broken = manifest()
    broken["spec"]["template"]["spec"]["containers"][0]["volumes"] = []
    assert list(unknown(broken, "V1Job")) == ["V1Container has no volumes"]


def test_every_pod_is_another_worker_of_as_many_as_there_are() -> None:
    spec = manifest()["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    (script,) = container["args"]
    workers = []
    for index in range(spec["completions"]):
        shown = subprocess.run(
            [*container["command"], script.replace("exec ", "echo ")],
            env={"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": str(index)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        given = options(shown.stdout.split())
        workers.append(given["worker"])
        assert given["threads"] == int(container["resources"]["limits"]["cpu"])
    assert workers == [f"{number}/{spec['completions']}" for number in range(1, spec["completions"] + 1)]
    assert spec["parallelism"] == spec["completions"]


def test_the_job_fits_itself_and_the_version() -> None:
    spec = manifest()["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"  # which a limit for each index and a policy for failures require
    assert [
        rule["onExitCodes"]["containerName"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    ] == [container["name"]]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["image"].rpartition(":")[2] == __version__


def test_the_image_installs_what_the_job_needs() -> None:
    words = shlex.split(FILES["Containerfile"])
    assert {"embedry-bulk", "s3fs"} <= set(words)
    assert words[words.index("USER") + 1].isdigit()


def test_the_slurm_script_runs_its_share(tmp_path: Path, cache_dir: Path, minilm: object) -> None:
    script = tmp_path / "embed.sbatch"
    script.write_text(FILES["embed.sbatch"])
    plan = planned(written(tmp_path / "in.jsonl", rows(6)), tmp_path / "job", shard_rows=2)
    slurm = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_CPUS_PER_TASK": "1", "JOB": plan.url}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["sh", script], env=os.environ | slurm | {"PATH": path, "EMBEDRY_CACHE": str(cache_dir)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("6 rows -> ")
    done = done_shards(plan)
    assert sorted(done) == [0, 1, 2]
    assert {each.engine["threads"] for each in done.values()} == {"1"}


@pytest.mark.parametrize("option", ["--array=1-8", "--signal=B:INT@300", "--requeue"])
def test_slurm_reads_the_options_of_the_script(option: str) -> None:
    lines = FILES["embed.sbatch"].splitlines()
    assert f"#SBATCH {option}" in lines
    assert lines.index(f"#SBATCH {option}") < next(place for place, line in enumerate(lines) if line and line[0] != "#")
