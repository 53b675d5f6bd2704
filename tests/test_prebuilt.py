"""A model whose entry names a ready-made ONNX file gives the vectors of sentence-transformers too."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from embedry import BackendError, ModelSpec, UnsupportedModelError, _layouts, resolve

TEXTS = ["", "a text", "another text of a few more words", "one that is longer than all the others are, " * 3]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

Entry = Callable[..., ModelSpec]


@pytest.fixture
def prebuilt(checkpoint: Callable[..., Path], tmp_path: Path) -> Entry:
    """The entry of a checkpoint whose family has no graph of our own, beside an ONNX file that `write` writes."""

    def make(pooling: str, write: Callable[[Path, Path], None]) -> ModelSpec:
        model = checkpoint("bert", pooling)
        (tmp_path / "onnx").mkdir()
        for file in ("config.json", "tokenizer.json"):
            (tmp_path / file).write_bytes((model / file).read_bytes())
        write(model, tmp_path / "onnx" / "model.onnx")
        files = dict.fromkeys(("onnx/model.onnx", "tokenizer.json", "config.json"))
        spec = _layouts.from_folder(model)
        return replace(spec, folder=str(tmp_path), files=files, onnx="onnx/model.onnx")

    return make


def exported(inputs: tuple[str, ...]) -> Callable[[Path, Path], None]:
    """Writes the export of torch, with these inputs: token vectors first, and pooled ones that are not wanted."""

    def write(model: Path, path: Path) -> None:
        import torch
        from transformers import AutoModel

        class Positional(torch.nn.Module):
            """The exporter hands inputs on by position, where these models expect names."""

            def __init__(self) -> None:
                super().__init__()
                self.encoder = AutoModel.from_pretrained(model, attn_implementation="eager", return_dict=False)

            def forward(self, *tensors: torch.Tensor) -> Any:
                return self.encoder(**dict(zip(inputs, tensors, strict=True)))

        axes = {name: {0: "batch", 1: "sequence"} for name in (*inputs, "last_hidden_state")}
        example = tuple(torch.ones(2, 5, dtype=torch.int64) for _ in inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Positional().eval(), example, path, input_names=list(inputs), output_names=["last_hidden_state", "pooled"],
                dynamic_axes=axes, dynamo=False,
            )  # fmt: skip

    return write


def of_one_node(op: str, names: tuple[str, ...], rank: int = 3) -> Callable[[Path, Path], None]:
    """Writes a graph that does nothing but this, with inputs of these names; they and the output have this rank."""

    def write(model: Path, path: Path) -> None:
        *inputs, output = (
            helper.make_tensor_value_info(name, TensorProto.INT64, [None] * rank) for name in (*names, "out")
        )
        graph = helper.make_graph([helper.make_node(op, [names[0]], ["out"])], "small", inputs, [output])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

    return write


@pytest.mark.parametrize("inputs", [INPUTS, INPUTS[:2]])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_export_gives_the_vectors_of_sentence_transformers(
    checkpoint: Callable[..., Path], prebuilt: Entry, tmp_path: Path, pooling: str, inputs: tuple[str, ...]
) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(checkpoint("bert", pooling)), device="cpu").encode(TEXTS)
    embedder = resolve(prebuilt(pooling, exported(inputs)), cache_dir=tmp_path)
    assert np.abs(embedder.encode_document(TEXTS) - expected).max() <= 1e-5
    alone = np.concatenate([embedder.encode_document([text]) for text in TEXTS])
    assert np.abs(alone - expected).max() <= 1e-5
    assert embedder.info["provider"] == "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (of_one_node("Identity", (*INPUTS, "position_ids")), "it takes .*position_ids"),
        (of_one_node("Identity", ("pixel_values",)), "it takes pixel_values"),
        (of_one_node("Identity", INPUTS, rank=2), r"gives out \[.*\]"),
    ],
)
def test_a_file_that_takes_or_gives_something_else_is_refused(
    prebuilt: Entry, tmp_path: Path, write: Any, message: str
) -> None:
    with pytest.raises(
        UnsupportedModelError, match=rf"model\.onnx of .* must take .* token vectors first; .*{message}"
    ):
        resolve(prebuilt("mean", write), cache_dir=tmp_path).load()


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", b"\x08\x08\x12\x07"])
def test_a_broken_file_is_an_error_that_names_it(prebuilt: Entry, tmp_path: Path, content: bytes) -> None:
    spec = prebuilt("mean", lambda _, path: path.write_bytes(content))
    with pytest.raises(BackendError, match=r"onnxruntime [\d.]+ does not accept the graph .*onnx/model\.onnx: "):
        resolve(spec, cache_dir=tmp_path).load()


def test_an_operator_that_the_runtime_lacks_is_an_error_that_names_it(prebuilt: Entry, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"does not accept the graph .*Frobnicate"):
        resolve(prebuilt("mean", of_one_node("Frobnicate", INPUTS)), cache_dir=tmp_path).load()
