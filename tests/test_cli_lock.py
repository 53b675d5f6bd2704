"""`embedry lock` and `embedry pull --locked`, with models of a hub on this machine."""

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model2vec import StaticModel
from tokenizers import Tokenizer

from command_line import run
from embedry import DownloadError, LockError, ModelSpec, lock, register, resolve, use_lock
from embedry._files import sources
from embedry.registry import installed
from entries import registered
from small_hub import SmallHub

Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder and an empty cache; no lock is left in use."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(lock.VARIABLE, raising=False)
    yield tmp_path / "here"
    use_lock(None)


@pytest.fixture
def files(checkpoint: Callable[..., Path]) -> Files:
    """A small model, as a repository has it."""
    folder = checkpoint("bert")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return found | {"config_sentence_transformers.json": json.dumps({"prompts": {"query": "ask: "}}).encode()}


@pytest.fixture
def spec(small_hub: SmallHub, files: Files, checkpoint: Callable[..., Path]) -> ModelSpec:
    """A registered model whose files are on the hub."""
    commit = small_hub.commit("acme/tiny", files)
    found = replace(
        registered(checkpoint("bert"), name="tiny"),
        folder=None,
        repo="acme/tiny",
        revision=commit,
        prompts={"query": "ask: "},
    )
    register(found)
    return found


def unregistered(spec: ModelSpec) -> None:
    """As if the plugin of a model was uninstalled."""
    models = installed()
    for name in [name for name, registrations in models._by_name.items() if registrations[0].spec == spec]:
        del models._by_name[name]


def registered_anew(spec: ModelSpec, **changes: object) -> None:
    """What the plugin of a model registers in a later version."""
    unregistered(spec)
    register(replace(spec, **changes))  # type: ignore[arg-type]


def test_a_registered_model_is_locked_with_digests_and_sizes(spec: ModelSpec, files: Files, here: Path) -> None:
    result = run("lock", "tiny")
    assert (result.code, result.out) == (0, "")
    size = sum(len(files[file]) for file in spec.files)
    assert result.err == f"locked tiny: 3 files, {size / 1e6:,.0f} MB\n"
    model = lock.read(here / "embedry.lock").models["tiny"]
    assert replace(model.spec, size_mb=None) == spec
    assert model.sizes == {file: len(files[file]) for file in spec.files}
    result = run("lock", "tiny")
    assert (result.code, result.err) == (0, "embedry.lock is up to date\n")


def test_any_repository_can_be_locked_and_is_verified_from_then_on(
    small_hub: SmallHub, files: Files, here: Path, tmp_path: Path
) -> None:
    commit = small_hub.commit("acme/unknown", files)
    assert run("lock", "acme/unknown", "--file", "other.lock").code == 0
    model = lock.read(here / "other.lock").models["acme/unknown"]
    assert model.spec.revision == commit
    assert None not in model.spec.files.values()
    small_hub.commit("acme/unknown", files | {"config_sentence_transformers.json": b"{}"})
    use_lock("other.lock")
    assert resolve("acme/unknown").spec.prompts == {"query": "ask: "}
    (weights,) = tmp_path.glob("cache/hub/**/snapshots/*/model.safetensors")
    weights.resolve().write_bytes(files["model.safetensors"][:-1] + b"\0")
    result = run("pull", "--locked", "--file", "other.lock")
    assert result.code == 1
    assert (
        f"model.safetensors of 'acme/unknown' is not the file that the lock file {here / 'other.lock'} names"
        in result.err
    )


def test_models_are_added_and_the_others_stay_byte_for_byte(
    spec: ModelSpec, small_hub: SmallHub, files: Files, here: Path
) -> None:
    run("lock", "tiny")
    first = (here / "embedry.lock").read_bytes()
    registered_anew(spec, prompts={"query": "newer: "})
    small_hub.commit("acme/unknown", files)
    assert run("lock", "acme/unknown", "tiny").code == 0
    text = (here / "embedry.lock").read_bytes()
    assert text.endswith(first.partition(b"format = 1\n")[2])
    assert list(lock.read(here / "embedry.lock").models) == ["acme/unknown", "tiny"]


