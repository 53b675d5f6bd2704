"""`embedry pin`: what it prints evaluates to the entry that it stands for, and a package that it writes registers that."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command_line import run
from embedry import (
    BertNormalizer,
    Dense,
    Int8,
    LayerNorm,
    LibraryModule,
    Matryoshka,
    ModelSpec,
    Normalize,
    Pooling,
    Resource,
    Transformer,
    WheelSource,
    list_models,
    register,
    resolve,
)
from embedry_cli import source
from entries import COMMIT, entry, hub_cache
from small_hub import Fault, SmallHub

Files = dict[str, bytes]
Fresh = Callable[..., subprocess.CompletedProcess[str]]

PROMPTS = {"query": 'find "this" — it\'s\n\t', "document": "\\ passage：", "clustering": ""}


def evaluated(text: str) -> ModelSpec:
    """The entry that a module's source makes."""
    names: dict[str, ModelSpec] = {}
    exec(text, names)
    return names["SPEC"]


ODD = [
    entry(repo="acme/tiny", revision=COMMIT, prompts=PROMPTS),
    entry(prompts={"query": "'", "document": '"', "a task": "'\"", "b": "\\", "c": "\u202e\x00\U0001f600\xa0"}),
    entry(name="a model", folder="C:\\models\\'new'", license="CC-BY 4.0", size_mb=1, description="x" * 200),
    entry(aliases=("one",), languages=("en", "de"), similarity="dot", onnx="model.onnx", files={
        "model.onnx": "a" * 64, "tokenizer.json": None, "config.json": None,
    }),
    entry(
        transformer=Transformer(path="0", lower_case=True, normalizer=BertNormalizer(strip_accents=False)),
        files={"0/model.safetensors": None, "0/tokenizer.json": None, "0/config.json": None, "2/model.safetensors": None},
        chain=(
            Pooling(mode="cls+mean", include_prompt=False), Dense(path="2", inputs=96, outputs=48, activation="tanh"),
            LayerNorm(), Normalize(),
        ),
    ),
    entry(
        transformer=None, architecture="", chain=(LibraryModule(class_name="sentence_transformers.models.BoW", path=""),),
        matryoshka=Matryoshka(dims=(24, 12), before=(LayerNorm(), Normalize())),
        wheel=WheelSource(package="p", version="1", folder="f"),
        int8=Int8(calibration=Resource(path="c", sha256="b" * 64, package="p"), cosine=0.1 + 0.2),
        golden=Resource(path="g", sha256="c" * 64),
    ),
]  # fmt: skip


@pytest.mark.parametrize("spec", [*list_models(), *ODD], ids=lambda spec: spec.name)
def test_the_source_of_an_entry_evaluates_to_it(spec: ModelSpec) -> None:
    assert evaluated(source.module(spec)) == spec


@pytest.mark.parametrize("spec", [*list_models(), ODD[0], *ODD[2:]], ids=lambda spec: spec.name)
def test_the_source_of_an_entry_is_formatted(spec: ModelSpec) -> None:
    text = source.module(spec)
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "120", "-"],
        input=text, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert formatted.stdout == text


def test_the_source_says_nothing_that_is_the_default() -> None:
    assert source.module(entry(chain=(Pooling(mode="cls", include_prompt=True),))) == (
        "from embedry import ModelSpec, Pooling\n\n"
        "SPEC = ModelSpec(\n"
        '    name="tiny",\n'
        '    files={"model.safetensors": None, "tokenizer.json": None, "config.json": None},\n'
        "    dims=48,\n"
        "    max_seq_length=128,\n"
        '    preferred_backend="onnxruntime",\n'
        '    architecture="bert",\n'
        '    chain=(Pooling(mode="cls"),),\n'
        ")\n"
    )


@pytest.fixture
def files(checkpoint: Callable[..., Path]) -> Files:
    """A small model with odd prompts, as a repository has it."""
    folder = checkpoint("bert")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return found | {"config_sentence_transformers.json": json.dumps({"prompts": PROMPTS}).encode()}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and an empty current one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def expected(files: Files, commit: str, name: str = "tiny") -> ModelSpec:
    """The entry of that model."""
    read = ("model.safetensors", "tokenizer.json", "config.json")
    return entry(
        name=name,
        repo="acme/tiny",
        revision=commit,
        files={file: hashlib.sha256(files[file]).hexdigest() for file in read},
        prompts=PROMPTS,
        license="mit",
        languages=("en", "de"),
        size_mb=round(sum(len(files[file]) for file in read) / 1e6) or None,
    )


