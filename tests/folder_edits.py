"""Edits of a folder that sentence-transformers saved: what its older versions wrote, what people change, what is lost."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from folders import LENGTH, WIDTH

LENGTH_FILE = "sentence_bert_config.json"

OLD_CLASS_NAMES = {
    "Transformer": "sentence_transformers.models.Transformer",
    "Pooling": "sentence_transformers.models.Pooling",
    "Dense": "sentence_transformers.models.Dense",
    "Normalize": "sentence_transformers.models.Normalize",
    "LayerNorm": "sentence_transformers.models.LayerNorm",
    "Dropout": "sentence_transformers.models.Dropout",
}


def change(file: str, **values: Any) -> Callable[[Path], None]:
    """Sets these keys of a JSON file, which may be new; None deletes one."""

    def edit(folder: Path) -> None:
        path = folder / file
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        found = {key: value for key, value in (found | values).items() if value is not None}
        path.write_text(json.dumps(found), encoding="utf-8")

    return edit


def drop(*files: str) -> Callable[[Path], None]:
    """Deletes these files."""

    def edit(folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return edit


def both(*edits: Callable[[Path], None]) -> Callable[[Path], None]:
    """One edit after the other."""

    def edit(folder: Path) -> None:
        for each in edits:
            each(folder)

    return edit


def set_in(file: str, *keys: str, value: Any) -> Callable[[Path], None]:
    """Sets one value deep in a JSON file."""

    def edit(folder: Path) -> None:
        found = json.loads((folder / file).read_text(encoding="utf-8"))
        inner = found
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (folder / file).write_text(json.dumps(found), encoding="utf-8")

    return edit


def length_file(name: str, **values: Any) -> Callable[[Path], None]:
    """The length in a file of this name, as versions before 6 wrote it, and not in tokenizer_config.json."""

    def edit(folder: Path) -> None:
        (folder / "sentence_bert_config.json").unlink()
        change(name, max_seq_length=LENGTH, **values)(folder)
        change("tokenizer_config.json", model_max_length=64, max_length=None)(folder)

    return edit


def rename_modules(names: Mapping[str, str], paths: Mapping[str, str] | None = None) -> Callable[[Path], None]:
    """Gives modules other class names, found by the last part of theirs, and other folders."""

    def edit(folder: Path) -> None:
        listed = json.loads((folder / "modules.json").read_text())
        for module in listed:
            last = module["type"].rpartition(".")[2]
            module["type"] = names.get(last, module["type"])
            path = (paths or {}).get(last)
            if path is not None:
                shutil.move(folder / module["path"], folder / path)
                module["path"] = path
        (folder / "modules.json").write_text(json.dumps(listed))

    return edit


def into_folder(folder: Path) -> None:
    """Moves the transformer into 0_Transformer, as version 0 did, and leaves other weights at the top."""
    (folder / "0_Transformer").mkdir()
    for file in [entry for entry in folder.iterdir() if entry.is_file()]:
        if file.name not in ("modules.json", "config_sentence_transformers.json"):
            shutil.move(file, folder / "0_Transformer")
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(listed))
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / "0_Transformer" / file, folder)
    decoy = {name: -tensor for name, tensor in load_file(folder / "0_Transformer" / "model.safetensors").items()}
    save_file(decoy, folder / "model.safetensors", metadata={"format": "pt"})


def old_pooling(folder: Path) -> None:
    """The switches and the name of the width that versions before 6 wrote."""
    switches = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": WIDTH} | switches))


def weights(make: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    """Changes the tensors of the transformer."""

    def edit(folder: Path) -> None:
        found = make(load_file(folder / "model.safetensors"))
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / "model.safetensors")

    return edit


def to(dtype: torch.dtype) -> Callable[[Path], None]:
    """Weights of the transformer in this format, as its config.json says."""
    name = str(dtype).removeprefix("torch.")
    return both(
        weights(lambda found: {key: tensor.to(dtype) for key, tensor in found.items()}),
        change("config.json", dtype=name),
    )


def old_names(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names that TensorFlow's layer norms left in old checkpoints."""
    ends = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {
        next((name.removesuffix(new) + old for new, old in ends.items() if name.endswith(new)), name): tensor
        for name, tensor in found.items()
    }


def shard(folder: Path) -> None:
    """The transformer's weights in several files."""
    model = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1


def pickled(folder: Path) -> None:
    """The weights as a pickle, as they were before safetensors."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def positions(rows: int) -> Callable[[Path], None]:
    """A position table of so many rows."""
    name = "embeddings.position_embeddings.weight"
    return both(
        weights(lambda found: found | {name: torch.randn(rows, WIDTH) * 0.1}),
        change("config.json", max_position_embeddings=rows),
    )