def test_check_says_that_nothing_differs(spec: ModelSpec, here: Path) -> None:
    run("lock", "tiny")
    result = run("lock", "--check")
    assert (result.code, result.out, result.err) == (0, "", "embedry.lock is up to date\n")


def test_a_prompt_that_changed_in_the_registry_is_overruled_and_shown_by_check(spec: ModelSpec, here: Path) -> None:
    run("lock", "tiny")
    registered_anew(spec, prompts={"query": "newer: "})
    use_lock("embedry.lock")
    assert resolve("tiny").spec.prompts == {"query": "ask: "}
    result = run("lock", "--check")
    assert (result.code, result.err) == (1, "")
    assert result.out == (
        "--- embedry.lock\n"
        "+++ today\n"
        "@@ -17,5 +17,5 @@\n"
        " \n"
        ' [models."tiny".prompts]\n'
        '-"query" = "ask: "\n'
        '+"query" = "newer: "\n'
        " \n"
        ' [models."tiny".files]\n'
    )
    assert run("lock", "--upgrade", "tiny").code == 0
    assert resolve("tiny").spec.prompts == {"query": "newer: "}
    assert run("lock", "--check").code == 0


def test_an_unregistered_model_has_the_fingerprint_that_it_has_without_a_lock(
    small_hub: SmallHub, files: Files
) -> None:
    small_hub.commit("acme/unknown", files)
    fingerprint = resolve("acme/unknown").fingerprint
    run("lock", "acme/unknown")
    use_lock("embedry.lock")
    assert resolve("acme/unknown").fingerprint == fingerprint


def test_a_static_model_is_locked_like_any_other(
    small_hub: SmallHub, checkpoint: Callable[..., Path], tmp_path: Path, here: Path
) -> None:
    tokenizer = Tokenizer.from_file(str(checkpoint("bert") / "tokenizer.json"))
    table = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 8)).astype(np.float32)
    StaticModel(table, tokenizer, normalize=True).save_pretrained(tmp_path / "static")
    files = {path.name: path.read_bytes() for path in (tmp_path / "static").iterdir()}
    files["config.json"] = json.dumps(
        json.loads(files["config.json"]) | {"hidden_dim": 8}
    ).encode()  # as published ones have
    small_hub.commit("acme/static", files)
    before = resolve("acme/static")
    vectors = before.encode_query(["a text", "another"])
    assert run("lock", "acme/static").code == 0
    use_lock("embedry.lock")
    under = resolve("acme/static")
    assert None not in under.spec.files.values()
    assert replace(under.spec, files=before.spec.files, size_mb=before.spec.size_mb) == before.spec
    np.testing.assert_array_equal(under.encode_query(["a text", "another"]), vectors)
    assert under.fingerprint == before.fingerprint
    assert run("lock", "--check").code == 0


def test_a_model_in_the_lock_is_not_looked_up_again(small_hub: SmallHub, files: Files) -> None:
    small_hub.commit("acme/unknown", files)
    run("lock", "acme/unknown")
    small_hub.requests.clear()
    result = run("lock", "ACME/unknown")
    assert (result.code, result.err) == (0, "embedry.lock is up to date\n")
    assert small_hub.requests == []


def test_a_locked_repository_that_was_registered_since_takes_its_name(
    small_hub: SmallHub, files: Files, checkpoint: Callable[..., Path], here: Path
) -> None:
    commit = small_hub.commit("acme/later", files)
    assert run("lock", "acme/later").code == 0
    register(
        replace(
            registered(checkpoint("bert"), name="later"), folder=None, repo="acme/later", revision=commit, prompts={}
        )
    )
    result = run("lock", "--check")
    assert result.code == 1
    tables = [line for line in result.out.splitlines() if line[1:].startswith("[models.") and line[0] in "+-"]
    assert '-[models."acme/later"]' in tables
    assert '+[models."later"]' in tables
    assert run("lock", "--upgrade", "acme/later").code == 0
    assert list(lock.read(here / "embedry.lock").models) == ["later"]
    use_lock("embedry.lock")
    assert resolve("acme/later") is resolve("later")
    assert run("lock", "--check").code == 0