def test_pin_prints_the_entry_of_a_repository_with_digests_and_what_its_card_says(
    small_hub: SmallHub, cache: Path, files: Files
) -> None:
    commit = small_hub.commit("acme/tiny", files)
    small_hub.cards["acme/tiny"] = {"license": "mit", "language": ["en", "de"]}
    result = run("pin", "acme/tiny")
    assert (result.code, result.err) == (0, "")
    spec = evaluated(result.out)
    assert spec == replace(expected(files, commit), dims=spec.dims, max_seq_length=spec.max_seq_length)
    assert (spec.dims, spec.max_seq_length) == (resolve("acme/tiny").dims, resolve("acme/tiny").max_seq_length)


def test_pin_takes_another_revision_and_else_the_newest(small_hub: SmallHub, cache: Path, files: Files) -> None:
    old = small_hub.commit("acme/tiny", files, ref="v1")
    small_hub.commit("acme/tiny", files)
    resolve("acme/tiny")  # the cache has this commit of main
    new = small_hub.commit("acme/tiny", files | {"README.md": b"newer"})
    assert evaluated(run("pin", "acme/tiny").out).revision == new
    for revision in ("v1", old):
        assert evaluated(run("pin", "acme/tiny", "--revision", revision).out).revision == old
    result = run("pin", "acme/tiny", "--revision", "v2")
    assert (result.code, result.out) == (1, "")
    assert "has no revision v2 of acme/tiny" in result.err


@pytest.mark.parametrize("card", [None, {}, {"license": ["mit"], "language": [7, None]}, {"language": None}])
def test_a_card_that_says_nothing_leaves_license_and_languages_out(
    small_hub: SmallHub, cache: Path, files: Files, card: dict[str, object] | None
) -> None:
    small_hub.commit("acme/tiny", files)
    if card is not None:
        small_hub.cards["acme/tiny"] = card
    spec = evaluated(run("pin", "acme/tiny").out)
    assert (spec.license, spec.languages) == ("", ())


def test_one_language_need_not_be_a_list(small_hub: SmallHub, cache: Path, files: Files) -> None:
    small_hub.commit("acme/tiny", files)
    small_hub.cards["acme/tiny"] = {"license": "apache-2.0", "language": "en"}
    spec = evaluated(run("pin", "acme/tiny").out)
    assert (spec.license, spec.languages) == ("apache-2.0", ("en",))


def test_what_changed_on_its_way_is_not_pinned(small_hub: SmallHub, cache: Path, files: Files) -> None:
    commit = small_hub.commit("acme/tiny", files)
    small_hub.faults = [Fault(path=f"{commit}/model.safetensors", body=files["model.safetensors"][:-1] + b"?")]
    result = run("pin", "acme/tiny")
    assert (result.code, result.out) == (1, "")
    assert f"error: model.safetensors of acme/tiny at {commit} does not match the digest that the hub" in result.err


def test_what_another_program_left_in_its_cache_is_not_pinned(
    small_hub: SmallHub, cache: Path, files: Files, tmp_path: Path
) -> None:
    small_hub.commit("acme/tiny", files, commit=COMMIT)
    changed = files["model.safetensors"][:-1] + bytes([files["model.safetensors"][-1] ^ 1])
    hub_cache(tmp_path / "hugging-face", "acme/tiny", files | {"model.safetensors": changed})
    assert evaluated(run("pin", "acme/tiny").out).files == expected(files, COMMIT).files


def test_pin_warns_of_digests_that_the_hub_does_not_state(small_hub: SmallHub, cache: Path, files: Files) -> None:
    small_hub.states_digests = False
    commit = small_hub.commit("acme/tiny", files)
    result = run("pin", "acme/tiny")
    assert result.err == (
        "warning: the hub states no digest of config.json, model.safetensors, tokenizer.json; the entry has those of what came\n"
    )
    assert evaluated(result.out).files == expected(files, commit).files


def test_pin_of_a_model_that_the_default_backend_refuses_says_so(
    small_hub: SmallHub, cache: Path, files: Files
) -> None:
    other = json.loads(files["config.json"]) | {"model_type": "electra"}
    small_hub.commit("acme/tiny", files | {"config.json": json.dumps(other).encode()})
    result = run("pin", "acme/tiny")
    assert evaluated(result.out).architecture == "electra"
    assert result.err.startswith("warning: the backend 'onnxruntime' cannot load 'tiny'")


def test_pin_of_a_registered_model_with_all_digests_prints_its_entry_and_asks_nobody(cache: Path) -> None:
    verified = [spec for spec in list_models() if None not in spec.files.values()]
    assert len(verified) > 20
    for spec in verified:
        result = run("pin", spec.name)
        assert (result.code, result.err) == (0, "")
        assert evaluated(result.out) == spec


