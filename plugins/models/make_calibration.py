"""Calibrates an entry of this pack for int8: the inputs of each layer's products, in fp32, over many texts.

    python plugins/models/make_calibration.py all-MiniLM-L6-v2

The result hardly depends on the texts: documentation of the standard library, and many kinds of unusual texts. The entry
states how close the vectors are to those of fp32, and `embedry check MODEL --precision int8` verifies it.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from embedry import ModelSpec, resolve
from embedry._files import sources
from embedry.testing.texts import MIXED
from embedry_graphs import FAMILIES

FOLDER = Path(__file__).parent / "src" / "embedry_models" / "int8"

MODULES_OF_DOCUMENTATION = (
    "argparse", "ast", "asyncio", "calendar", "collections", "configparser", "contextlib", "csv", "dataclasses", "datetime",
    "decimal", "difflib", "email.message", "enum", "fractions", "functools", "heapq", "html.parser", "http.client", "imaplib",
    "inspect", "ipaddress", "json", "locale", "logging", "mailbox", "optparse", "os", "pathlib", "pickle", "random", "shutil",
    "smtplib", "socket", "sqlite3", "statistics", "string", "subprocess", "tarfile", "tempfile", "textwrap", "threading",
    "timeit", "tokenize", "traceback", "turtle", "typing", "unittest.mock", "urllib.request", "uuid", "zipfile",
)  # fmt: skip


def texts() -> list[str]:
    """Unusual texts, and the documentation of modules: the whole and its first paragraph."""
    documentation = [__import__(name, fromlist=["_"]).__doc__ or "" for name in MODULES_OF_DOCUMENTATION]
    return [*MIXED, *documentation, *(text.strip().partition("\n\n")[0] for text in documentation)]


def ranges(spec: ModelSpec, folder: Path, texts: Iterable[str]) -> dict[str, torch.Tensor]:
    """The least and the greatest value of each channel that enters a product, by layer and product."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    family = import_module(FAMILIES[spec.architecture])
    found: dict[str, torch.Tensor] = {}

    def watch(place: str, module: torch.nn.Module) -> None:
        def note(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            rows = inputs[0].reshape(-1, inputs[0].shape[-1])
            low, high = rows.amin(dim=0), rows.amax(dim=0)
            found[f"{place}.low"] = torch.minimum(found.get(f"{place}.low", low), low)
            found[f"{place}.high"] = torch.maximum(found.get(f"{place}.high", high), high)

        module.register_forward_pre_hook(note)

    for number in range(model.config.num_hidden_layers):
        names = family.layer_names(number)
        for place, module in {
            "attention": names.query,
            "attended": names.attention_out,
            "feed_forward": names.feed_forward_in,
            "hidden": names.feed_forward_out,
        }.items():
            watch(f"{number}.{place}", model.get_submodule(module))
    with torch.inference_mode():
        for text in texts:
            for prompted in dict.fromkeys(spec.prompt(role) + text for role in ("query", "document")):
                # One text a batch: padding would be measured as well.
                model(**tokenizer(prompted, truncation=True, max_length=spec.max_seq_length, return_tensors="pt"))
    return {name: values.contiguous() for name, values in found.items()}


def main(name: str) -> None:
    """Writes the calibration of the model `name`."""
    embedder = resolve(name)
    folder = sources.ensure_local(embedder.spec, embedder.config.cache_dir)
    FOLDER.mkdir(exist_ok=True)
    save_file(ranges(embedder.spec, folder, texts()), FOLDER / f"{name}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1])
