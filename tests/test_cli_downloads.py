"""What a terminal shows while the files of a model arrive: bytes, rate and time left, on stderr."""

import os
import re
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from rich.progress import Progress

from command_line import run
from embedry import ModelSpec
from embedry._files import hub, sources
from embedry_cli import downloads
from entries import entry
from small_hub import SmallHub


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EMBEDRY_CACHE", str(folder))
    return folder


def test_a_bar_has_bytes_rate_and_time_left(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Event()

    class Watched(Progress):
        def update(self, *arguments: Any, **fields: Any) -> None:
            super().update(*arguments, **fields)
            if fields["completed"] == 60_000_000:
                drawn.set()

    def pull(spec: ModelSpec, cache_dir: Path, **_: Any) -> sources.Location:
        blobs = cache_dir / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2" / "blobs"
        blobs.mkdir(parents=True)
        for name, size in (("tokenizer", 10_000_000), ("weights.incomplete", 50_000_000)):
            with open(blobs / name, "wb") as file:
                os.truncate(file.fileno(), size)
        assert drawn.wait(60)
        return sources.Location(blobs, "the Hugging Face hub")

    monkeypatch.setattr(sources, "pull", pull)
    monkeypatch.setattr(downloads, "Progress", Watched)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then writes as to a terminal
    monkeypatch.setenv("COLUMNS", "100")
    result = run("pull", "minilm")
    assert result.code == 0
    assert "downloading all-MiniLM-L6-v2 (91 MB)" in result.err
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", result.err)
    assert re.search(r"all-MiniLM-L6-v2 ━.* 60\.0/91\.0 MB .*(\d:\d\d|-:--)", plain), plain
    assert "MB/s" in plain or " ? " in plain
    assert "60.0/91.0" not in result.out


def test_what_the_hubs_client_writes_is_what_is_counted(small_hub: SmallHub, cache: Path) -> None:
    files = {"model.safetensors": bytes(3_000_000), "tokenizer.json": bytes(2_000), "config.json": b"{}"}
    commit = small_hub.commit("acme/tiny", files | {"unused.bin": bytes(500)})
    spec = entry(name="tiny", repo="acme/tiny", revision=commit, files=dict.fromkeys(files))
    assert downloads._bytes(spec) == 0
    hub.download("acme/tiny", commit, list(files), cache)
    assert downloads._bytes(spec) == downloads._size(spec) == 3_002_002
    assert downloads._size(replace(spec, size_mb=5)) == 5_000_000
    assert downloads._size(replace(spec, repo=None, revision=None)) is None


def test_nothing_is_shown_where_stderr_is_no_terminal(minilm_folder: Path) -> None:
    assert run("pull", "minilm").err == ""
