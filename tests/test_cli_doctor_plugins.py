"""`embedry doctor`, and commands that other distributions add: listed unimported, isolated when broken."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from command_line import run

Fresh = Callable[..., subprocess.CompletedProcess[str]]
Plugin = Callable[..., Path]

GROUP = "embedry.commands"
HELLO = "import sys\nprint('imported', file=sys.stderr)\ndef hello(name: str, loud: bool = False) -> None:\n    print(name.upper() if loud else name)\n"


def start(*arguments: str) -> str:
    return f"from embedry_cli.app import main; main({list(arguments)!r})"


def test_a_sound_installation_is_well(minilm_folder: Path, cache_dir: Path) -> None:
    result = run("doctor", "--json")
    assert result.code == 0, result.out
    report = json.loads(result.out)
    assert report["problems"] == []
    assert report["packages"]["embedry-core"] == metadata.version("embedry-core")
    assert report["backends"]["onnxruntime"].startswith("on cpu, with ")
    assert f"onnxruntime {metadata.version('onnxruntime')}" in report["backends"]["onnxruntime"]
    assert "all-MiniLM-L6-v2" in report["models"][f"embedry-models {metadata.version('embedry-models')}"]
    assert report["cache"]["folder"] == str(cache_dir)
    assert report["cache"]["writable"] is True
    assert report["cache"]["size_mb"] >= 90
    assert run("doctor").out.endswith("all is well\n")


def test_a_broken_plugin_is_named_with_its_reason(plugin: Plugin, fresh: Fresh) -> None:
    site = plugin("acme-broken", {"embedry": {"broken": "acme_broken"}}, {"acme_broken": "raise OSError('no luck')"})
    result = fresh(start("doctor"), path=site, check=False)
    assert result.returncode == 1
    assert "problem: the plugin acme-broken 1.0 cannot be used: OSError: no luck" in result.stdout
    assert "all is well" not in result.stdout
    assert result.stderr == ""


def test_broken_backends_commands_and_conflicts_are_problems(plugin: Plugin, fresh: Fresh) -> None:
    site = plugin(
        "acme-all",
        {
            "embedry": {"twin": "acme_twin"},
            "embedry.backends": {"acme": "acme_missing:backend"},
            GROUP: {"acme": "acme_missing:command", "models": "acme_twin:models"},
        },
        {
            "acme_twin": "from embedry_models.e5_small_v2 import SPEC\nfrom embedry import hookimpl\n"
            "@hookimpl\ndef embedry_models(): return [SPEC]\ndef models(): ..."
        },
    )
    result = fresh(start("doctor", "--json"), path=site, check=False)
    assert result.returncode == 1
    problems = "\n".join(json.loads(result.stdout)["problems"])
    for expected in (
        "the model name 'e5-small-v2' is registered by embedry-models",
        "the backend 'acme' of acme-all 1.0 cannot be imported",
        "the command 'acme' of acme-all 1.0 cannot be used: ModuleNotFoundError",
        "the command 'models' is provided by embedry-cli and acme-all 1.0",
    ):
        assert expected in problems


def test_a_missing_requirement_is_a_problem(plugin: Plugin, fresh: Fresh) -> None:
    site = plugin("acme-poor", {GROUP: {"hello": "acme_hello:hello"}}, {"acme_hello": HELLO})
    metadata_file = next(site.glob("*.dist-info")) / "METADATA"
    metadata_file.write_text(
        metadata_file.read_text() + "Requires-Dist: no-such-thing>=2\nRequires-Dist: other; extra == 'x'\n"
    )
    result = fresh(start("doctor"), path=site, check=False)
    assert result.returncode == 1
    assert "problem: acme-poor needs no-such-thing, which is not installed; try: pip install acme-poor" in result.stdout
    assert "other" not in result.stdout


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "file" / "cache"))
    result = run("doctor")
    assert result.code == 1
    assert "problem: the cache cannot be written" in result.out


def test_a_function_becomes_a_command(plugin: Plugin, fresh: Fresh) -> None:
    site = plugin("acme-hello", {GROUP: {"hello": "acme_hello:hello"}}, {"acme_hello": HELLO})
    assert fresh(start("hello", "you", "--loud"), path=site).stdout == "YOU\n"
    assert "--loud" in fresh(start("hello", "--help"), path=site).stdout
    assert fresh(start("hello"), path=site, check=False).returncode == 2


def test_a_command_that_prints_into_a_closed_pipe_ends_quietly(plugin: Plugin) -> None:
    site = plugin("acme-hello", {GROUP: {"hello": "acme_hello:hello"}}, {"acme_hello": "def hello(): print('hello')"})
    command = [sys.executable, "-m", "embedry_cli", "hello"]
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "PYTHONUNBUFFERED": "",
    }  # so that it is written at the very end
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_an_app_becomes_a_group_of_commands(plugin: Plugin, fresh: Fresh) -> None:
    source = (
        "import typer\napp = typer.Typer()\n@app.command()\ndef serve(port: int = 80) -> None:\n    print(port + 1)\n"
    )
    site = plugin("acme-app", {GROUP: {"server": "acme_app:app"}}, {"acme_app": source})
    assert fresh(start("server", "serve", "--port", "8000"), path=site).stdout == "8001\n"


def test_the_help_lists_a_plugin_without_importing_it(plugin: Plugin, fresh: Fresh) -> None:
    site = plugin("acme-hello", {GROUP: {"hello": "acme_hello:hello"}}, {"acme_hello": HELLO})
    metadata_file = next(site.glob("*.dist-info")) / "METADATA"
    metadata_file.write_text(
        metadata_file.read_text().replace("Summary: the plugin acme-hello", "Summary: the plugin acme-hello [red]")
    )
    for arguments in (["--help"], ["models"], ["models", "--help"]):
        result = fresh(start(*arguments), path=site)
        assert "imported" not in result.stderr
    listed = fresh(start("--help"), path=site, env={"COLUMNS": "120"}).stdout
    assert "the plugin acme-hello [red] (acme-hello 1.0)" in listed


def test_a_broken_command_harms_no_other(plugin: Plugin, fresh: Fresh) -> None:
    site = plugin("acme-bad", {GROUP: {"bad": "acme_bad:bad"}}, {"acme_bad": "1 / 0"})
    assert fresh(start("models"), path=site).returncode == 0
    result = fresh(start("bad"), path=site, check=False)
    assert result.returncode == 1
    assert (
        result.stderr
        == "error: the command 'bad' of acme-bad 1.0 cannot be used: ZeroDivisionError: division by zero\n"
    )


def test_what_is_no_command_is_refused(plugin: Plugin, fresh: Fresh) -> None:
    site = plugin("acme-odd", {GROUP: {"odd": "acme_odd:odd"}}, {"acme_odd": "odd = 3"})
    result = fresh(start("odd"), path=site, check=False)
    assert (result.returncode, "a command is a function or a typer.Typer, got 3" in result.stderr) == (1, True)


def test_a_name_registered_twice_names_both(plugin: Plugin, fresh: Fresh) -> None:
    site = plugin("acme-twin", {GROUP: {"models": "acme_twin:models"}}, {"acme_twin": "def models(): print('theirs')"})
    result = fresh(start("models"), path=site, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr
        == "error: the command 'models' is provided by embedry-cli and acme-twin 1.0; uninstall one of them\n"
    )
