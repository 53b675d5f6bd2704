"""Laziness: what may be in memory before a vector is computed."""

import subprocess
from collections.abc import Callable

import pytest

HEAVY = (
    "torch", "transformers", "sentence_transformers", "onnxruntime", "onnx", "tokenizers", "safetensors",
    "huggingface_hub", "numpy", "typer", "rich", "pyarrow", "asyncio", "embedry_layouts",
)  # fmt: skip

Fresh = Callable[..., subprocess.CompletedProcess[str]]


def heavy_after(fresh: Fresh, code: str) -> list[str]:
    probe = f"import sys\n{code}\nprint(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    return fresh(probe).stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import embedry",
        "import embedry; assert len(embedry.list_models()) >= 4",
        "import embedry; assert embedry.resolve('bge-small-en-v1.5').dims == 384",
        "import embedry; assert len(embedry.resolve('e5-small-v2').fingerprint) == 24",
        "import embedry, pickle; e = embedry.resolve('e5-small-v2'); assert pickle.loads(pickle.dumps(e)) is e",
        "from importlib.metadata import entry_points\nfor point in entry_points(group='embedry.backends'): point.load()",
    ],
)
def test_nothing_heavy_is_imported_by(fresh: Fresh, code: str) -> None:
    assert heavy_after(fresh, code) == []


def test_the_default_backend_computes_without_torch_or_the_hub(fresh: Fresh, minilm_folder: object) -> None:
    found = heavy_after(fresh, "import embedry; embedry.resolve('all-MiniLM-L6-v2').embed_query('a')")
    assert {"torch", "transformers", "sentence_transformers", "huggingface_hub"}.isdisjoint(found)
    assert "onnxruntime" in found  # else this test would see nothing at all


def test_a_compiled_model_starts_without_the_compiler(fresh: Fresh, minilm: object) -> None:
    found = heavy_after(fresh, "import embedry; embedry.resolve('all-MiniLM-L6-v2').embed_query('a')")
    assert {"onnx", "safetensors"}.isdisjoint(found)