def test_pin_fills_in_the_digests_that_a_registered_entry_lacks(small_hub: SmallHub, cache: Path, files: Files) -> None:
    commit = small_hub.commit("acme/tiny", files)
    whole = replace(expected(files, commit), aliases=("small",), description="ours")
    register(replace(whole, files=dict.fromkeys(whole.files) | {"config.json": whole.files["config.json"]}))
    assert evaluated(run("pin", "small").out) == whole


def test_pin_of_a_registered_model_at_another_revision_reads_it_anew(
    small_hub: SmallHub, cache: Path, files: Files
) -> None:
    register(entry(name="ours", repo="acme/tiny", revision=COMMIT))
    commit = small_hub.commit("acme/tiny", files)
    spec = evaluated(run("pin", "ours", "--revision", "main").out)
    assert (spec.name, spec.revision, spec.prompts) == ("ours", commit, PROMPTS)


def test_a_repository_whose_name_is_taken_keeps_its_owner(small_hub: SmallHub, cache: Path, files: Files) -> None:
    small_hub.commit("fork/all-MiniLM-L6-v2", files)
    assert evaluated(run("pin", "fork/all-MiniLM-L6-v2").out).name == "fork/all-MiniLM-L6-v2"


def test_pin_of_a_folder_prints_an_entry_for_this_machine(cache: Path, checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("bert")
    spec = evaluated(run("pin", folder).out)
    assert spec.folder == str(folder)
    assert spec.files == {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in spec.files}
    result = run("pin", folder, "--package", "acme-models")
    assert result.code == 2
    assert f"a package cannot contain {folder}, which is a folder of this machine" in result.err
    assert list(Path().iterdir()) == []


def test_where_standard_output_is_not_unicode_the_source_is_escaped(
    small_hub: SmallHub, cache: Path, files: Files, fresh: Fresh
) -> None:
    commit = small_hub.commit("acme/tiny", files)
    code = "import sys; from embedry_cli.app import main; main(sys.argv[1:])"
    environment = os.environ | {
        "HF_ENDPOINT": small_hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_ETAG_TIMEOUT": "60", "PYTHONIOENCODING": "ascii",
    }  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", code, "pin", "acme/tiny"], env=environment, capture_output=True, check=True
    )
    assert evaluated(result.stdout.decode("ascii")).prompts == PROMPTS
    assert evaluated(result.stdout.decode("ascii")).revision == commit


def test_a_package_is_written_whole_installs_and_registers_the_model(
    small_hub: SmallHub, cache: Path, files: Files, fresh: Fresh, tmp_path: Path
) -> None:
    commit = small_hub.commit("acme/tiny", files)
    result = run("pin", "acme/tiny", "--package", "Acme-models")
    assert (result.code, result.err) == (0, "")
    written = [path.relative_to("Acme-models").as_posix() for path in Path("Acme-models").rglob("*") if path.is_file()]
    package = [f"src/acme_models/{name}" for name in ("__init__.py", "py.typed", "tiny.py")]
    assert sorted(written) == ["README.md", "pyproject.toml", *package, "tests/test_conformance.py"]
    assert [path.name for path in Path().iterdir()] == ["Acme-models"]
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, "./Acme-models"], check=True
    )
    right = resolve("acme/tiny").encode_query(["a text"])
    code = """
from embedry import resolve
embedder = resolve("tiny")
print(embedder.spec.revision, *(embedder.encode_query(["a text"])[0].tolist()))
"""
    revision, *vector = fresh(code, path=site).stdout.split()
    assert revision == commit
    assert np.array_equal(np.array(vector, dtype=np.float32), right[0])


def test_an_existing_folder_is_never_written_into(small_hub: SmallHub, cache: Path, files: Files) -> None:
    Path("acme-models").mkdir()
    result = run("pin", "acme/tiny", "--package", "acme-models")
    assert result.code == 2
    assert "acme-models exists already and is not changed" in result.err
    assert small_hub.requests == []
    assert list(Path("acme-models").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("acme/tiny", "--package", "two words"), "a package cannot be called 'two words'"),
        (("acme/tiny", "--package", "../up"), "a package cannot be called '../up'"),
        (("acme/tiny", "--package", "class"), "a package cannot be called 'class'"),
        (("acme/tiny", "--package", "embedry-models"), "the package 'embedry_models' is installed already"),
        (("minilm", "--package", "acme-models"), "'minilm' is registered already, as 'all-MiniLM-L6-v2'"),
        (("./tiny", "--revision", "main"), "--revision is for a repository on the hub, and './tiny' names none"),
        (("tinny",), "no model is called 'tinny'"),
    ],
)
def test_what_cannot_be_pinned_is_refused_before_anything_is_asked(
    small_hub: SmallHub, cache: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run("pin", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert small_hub.requests == []
    assert list(Path().iterdir()) == []
