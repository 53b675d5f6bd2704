"""Registry entries for tests, and where their plugins and files are found."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

from embedry import ModelSpec, Normalize, Pooling, Resource, _layouts
from embedry._files import digests

COMMIT = "1234567890abcdef1234567890abcdef12345678"


def entry(**changes: Any) -> ModelSpec:
    """A small valid entry, with these fields changed."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "dims": 48,
        "max_seq_length": 128,
        "preferred_backend": "onnxruntime",
        "architecture": "bert",
        "chain": (Pooling(mode="mean"), Normalize()),
        "files": {"model.safetensors": None, "tokenizer.json": None, "config.json": None},
    }
    return ModelSpec(**fields | changes)


def resource(path: Path) -> Resource:
    """A file as an entry names it that belongs to no package."""
    return Resource(path=str(path), sha256=digests.sha256(path))


def registered(folder: Path, **changes: Any) -> ModelSpec:
    """The entry that a checkpoint's own files describe, with their digests, as a plugin would register it."""
    spec = _layouts.from_folder(folder)
    return replace(spec, files={file: digests.sha256(folder / file) for file in spec.files}, **changes)


def points(site: Path, group: str) -> list[EntryPoint]:
    """The entry points of the distributions in a folder."""
    found = distributions(path=[str(site)])
    return sorted((point for one in found for point in one.entry_points.select(group=group)), key=lambda p: p.name)


def hub_cache(root: Path, repo: str, files: Mapping[str, bytes]) -> Path:
    """Puts files into a Hugging Face cache as its client does, at main; returns the snapshot folder."""
    home = root / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    (home / "blobs").mkdir()
    for number, (file, content) in enumerate(files.items()):
        blob = home / "blobs" / f"{number:040x}"
        blob.write_bytes(content)
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).symlink_to(blob)
    return snapshot


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Writes these files below the folder, which is returned."""
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder
