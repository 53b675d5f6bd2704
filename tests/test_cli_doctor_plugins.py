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
from other_users import STRANGER, folder_for_all, only_root

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
    assert report["backends"]["static"].startswith("on cpu, for dense")
    assert ", multi_vector models, with numpy " in report["backends"]["onnxruntime"]
    assert f"onnxruntime {metadata.version('onnxruntime')}" in report["backends"]["onnxruntime"]
    assert "all-MiniLM-L6-v2" in report["models"][f"embedry-models {metadata.version('embedry-models')}"]
    found = report["folders"]["cache"]
    assert found["path"] == str(cache_dir)
    assert [found[fact] for fact in ("setting", "exists", "readable", "writable", "trusted")] == [
        "EMBEDRY_CACHE",
        *[True] * 4,
    ]
    assert found["size_mb"] >= 90
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
            "acme_twin": "from embedry_models.e5 import MODELS\nfrom embedry import hookimpl\n"
            "@hookimpl\ndef embedry_models(): return MODELS[:1]\ndef models(): ..."
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


def folders() -> tuple[dict[str, dict[str, object]], list[str]]:
    report = json.loads(run("doctor", "--json").out)
    return report["folders"], report["problems"]


def test_every_folder_that_is_used_is_named_with_what_can_be_done_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hugging-face"))
    (tmp_path / "cache" / "hub").mkdir(parents=True)
    found, problems = folders()
    assert problems == []
    usable = {"exists": True, "readable": True, "writable": True, "trusted": True}
    absent = {"exists": False, "readable": False, "writable": False, "trusted": True}
    sizes = {"size_mb": 0, "leftovers_mb": 0}
    assert found == {
        "cache": {"path": str(tmp_path / "cache"), "setting": "EMBEDRY_CACHE"} | usable | sizes,
        "hub": {"path": str(tmp_path / "cache" / "hub")} | usable,
        "Hugging Face cache": {"path": str(tmp_path / "hugging-face")} | absent,
    }
    shown = run("doctor").out
    assert f"{tmp_path / 'cache'} (EMBEDRY_CACHE): readable, writable, trusted, 0 MB\n" in squeezed(shown)
    assert f"{tmp_path / 'cache' / 'hub'}: readable, writable, trusted\n" in squeezed(shown)
    assert f"{tmp_path / 'hugging-face'}: does not exist\n" in squeezed(shown)


def squeezed(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines()) + "\n"


def test_without_a_setting_the_cache_is_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBEDRY_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    found, _ = folders()
    assert found["cache"]["setting"] == "the platform's default; EMBEDRY_CACHE changes it"
    assert Path(str(found["cache"]["path"])).is_relative_to(tmp_path)


def test_what_unfinished_work_left_is_measured_and_links_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "cache"))
    left = tmp_path / "cache" / "staging" / "00000000-1-00000001" / "new"
    left.mkdir(parents=True)
    with open(left / "weights.bin", "wb") as file:
        file.truncate(87_000_000)
    (tmp_path / "cache" / "link").symlink_to(left / "weights.bin")
    found, _ = folders()
    assert (found["cache"]["size_mb"], found["cache"]["leftovers_mb"]) == (87, 87)
    assert "trusted, 87 MB, 87 MB of it unfinished in staging" in run("doctor").out


@pytest.mark.skipif(os.name != "posix", reason="modes as POSIX has them")
@pytest.mark.parametrize("name", ["", "graphs", "verified", "staging"])
def test_a_cache_that_others_can_write_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / name
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    found, problems = folders()
    assert found["cache"]["trusted"] is False
    assert len(problems) == 1
    assert f"what embedry keeps in the cache is not used: other users can write to {folder} (mode 0777)" in problems[0]
    assert "writable, not trusted, 0 MB" in run("doctor").out


@only_root
@pytest.mark.parametrize("closed", ["cache", "cache/graphs", "cache/hub", "home", "home/hugging-face"])
def test_a_folder_that_may_not_be_read_is_named_and_the_others_too(fresh: Fresh, closed: str) -> None:
    with folder_for_all() as shared:
        for name in ("cache/graphs", "cache/hub", "home/hugging-face"):
            (shared / name).mkdir(parents=True)
        (shared / closed).chmod(0o700)
        code = f"""
import contextlib, io, os
from embedry_cli.app import main
def doctor():
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main(["doctor", "--json"])
    return out.getvalue()
doctor()  # imports all that the other user may not be able to read
os.setgroups([])
os.setgid({STRANGER})
os.setuid({STRANGER})
print(doctor())
"""
        env = {"EMBEDRY_CACHE": str(shared / "cache"), "HF_HUB_CACHE": str(shared / "home" / "hugging-face")}
        report = json.loads(fresh(code, env=env).stdout)
    assert list(report["folders"]) == ["cache", "hub", "Hugging Face cache"]
    places = {"cache": "cache", "hub": "cache/hub", "Hugging Face cache": "home/hugging-face"}
    for name, place in places.items():
        open_to_all = closed != place and not place.startswith(f"{closed}/")
        assert report["folders"][name]["path"] == str(shared / place)
        assert report["folders"][name]["readable"] == open_to_all
    assert any(str(shared / closed) in problem and "treated as absent" in problem for problem in report["problems"])
    assert any("the cache cannot be written" in problem for problem in report["problems"])
    assert len(set(report["problems"])) == len(report["problems"])


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
    assert (result.returncode, "a command must be a function or a typer.Typer, got 3" in result.stderr) == (1, True)


def test_a_name_registered_twice_names_both(plugin: Plugin, fresh: Fresh) -> None:
    site = plugin("acme-twin", {GROUP: {"models": "acme_twin:models"}}, {"acme_twin": "def models(): print('theirs')"})
    result = fresh(start("models"), path=site, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr
        == "error: the command 'models' is provided by embedry-cli and acme-twin 1.0; uninstall one of them\n"
    )