def test_check_shows_that_a_model_is_gone_and_goes_on(
    spec: ModelSpec, small_hub: SmallHub, files: Files, here: Path
) -> None:
    small_hub.commit("acme/unknown", files)
    run("lock", "tiny", "acme/unknown")
    before = (here / "embedry.lock").read_bytes()
    unregistered(spec)
    small_hub.commit("acme/unknown", files | {"config_sentence_transformers.json": b"{}"})
    result = run("lock", "--check")
    assert result.code == 1
    assert result.err.startswith("no model is called 'tiny'")
    assert '-[models."tiny"]' in result.out.splitlines()
    assert '-"query" = "ask: "' in result.out.splitlines()
    assert '+[models."tiny"]' not in result.out.splitlines()
    result = run("lock", "--upgrade", "tiny")
    assert result.code == 2
    assert "no model is called 'tiny'" in result.err
    assert (here / "embedry.lock").read_bytes() == before


def test_check_without_a_hub_is_an_error_and_no_diff(
    small_hub: SmallHub, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_hub.commit("acme/unknown", files)
    run("lock", "acme/unknown")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = run("lock", "--check")
    assert (result.code, result.out) == (1, "")
    assert "HF_HUB_OFFLINE" in result.err


def test_what_another_command_added_meanwhile_is_kept(
    spec: ModelSpec, small_hub: SmallHub, files: Files, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_hub.commit("acme/unknown", files)
    download = sources.pull

    def slow(spec: ModelSpec, cache_dir: Path, **options: Any) -> sources.Location:
        if spec.name == "tiny":
            assert run("lock", "acme/unknown").code == 0
        return download(spec, cache_dir, **options)

    monkeypatch.setattr(sources, "pull", slow)
    assert run("lock", "tiny").code == 0
    assert list(lock.read(here / "embedry.lock").models) == ["acme/unknown", "tiny"]


def test_new_weights_on_the_hub_are_shown_by_check_and_not_downloaded(
    small_hub: SmallHub, files: Files, here: Path
) -> None:
    old = small_hub.commit("acme/unknown", files)
    run("lock", "acme/unknown")
    changed = bytearray(files["model.safetensors"])
    changed[-1] ^= 1
    new = small_hub.commit("acme/unknown", files | {"model.safetensors": bytes(changed)})
    small_hub.requests.clear()
    result = run("lock", "--check")
    assert result.code == 1
    lines = result.out.splitlines()
    assert [line for line in lines if line.startswith("-revision")] == [f'-revision = "{old}"']
    assert [line for line in lines if line.startswith("+revision")] == [f'+revision = "{new}"']
    assert sum(line.startswith(('-"model.safetensors"', '+"model.safetensors"')) for line in lines) == 2
    assert not [line for line in lines if "tokenizer.json" in line and line[0] in "+-"]
    assert not small_hub.asked("resolve/" + new + "/model.safetensors")
    assert run("lock", "--upgrade", "acme/unknown").code == 0
    assert lock.read(here / "embedry.lock").models["acme/unknown"].spec.revision == new


def test_weights_that_the_hub_no_longer_has_are_an_error_of_check(
    small_hub: SmallHub, files: Files, here: Path
) -> None:
    small_hub.commit("acme/unknown", files)
    run("lock", "acme/unknown")
    before = (here / "embedry.lock").read_bytes()
    new = small_hub.commit("acme/unknown", {file: files[file] for file in files if file != "model.safetensors"})
    for arguments in (("--check",), ("--upgrade", "acme/unknown")):
        result = run("lock", *arguments)
        assert (result.code, result.out) == (1, "")
        assert result.err == (
            f"error: 'acme/unknown' cannot be locked as it is today: acme/unknown at {new} lacks model.safetensors; "
            "embedry.lock stays as it is\n"
        )
    assert (here / "embedry.lock").read_bytes() == before


def test_of_a_mirror_that_states_nothing_the_files_are_looked_at(small_hub: SmallHub, files: Files, here: Path) -> None:
    small_hub.states_digests = False
    small_hub.commit("acme/unknown", files)
    run("lock", "acme/unknown")
    small_hub.commit("acme/unknown", files | {"tokenizer.json": files["tokenizer.json"] + b" "})
    assert run("lock", "--upgrade", "acme/unknown").code == 0
    sizes = lock.read(here / "embedry.lock").models["acme/unknown"].sizes
    assert sizes == {
        "model.safetensors": len(files["model.safetensors"]),
        "tokenizer.json": len(files["tokenizer.json"]) + 1,
        "config.json": len(files["config.json"]),
    }
    assert run("pull", "--locked").code == 0


def test_pull_locked_fetches_every_model_into_an_empty_cache(
    spec: ModelSpec, small_hub: SmallHub, files: Files, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_hub.commit("acme/unknown", files)
    run("lock", "tiny", "acme/unknown")
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "image"))
    result = run("pull", "--locked", "--compile")
    assert result.code == 0
    assert result.out.count("3 files verified by the entry's digests") == 2
    assert result.out.count("compiled for") == 2
    small_hub.faults.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv(lock.VARIABLE, "embedry.lock")
    assert resolve("acme/unknown").encode_query(["a text"]).shape == (1, 48)
    assert str(tmp_path / "image") in resolve("tiny").load().info["graph"]


def test_pull_locked_takes_the_lock_that_is_named(
    spec: ModelSpec, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("lock", "tiny", "--file", "other.lock")
    result = run("pull", "--locked")
    assert result.code == 1
    assert f"the lock file {here / 'embedry.lock'} cannot be read: No such file or directory; write one" in result.err
    monkeypatch.setenv(lock.VARIABLE, str(here / "other.lock"))
    assert run("pull", "--locked").code == 0
    (tmp_path / "empty.lock").write_text("format = 1\n")
    result = run("pull", "--locked", "--file", tmp_path / "empty.lock")
    assert (result.code, result.out) == (0, "")


def test_the_command_of_a_message_fetches_what_was_locked_and_not_what_there_is_today(
    small_hub: SmallHub, files: Files, here: Path, tmp_path: Path
) -> None:
    commit = small_hub.commit("acme/unknown", files)
    small_hub.commit("acme/other", files)
    run("lock", "acme/unknown", "acme/other")
    small_hub.commit("acme/unknown", files | {"tokenizer.json": files["tokenizer.json"] + b" "})
    (damaged,) = tmp_path.glob(f"cache/hub/**/snapshots/{commit}/tokenizer.json")
    damaged.resolve().write_bytes(b"{}")
    use_lock("embedry.lock")
    with pytest.raises(LockError) as error:
        resolve("acme/unknown").load()
    use_lock(None)
    fix = str(error.value).partition("fetch it again: embedry ")[2]
    result = run(*shlex.split(fix))
    assert result.code == 0
    assert "acme/other" not in result.out
    use_lock("embedry.lock")
    assert resolve("acme/unknown").load().encode_query(["a text"]).shape == (1, 48)


def test_a_locked_model_that_cannot_be_downloaded_has_the_command_that_fetches_it(
    small_hub: SmallHub, files: Files, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_hub.commit("acme/unknown", files)
    run("lock", "acme/unknown")
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "image"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    use_lock("embedry.lock")
    with pytest.raises(DownloadError) as error:
        resolve("acme/unknown").load()
    command = f"embedry pull acme/unknown --locked --file {here / 'embedry.lock'}"
    assert f"with a network: {command}; by hand" in str(error.value)


def test_doctor_shows_the_lock_file_and_finds_a_damaged_one(
    spec: ModelSpec, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("lock", "tiny")
    assert json.loads(run("doctor", "--json").out)["lock file"] == {}
    monkeypatch.setenv(lock.VARIABLE, "embedry.lock")
    assert json.loads(run("doctor", "--json").out)["lock file"] == {str(here / "embedry.lock"): "tiny"}
    (here / "embedry.lock").write_text("format = ")
    result = run("doctor", "--json")
    assert result.code == 1
    (problem,) = json.loads(result.out)["problems"]
    assert problem.startswith(f"EMBEDRY_LOCK: the lock file {here / 'embedry.lock'} cannot be read: Invalid value")


def test_pull_locked_refuses_a_size_that_was_edited(spec: ModelSpec, files: Files, here: Path) -> None:
    run("lock", "tiny")
    size = len(files["config.json"])
    path = here / "embedry.lock"
    path.write_text(path.read_text().replace(f"size = {size} }}", "size = 1234567 }"))
    result = run("pull", "--locked")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"error: config.json of 'tiny' has {size:,} bytes and the digest that the lock file {path} names, which says 1,234,567 "
        "bytes; restore the lock file, or delete the model there and add it again: "
        f"embedry lock tiny --file {path}\n"
    )


def test_files_of_main_are_as_good_where_the_hub_lost_the_revision(
    small_hub: SmallHub, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = small_hub.commit("acme/unknown", files)
    run("lock", "acme/unknown")
    small_hub.commit("acme/unknown", files | {"README.md": b"new"})
    small_hub.forget("acme/unknown", commit)
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "image"))
    assert run("pull", "--locked").code == 0
    small_hub.commit("acme/unknown", files | {"tokenizer.json": files["tokenizer.json"] + b" "})
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "another"))
    result = run("pull", "--locked")
    assert result.code == 1
    assert "these files are not the ones that the entry names: tokenizer.json" in result.err


