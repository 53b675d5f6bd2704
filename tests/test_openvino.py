"""The same graphs on OpenVINO: every family and every kind of model as on the default engine, in bfloat16 within its tolerance,
and nothing computed in another precision than was asked for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agreement
import embedry_openvino
import kind_entries
from agreement import CASES, POOLINGS, TEXTS, furthest
from embedry import (
    LazyEmbedder,
    ModelSpec,
    OptionError,
    UnsupportedModelError,
    resolve,
    resolve_multi_vector,
    resolve_reranker,
    resolve_sparse,
)
from embedry.chains import Kind
from embedry.testing.texts import MIXED
from kind_references import PAIRS
from kind_references import TEXTS as KIND_TEXTS

Checkpoint = Callable[..., Path]
Encode = Callable[..., agreement.Vectors]
Folder = Callable[[Kind, str], Path]

BIASED = ("jina_bert_v2", "jina_bert_v2_qk_post_norm", "mpnet", "t5", "t5-gated")
"""Families whose attention is biased by distance, which reads no long texts here."""

needs_bf16 = pytest.mark.skipif(not embedry_openvino.has_bf16(), reason="this processor does not multiply bfloat16")

_ELSEWHERE = {"electra", "deberta-v2", "modernbert, biases"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new cache: graphs are written by the code under test."""
    return tmp_path_factory.mktemp("cache")


def _longest(family: str) -> int:
    return min(512, agreement.longest(family)) if family in BIASED else agreement.longest(family)


def _some(family: str) -> list[str]:
    """Texts of many lengths, those of a family that reads no long ones shorter."""
    return TEXTS[::3] if family not in BIASED else [text for text in TEXTS[::3] if len(text.split()) < 400]


@pytest.mark.parametrize(("family", "pooling"), CASES)
def test_a_family_gives_the_vectors_of_its_reference_in_batches_and_alone(
    checkpoint: Checkpoint, vectors: Encode, family: str, pooling: str
) -> None:
    texts = _some(family)
    first = checkpoint(family, POOLINGS[family][0], max_seq_length=_longest(family))
    model = checkpoint(family, pooling, max_seq_length=_longest(family))
    reference = agreement.poolings(first, tuple(texts))[pooling]
    assert furthest(vectors(model, texts, backend="openvino"), reference) <= 1e-5
    # Each length for the first time, and again: what was kept of the run before must not be taken for this one's.
    for _ in range(2):
        alone = np.concatenate([vectors(model, [text], backend="openvino") for text in texts[::3]])
        assert furthest(alone, reference[::3]) <= 1e-5


@needs_bf16
@pytest.mark.parametrize("family", POOLINGS)
def test_in_bfloat16_a_familys_vectors_are_near_those_in_fp32(
    checkpoint: Checkpoint, vectors: Encode, family: str
) -> None:
    texts = _some(family)
    model = checkpoint(family, POOLINGS[family][0], max_seq_length=_longest(family))
    exact = vectors(model, texts)
    near = vectors(model, texts, backend="openvino", precision="bf16")
    assert 1e-5 < furthest(near, exact) <= 1e-2, "or it was not computed in bfloat16"
    assert (exact * near).sum(axis=1).mean() >= 0.9999


@pytest.mark.parametrize(("kind", "name"), [
    (kind, name)
    for kind in kind_entries.ENTRIES for name in kind_entries.ENTRIES[kind]
    if name not in _ELSEWHERE and "decoder" not in name and not name.startswith(("saved", "plain"))
])  # fmt: skip
def test_every_kind_of_model_gives_what_the_default_engine_gives(
    kind_folder: Folder, cache: Path, kind: Kind, name: str
) -> None:
    entry = kind_entries.ENTRIES[kind][name](kind_folder(kind, name))
    found, wanted = (_results(kind, entry, cache, backend) for backend in ("openvino", "onnxruntime"))
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-5 if kind == "sparse" else 1e-5)


def _results(kind: Kind, entry: ModelSpec, cache: Path, backend: str) -> list[np.ndarray[Any, Any]]:
    """What a model gives for all texts or pairs, and for some of them alone."""
    options: dict[str, Any] = {"backend": backend, "cache_dir": cache}
    if kind == "reranker":
        reranker = resolve_reranker(entry, **options)
        return [reranker.logits(PAIRS), *(reranker.logits([pair]) for pair in PAIRS[::20])]
    if kind == "sparse":
        sparse = resolve_sparse(entry, **options)
        groups = [KIND_TEXTS, *([text] for text in KIND_TEXTS[::20])]
        return [sparse.encode(group, role="document").to_dense() for group in groups]
    several = resolve_multi_vector(entry, **options)
    return [*several.encode(KIND_TEXTS, role="query"), *several.encode(KIND_TEXTS[:8], role="document")]


@needs_bf16
def test_the_real_model_in_bfloat16(minilm: LazyEmbedder, cache_dir: Path) -> None:
    near = resolve("all-MiniLM-L6-v2", backend="openvino", precision="bf16", cache_dir=cache_dir)
    exact, found = (embedder.encode_document(MIXED) for embedder in (minilm, near))
    assert 1e-5 < furthest(found, exact) <= 1e-2
    assert (exact * found).sum(axis=1).mean() >= 0.9999
    assert near.info["precision"] == "bf16"
    assert near.fingerprint == minilm.fingerprint


