"""No file of a model makes any engine run code, whatever it says and whatever stands on standard input."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedry import UnsupportedModelError, resolve

BACKENDS = ("onnxruntime", "transformers", "sentence-transformers")

CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
Path({marker!r}).touch()
from transformers import BertConfig, BertModel, BertTokenizer
from sentence_transformers.sentence_transformer.modules import Pooling
class Config(BertConfig):
    model_type = "own"
class Model(BertModel):
    config_class = Config
class Tokenizer(BertTokenizer):
    pass
class Module(Pooling):
    pass
"""

AUTO_MAP = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoTokenizer": "own.Tokenizer"}

WAYS: dict[str, dict[str, Any]] = {
    "an unknown type with a model": {"config.json": {"model_type": "own", "auto_map": AUTO_MAP}},
    "a known type with a model": {"config.json": {"auto_map": {"AutoModel": "own.Model"}}},
    "a configuration class": {"config.json": {"auto_map": {"AutoConfig": "own.Config"}}},
    "a tokenizer": {"tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}},
    "a kernel": {"config.json": {"attn_implementation": "acme/kernel"}},
    "a kernel, by its private name": {"config.json": {"_attn_implementation": "acme/kernel@main:attend"}},
    "a kernel in the library's options": {
        "sentence_bert_config.json": {"model_args": {"attn_implementation": "acme/kernel"}}
    },
    "trust in the library's options": {
        "config.json": {"auto_map": AUTO_MAP},
        "sentence_bert_config.json": {"config_args": {"trust_remote_code": True}},
    },
}


@pytest.fixture
def asking_for_code(checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """A model that works, with code beside it and these settings in its files."""

    def make(changes: dict[str, Any]) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(checkpoint("bert"), folder)
        (folder / "own.py").write_text(CODE.format(marker=str(tmp_path / "ran")))
        for file, settings in changes.items():
            read = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
            (folder / file).write_text(json.dumps(read | settings if isinstance(settings, dict) else settings))
        return folder

    return make


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_names_code_is_refused_by_every_engine(
    asking_for_code: Callable[[dict[str, Any]], Path], tmp_path: Path, way: str, backend: str
) -> None:
    folder = asking_for_code(WAYS[way])
    with pytest.raises(UnsupportedModelError):
        resolve(folder, backend=backend).load()
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_module_of_the_models_own_is_refused_by_every_engine(
    asking_for_code: Callable[[dict[str, Any]], Path], tmp_path: Path, backend: str
) -> None:
    folder = asking_for_code({})
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "own.Module"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UnsupportedModelError, match="never runs code that comes with a model"):
        resolve(folder, backend=backend).load()
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_yes_on_standard_input_runs_no_code_of_a_model(
    asking_for_code: Callable[[dict[str, Any]], Path], tmp_path: Path, backend: str
) -> None:
    folder = asking_for_code(WAYS["an unknown type with a model"])
    command = [sys.executable, "-m", "embedry_cli", "embed", "-", "--to", "-", "--model", str(folder)]
    command += ["--backend", backend]
    result = subprocess.run(
        command, input="first text\ny\ny\ny\n", capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode != 0
    assert "own" in result.stderr
    assert "Do you wish to run" not in result.stdout + result.stderr
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("library", ["transformers", "sentence-transformers"])
def test_the_libraries_are_told_so_too(
    asking_for_code: Callable[[dict[str, Any]], Path], tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of the core is taken away: what is handed to the library refuses by itself."""
    from embedry._files import parsing

    monkeypatch.setattr(parsing, "refuse_code", lambda folder, file: None)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder = asking_for_code(WAYS["an unknown type with a model"])
    with pytest.raises(UnsupportedModelError):
        resolve(folder, backend=library).load()
    assert not list(tmp_path.rglob("ran"))


def test_code_for_tasks_that_make_no_vectors_is_no_reason_to_refuse(
    asking_for_code: Callable[[dict[str, Any]], Path],
) -> None:
    folder = asking_for_code({"config.json": {"auto_map": {"AutoModelForMaskedLM": "own.Masked"}}})
    assert resolve(folder).encode_document(["a text"]).shape == (1, 48)