def test_a_command_under_a_lock_knows_only_its_models(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    run("lock", "tiny")
    monkeypatch.setenv(lock.VARIABLE, "embedry.lock")
    assert run("info", "tiny").code == 0
    result = run("info", "all-MiniLM-L6-v2")
    assert result.code == 1
    assert result.err == (
        f"error: 'all-MiniLM-L6-v2' is not in the lock file {here / 'embedry.lock'}, which has tiny; "
        f"add it: embedry lock all-MiniLM-L6-v2 --file {here / 'embedry.lock'}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "give models to lock, --upgrade MODEL, or --check alone"),
        (("--check", "tiny"), 2, "give models to lock, --upgrade MODEL, or --check alone"),
        (
            ("--check",),
            1,
            "the lock file embedry.lock cannot be read: No such file or directory; write one: embedry lock MODEL --file embedry.lock",
        ),
        (("--upgrade", "tiny"), 1, "the lock file embedry.lock cannot be read"),
        (("nobody-knows-it",), 2, "no model is called 'nobody-knows-it'"),
        (("./folder",), 2, "no model is called './folder'"),
        (("minilm", "--file", "no/x.lock"), 1, "there is no folder no to write x.lock to"),
    ],
)
def test_what_cannot_be_locked_is_an_error_and_writes_nothing(
    arguments: tuple[str, ...], code: int, sentence: str, here: Path
) -> None:
    result = run("lock", *arguments)
    assert result.code == code
    assert sentence in result.err
    assert not list(here.iterdir())


def test_pull_takes_a_model_or_the_lock(here: Path) -> None:
    result = run("pull")
    assert result.code == 2
    assert "give a model, or --locked for all models of the lock file" in result.err
    result = run("pull", "minilm", "--file", "embedry.lock")
    assert result.code == 2
    assert "--file is the lock file; give --locked too" in result.err


def test_the_conformance_checks_run_for_a_locked_model(
    spec: ModelSpec, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("lock", "tiny")
    monkeypatch.setenv(lock.VARIABLE, "embedry.lock")
    result = run("check", "tiny")
    assert result.code == 0, result.out
    assert " 0 failed" in result.out