def test_int8_has_the_accuracy_that_its_entry_states(minilm: LazyEmbedder, cache_dir: Path) -> None:
    eight = resolve("all-MiniLM-L6-v2", backend="openvino", precision="int8", cache_dir=cache_dir)
    reference = resolve("all-MiniLM-L6-v2", precision="int8", cache_dir=cache_dir)
    assert minilm.spec.int8 is not None
    exact, found = (embedder.encode_document(MIXED) for embedder in (minilm, eight))
    assert minilm.spec.int8.cosine <= (exact * found).sum(axis=1).mean() < 0.99999
    assert (reference.encode_document(MIXED) * found).sum(axis=1).mean() >= 0.9995, "the same steps, rounded alike"
    assert eight.fingerprint == reference.fingerprint != minilm.fingerprint
    assert eight.info["precision"] == "int8"


def test_a_long_text_is_computed_without_all_its_scores_in_memory(checkpoint: Checkpoint, cache: Path) -> None:
    """All scores of 8,000 tokens would be 1 GB a layer, and the mask of this family's windows is 0.3 GB."""
    model = checkpoint("modernbert", "mean", max_seq_length=8192)
    script = (
        "import resource, sys, numpy as np; from embedry import resolve\n"
        "embedder = resolve(sys.argv[1], backend='openvino', cache_dir=sys.argv[2])\n"
        "embedder.encode_document(['a short one'])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "vectors = embedder.encode_document(['paper river seven ' * 2700])\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
        "np.save(sys.argv[2] + '/long.npy', vectors)\n"
    )
    command = [sys.executable, "-c", script, str(model), str(cache)]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 900
    wanted = resolve(model, cache_dir=cache).encode_document(["paper river seven " * 2700])
    assert furthest(np.load(cache / "long.npy"), wanted) <= 1e-5


@pytest.mark.parametrize("family", ["jina_bert_v2", "t5"])
def test_where_long_texts_would_take_gigabytes_a_model_is_refused_by_name(checkpoint: Checkpoint, family: str) -> None:
    model = checkpoint(family, "mean", max_seq_length=1024)
    with pytest.raises(
        UnsupportedModelError, match=rf"{family}.* at most 512 tokens.* this one reads 1,024; try backend="
    ):
        resolve(model, backend="openvino")


@pytest.mark.parametrize(("device", "precision", "message"), [
    ("gpu", "fp32", r"device='gpu' is not available: OpenVINO .* finds CPU"),
    ("gpu:1", "fp16", r"device='gpu:1' is not available"),
    ("npu", "fp16", r"device='npu' is not available"),
    ("cpu", "fp16", r"precision='fp16' is not supported on this cpu: it computes in fp32, .*int8"),
])  # fmt: skip
def test_what_this_machine_does_not_have_is_refused_before_a_file_is_read(
    cache: Path, minilm_folder: Path, device: str, precision: str, message: str
) -> None:
    embedder = resolve("all-MiniLM-L6-v2", backend="openvino", device=device, precision=precision, folder=minilm_folder)
    with pytest.raises(OptionError, match=message):
        embedder.load()


def test_bfloat16_is_refused_where_the_processor_has_none(minilm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO would compute in fp32 there, and not say so."""
    monkeypatch.setattr(embedry_openvino, "cpu_features", lambda: ("avx2", "avx512f"))
    embedder = resolve("all-MiniLM-L6-v2", backend="openvino", precision="bf16", folder=minilm_folder, threads=1)
    with pytest.raises(OptionError, match=r"precision='bf16' .* computes in fp32, int8; bf16 needs AVX-512 BF16, AMX"):
        embedder.load()


def test_openvino_is_imported_without_the_package_that_reports_its_use() -> None:
    script = (
        "import sys; import embedry_openvino; assert 'openvino' not in sys.modules\n"
        "from embedry_openvino.runtime import openvino\n"
        "print(openvino.Core().available_devices, [name for name in sys.modules if name.startswith('openvino_telemetry')])\n"
        "import openvino_telemetry\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['CPU'] []"


def test_memory_does_not_grow_with_each_shape_of_a_batch(checkpoint: Checkpoint, cache: Path) -> None:
    """OpenVINO generates code for every shape, and would keep it: 290 MB for these, even of this model, and not 65."""
    script = (
        "import sys, numpy as np; from embedry import resolve; from embedry._pipeline.heap import HeapTrimmer\n"
        "encoder = resolve(sys.argv[1], backend='openvino', cache_dir=sys.argv[2], threads=1).engine.load().encoder\n"
        "def held():\n"
        "    HeapTrimmer().trim()\n"
        "    return next(int(line.split()[1]) / 1024 for line in open('/proc/self/status') if line.startswith('RssAnon'))\n"
        "shapes = np.random.default_rng(0).permutation([(count, length) for count in range(1, 4) for length in range(3, 203)])\n"
        "def run(some):\n"
        "    for shape in some:\n"
        "        ids = np.full(shape, 2000, dtype=np.int32)\n"
        "        encoder.forward(ids, np.ones_like(ids))\n"
        "run(shapes[:300])\n"
        "before = held()\n"
        "run(shapes[300:])\n"
        "print(held() - before)\n"
    )
    command = [sys.executable, "-c", script, str(checkpoint("bert")), str(cache)]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 150
