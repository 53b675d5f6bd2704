"""Checkpoints of rerankers, sparse and multi-vector models at the sizes of real ones, with random weights, and their ONNX exports."""

import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from contenders import CACHE, COMPLETE

if TYPE_CHECKING:
    import torch

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
READS = 512
COLBERT_DIMS = 128

HOME = CACHE / "benchmarks" / "kinds"


def folder(kind: str) -> Path:
    """The files of a kind's model as sentence-transformers saves them, made when they are needed first."""
    return _made(kind, SAVERS[kind])


def onnx_folder(kind: str) -> Path:
    """The same weights in the form that fastembed reads."""
    return _made(f"{kind}-onnx", EXPORTERS[kind])


def _made(name: str, make: Callable[[Path], None]) -> Path:
    target = HOME / name
    if not target.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOME) as temporary:
            files = Path(temporary) / "files"
            files.mkdir()
            make(files)
            files.rename(target)
    return target


def _save_raw(model: "torch.nn.Module", into: Path) -> None:
    """The transformer with a tokenizer that knows its length."""
    import json

    model.save_pretrained(into)  # type: ignore[operator]
    for file in TOKENIZER:
        shutil.copy(COMPLETE / file, into)
    settings = json.loads((into / "tokenizer_config.json").read_text(encoding="utf-8"))
    (into / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": READS}), encoding="utf-8")


def _save_reranker(into: Path) -> None:
    """The sizes of ms-marco-MiniLM-L6-v2."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=1
    )
    _save_raw(BertForSequenceClassification(config), into / "raw")
    CrossEncoder(str(into / "raw"), device="cpu").save_pretrained(str(into))


def _save_sparse(into: Path) -> None:
    """The sizes of DistilBERT."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    torch.manual_seed(0)
    _save_raw(DistilBertForMaskedLM(DistilBertConfig()), into / "raw")
    modules = [Transformer(str(into / "raw"), max_seq_length=READS, transformer_task="fill-mask"), SpladePooling()]
    SparseEncoder(modules=modules, device="cpu").save_pretrained(str(into))


def _save_multi_vector(into: Path) -> None:
    """The sizes of colbertv2.0."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Normalize
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    _save_raw(BertModel(BertConfig()), into / "raw")
    tokens = {"module_input_name": "token_embeddings"}
    modules = [
        Transformer(str(into / "raw"), max_seq_length=READS, query_expansion={"strategy": "fixed", "length": 32}),
        Dense(768, COLBERT_DIMS, bias=False, activation_function=torch.nn.Identity(), **tokens),
        MultiVectorMask(skiplist_words=list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")),
        Normalize(**tokens),
    ]
    MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(into))


SAVERS: dict[str, Callable[[Path], None]] = {
    "reranker": _save_reranker,
    "sparse": _save_sparse,
    "multi_vector": _save_multi_vector,
}


def _export(model: "torch.nn.Module", file: Path, inputs: list[str], output: str, output_axes: dict[int, str]) -> None:
    import torch

    ids = torch.ones(2, 8, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    given = (ids, mask, torch.zeros_like(ids))[: len(inputs)]
    axes = {key: {0: "batch", 1: "tokens"} for key in inputs} | {output: output_axes}
    file.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), given, str(file), input_names=inputs, output_names=[output], dynamic_axes=axes,
            opset_version=17, dynamo=False,
        )  # fmt: skip


def _beside(kind: str, into: Path) -> None:
    """What fastembed reads besides the graph."""
    for file in ("config.json", *TOKENIZER):
        shutil.copy(folder(kind) / "raw" / file, into)


def _export_reranker(into: Path) -> None:
    import torch
    from transformers import BertForSequenceClassification

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            raw = folder("reranker") / "raw"
            self.model = BertForSequenceClassification.from_pretrained(raw, attn_implementation="eager")

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
            return logits

    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    _export(Logits(), into / "onnx" / "model.onnx", inputs, "logits", {0: "batch"})
    _beside("reranker", into)


def _export_sparse(into: Path) -> None:
    import torch
    from transformers import DistilBertForMaskedLM

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            raw = folder("sparse") / "raw"
            self.model = DistilBertForMaskedLM.from_pretrained(raw, attn_implementation="eager")

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits
            return logits

    _export(Logits(), into / "model.onnx", ["input_ids", "attention_mask"], "output", {0: "batch", 1: "tokens"})
    _beside("sparse", into)


def _export_multi_vector(into: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import BertModel

    class Vectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            model = folder("multi_vector")
            self.model = BertModel.from_pretrained(model / "raw", attn_implementation="eager")
            self.linear = load_file(model / "1_Dense" / "model.safetensors")["linear.weight"]

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            tokens = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            projected: torch.Tensor = tokens @ self.linear.T
            return projected

    # Without token types, as it is published: fastembed puts a marker into the other two.
    _export(Vectors(), into / "model.onnx", ["input_ids", "attention_mask"], "output", {0: "batch", 1: "tokens"})
    _beside("multi_vector", into)


EXPORTERS: dict[str, Callable[[Path], None]] = {
    "reranker": _export_reranker,
    "sparse": _export_sparse,
    "multi_vector": _export_multi_vector,
}
