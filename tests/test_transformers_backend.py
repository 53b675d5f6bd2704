"""The transformers backend: the vectors of sentence-transformers, padded or packed, and nothing loaded in half."""

import inspect
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn.attention.varlen import varlen_attn
from transformers import AutoModel, PreTrainedModel

from checkpoints import FAMILIES
from embedry import BackendError, IntegrityError, OptionError, Pooling, UnsupportedModelError, resolve
from embedry._files import model_config
from embedry.backend import Encoder, LoadRequest
from embedry.testing.subject import TOLERANCE
from embedry_torch.configs import files
from embedry_torch.loading import device as torch_device
from embedry_transformers import loading, packing
from embedry_transformers.chain import Body, pool
from embedry_transformers.encoder import TorchEncoder

BACKEND = "transformers"
CPU = torch.device("cpu")
LONGEST = 128
LENGTHS = (0, 1, 2, 7, 7, 33, 100, LONGEST - 3, LONGEST - 2, 300)
WORDS = ["paper", "river", "seven", "cloud", "against", "music", "window", "early", "market", "garden", "because"]
TEXTS = [" ".join(WORDS[(n * n + at * seed) % len(WORDS)] for at in range(n)) for seed, n in enumerate(LENGTHS, 1)]

PACKED = (
    "bert", "distilbert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "gte", "qwen3", "gemma3_text", "embeddinggemma",
)  # fmt: skip
POOLINGS = ("mean", "cls", "last")
LAYER = {"bert": "encoder.layer.1.output.dense.weight"}

Checkpoint = Callable[..., Path]


def saved(checkpoint: Checkpoint, family: str, pooling: str) -> Path:
    """A checkpoint; sentence-transformers calls the pooling of the last token by another name.

    Its vectors keep their lengths, which tell a mean from a sum.
    """
    return checkpoint(family, {"last": "lasttoken"}.get(pooling, pooling), normalize=False)


def copied(model: Path, folder: Path) -> Path:
    """A copy of a checkpoint, to be changed."""
    return Path(shutil.copytree(model, folder))


def encoder(model: Path, pooling: str = "mean") -> TorchEncoder:
    """The engine over a checkpoint on the CPU."""
    spec = replace(resolve(model).spec, chain=(Pooling(mode=pooling),))
    return TorchEncoder(loaded(model), Body(spec, model, CPU), threads=1)


def loaded(model: Path) -> PreTrainedModel:
    """The transformer of a checkpoint on the CPU."""
    request = LoadRequest(
        spec=resolve(model).spec, folder=model, config=model_config.read(model, "config.json"), device="cpu", precision="fp32",
        threads=1, cache_dir=model,
    )  # fmt: skip
    with files(request) as folder:
        return loading.model(request, folder, CPU, torch.float32)


def rows(*lengths: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Random ids of texts of these lengths, padded with 1, and their mask."""
    random = np.random.default_rng(7)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, np.newaxis]).astype(np.int32)
    return np.where(mask == 1, random.integers(1000, 20_000, mask.shape), 1).astype(np.int32), mask


def furthest(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest difference of two numbers at the same place."""
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_and_pooling_gives_the_vectors_of_sentence_transformers_alone_and_in_batches(
    checkpoint: Checkpoint, family: str, pooling: str
) -> None:
    from sentence_transformers import SentenceTransformer

    model = saved(checkpoint, family, pooling)
    reference = np.asarray(SentenceTransformer(str(model), device="cpu").encode(TEXTS))
    embedder = resolve(model, backend=BACKEND)
    assert furthest(embedder.encode_document(TEXTS), reference) <= 1e-5
    alone = np.concatenate([embedder.encode_document([text]) for text in TEXTS])
    assert furthest(alone, reference) <= 1e-5
    assert np.ptp(reference, axis=0).max() > 0.01, "the texts must be told apart, or this proves nothing"


@pytest.mark.parametrize("lengths", [(70, 3, 1, 25), (6, 6, 6), (12,)], ids=["mixed", "equal", "single"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", PACKED)
def test_a_packed_batch_gives_the_vectors_of_the_padded_one(
    checkpoint: Checkpoint, family: str, pooling: str, lengths: tuple[int, ...]
) -> None:
    check_packed(checkpoint(family), pooling, lengths)


def test_a_packed_batch_looks_back_only_where_the_padded_one_does(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = copied(checkpoint("bert"), tmp_path / "model")
    config = json.loads((model / "config.json").read_text()) | {"is_decoder": True}
    (model / "config.json").write_text(json.dumps(config))
    check_packed(model, "mean", (9, 3, 1, 5))


def check_packed(model: Path, pooling: str, lengths: tuple[int, ...]) -> None:
    """Compares a packed batch of texts of these lengths with the padded one."""
    ids, mask = rows(*lengths)
    pad = json.loads((model / "config.json").read_text())["pad_token_id"]
    ids[mask == 0] = pad
    if lengths[0] > 3:
        ids[0, 2] = pad  # whoever writes "<pad>" into a text gets its id there; RoBERTa's positions skip it
    padded = encoder(model, pooling).forward(ids, mask)
    packed = loaded(model)
    packing.prepare(packed)
    with torch.inference_mode():
        found = packing.pooled(packed, ids, mask, pooling).numpy()
    assert found.dtype == np.float32
    assert furthest(found, padded) <= 1e-5
    assert np.ptp(padded, axis=1).min() > 0.1, "the vectors must have something in them, or this proves nothing"


@pytest.mark.parametrize(
    ("family", "windows"),
    [
        ("bert", [(-1, -1)]),
        ("modernbert", [(-1, -1), (8, 8)]),  # local_attention is 16
        ("qwen3", [(-1, 0)]),
        ("gemma3_text", [(19, 0), (-1, 0)]),  # sliding_window is 20, the first distance that is not seen
        ("embeddinggemma", [(10, 10), (-1, -1)]),
    ],
)
def test_torchs_attention_is_asked_for_what_each_layer_sees(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, family: str, windows: list[tuple[int, int]]
) -> None:
    """The reference, which the vectors above come from, is called as torch's own attention on CUDA is."""
    asked: list[inspect.BoundArguments] = []
    reference = packing._attend_in_turn

    def attend(*args: Any, **options: Any) -> torch.Tensor:
        asked.append(inspect.signature(varlen_attn).bind(*args, **options))
        return reference(*args, **options)

    monkeypatch.setattr(packing, "_attend_in_turn", attend)
    model = loaded(checkpoint(family))
    packing.prepare(model)
    with torch.inference_mode():
        packing.pooled(model, *rows(9, 3, 1), "mean")
    found = [call.arguments for call in asked]
    assert list(dict.fromkeys(each["window_size"] for each in found)) == windows
    for each in found:
        assert each["cu_seq_q"].tolist() == [0, 9, 12, 13]
        assert (each["cu_seq_q"].dtype, each["max_q"], each["max_k"]) == (torch.int32, 9, 9)
        assert [tuple(each[name].shape) for name in ("query", "key")] == (
            [(13, 4, 16), (13, 2, 16)] if each["enable_gqa"] else [(13, 4, 12)] * 2
        )


@pytest.mark.parametrize(
    ("is_causal", "window", "expected"),
    [
        (False, (-1, -1), [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]),
        (True, (-1, 0), [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]),
        (False, (1, 1), [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]),
        (True, (1, 0), [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]),
    ],
)
def test_a_window_reaches_as_far_as_torch_documents(
    is_causal: bool, window: tuple[int, int], expected: list[list[int]]
) -> None:
    """With equal scores a query's result is the mean of the values that it sees."""
    zeros, values = torch.zeros(4, 1, 4), torch.eye(4)[:, None]
    bounds = torch.tensor([0, 4], dtype=torch.int32)
    found = packing._attend_in_turn(
        zeros, zeros, values, bounds, bounds, 4, 4, scale=1.0, window_size=window, enable_gqa=False
    )
    seen = torch.tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(found[:, 0], seen / seen.sum(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"type": "cpu"}, False),
        ({"dtype": torch.float32}, False),
        ({"model_type": "mpnet"}, False),
        ({"model_type": "t5"}, False),
        ({"hidden_size": 48}, False),  # heads of 12 channels
        ({"head_dim": 512}, False),
        ({"capability": (7, 5)}, False),
    ],
)
def test_batches_are_packed_where_torchs_attention_takes_them(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], expected: bool
) -> None:
    asked: dict[str, Any] = {
        "type": "cuda", "dtype": torch.float16, "model_type": "bert", "hidden_size": 256, "head_dim": None, "capability": (8, 0),
    } | changes  # fmt: skip
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: asked["capability"])
    config = SimpleNamespace(num_attention_heads=4, **asked)
    model: Any = SimpleNamespace(device=SimpleNamespace(type=asked["type"]), dtype=asked["dtype"], config=config)
    assert packing.possible(model) is expected


def test_the_cpu_computes_padded_batches(checkpoint: Checkpoint) -> None:
    embedder = resolve(checkpoint("bert"), backend=BACKEND)
    embedder.load()
    assert embedder.info["attention"] == "sdpa"
    assert (embedder.info["device"], embedder.info["precision"]) == ("cpu", "fp32")


@pytest.mark.parametrize("mask", [[[1, 1, 1, 0], [1, 0, 0, 0]], [[0, 1, 1, 1], [0, 0, 0, 1]], [[1, 1, 1, 1]]])
def test_the_last_token_is_the_last_real_one_wherever_the_padding_is(mask: list[list[int]]) -> None:
    tokens = torch.arange(len(mask) * 4 * 2, dtype=torch.float32).reshape(len(mask), 4, 2)
    expected = [
        row[max(place for place, real in enumerate(part) if real)] for row, part in zip(tokens, mask, strict=True)
    ]
    assert torch.equal(pool(tokens, torch.tensor(mask), "last"), torch.stack(expected))


def test_a_mean_of_many_half_precision_tokens_is_taken_in_single() -> None:
    tokens = torch.full((1, 4096, 1), 1.0, dtype=torch.bfloat16)
    tokens[0, 0] = 3.0
    mean = pool(tokens, torch.ones(1, 4096, dtype=torch.long), "mean")
    assert mean.dtype == torch.float32
    assert mean.item() == pytest.approx(1 + 2 / 4096, abs=1e-7)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[tuple[int, ...]]:
    """Lets batches of more than `most` texts run out of memory; returns the shapes that were tried."""
    tried: list[tuple[int, ...]] = []
    plain = TorchEncoder._pooled

    def pooled(self: TorchEncoder, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> torch.Tensor:
        tried.append(ids.shape)
        if len(ids) > most:
            raise torch.OutOfMemoryError("out of memory. Tried to allocate 20 GiB")
        return plain(self, ids, mask)

    monkeypatch.setattr(TorchEncoder, "_pooled", pooled)
    return tried


def test_where_memory_runs_out_the_batch_is_halved_and_the_vectors_stay(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = encoder(checkpoint("bert"))
    ids, mask = rows(20, 19, 12, 9, 5, 4, 3)
    plain = engine.forward(ids, mask)
    tried = short_of_memory(monkeypatch, 2)
    assert furthest(engine.forward(ids, mask), plain) <= 1e-6
    assert tried == [(7, 20), (3, 20), (1, 20), (2, 19), (4, 9), (2, 9), (2, 4)]


def test_one_text_that_does_not_fit_is_an_error_that_says_so(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = encoder(checkpoint("bert"))
    short_of_memory(monkeypatch, 0)
    with pytest.raises(BackendError, match=r"^one text of 9 tokens does not fit into the memory of cpu: .*20 GiB"):
        engine.forward(*rows(9, 4))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_half_precision_is_computed_stated_and_close(checkpoint: Checkpoint, pooling: str, precision: str) -> None:
    model = saved(checkpoint, "bert", pooling)
    full = resolve(model, backend=BACKEND, normalize=True).encode_document(TEXTS)
    embedder = resolve(model, backend=BACKEND, precision=precision, normalize=True)
    vectors = embedder.encode_document(TEXTS)
    assert vectors.dtype == np.float32
    assert 1e-6 < furthest(vectors, full) <= TOLERANCE[precision]
    assert embedder.info["precision"] == precision


def test_a_precision_that_it_does_not_have_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(OptionError, match="does not support precision='int4'; it supports fp32, bf16, fp16"):
        resolve(checkpoint("bert"), backend=BACKEND, precision="int4")


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "cuda:first", "mps:x", "auto:1"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(OptionError, match=rf"^device='{device}' is not available: torch .* only supports cpu$"):
        resolve(checkpoint("bert"), backend=BACKEND, device=device).embed_query("a text")


def test_the_best_device_is_taken_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_device("auto") == torch.device("cuda")


@pytest.mark.parametrize(
    ("architecture", "expected"), [("bert", torch.float16), ("gemma3_text", torch.float32), ("t5", torch.float32)]
)
def test_a_model_that_exceeds_the_range_of_fp16_is_computed_in_fp32_where_there_is_no_bf16(
    monkeypatch: pytest.MonkeyPatch, architecture: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    for device in ("cuda", "mps"):
        assert loading.dtype(None, torch.device(device), architecture) is expected
        assert loading.dtype("fp16", torch.device(device), architecture) is torch.float16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert loading.dtype(None, torch.device("cuda"), architecture) is torch.bfloat16


def missing(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


def left_over(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name.replace(".1.", ".3.")] = torch.ones(2, 2)


def of_another_shape(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.ones(5, 7)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (missing, r"lacks encoder\.layer\.1\.output\.dense\.weight"),
        (left_over, r"has, unaccounted for by its configuration, encoder\.layer\.3\.output\.dense\.weight"),
        (of_another_shape, r"has in the wrong shape .*encoder\.layer\.1\.output\.dense\.weight"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_its_name(
    checkpoint: Checkpoint, tmp_path: Path, damage: Callable[[dict[str, torch.Tensor], str], None], text: str
) -> None:
    model = copied(checkpoint("bert"), tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    damage(tensors, LAYER["bert"])
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match=rf"^model\.safetensors of 'model' {text}"):
        resolve(model, backend=BACKEND, cache_dir=tmp_path / "cache").embed_query("a text")


@pytest.mark.parametrize("options", [{"dense": 16}, {"pooling": "max"}, {"pooling": "weightedmean", "dense": 8}])
def test_dense_layers_and_every_pooling_give_the_vectors_of_the_library(
    checkpoint: Checkpoint, options: dict[str, Any]
) -> None:
    model = checkpoint("bert", **options)
    expected = resolve(model, backend="sentence-transformers").encode_document(TEXTS)
    assert furthest(resolve(model, backend=BACKEND).encode_document(TEXTS), expected) <= 1e-5


def test_a_model_type_that_needs_code_of_its_own_is_refused_as_unsupported(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model = copied(checkpoint("bert"), tmp_path / "model")
    config = json.loads((model / "config.json").read_text()) | {"model_type": "nobody-knows-it"}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match="nobody-knows-it"):
        resolve(model, backend=BACKEND).embed_query("a text")


@pytest.mark.parametrize("model_type", ["bert", "nobody-knows-it"])
def test_code_that_comes_with_a_model_is_never_run(checkpoint: Checkpoint, tmp_path: Path, model_type: str) -> None:
    model = copied(checkpoint("bert"), tmp_path / "model")
    left = tmp_path / "left-by-the-code"
    (model / "theirs.py").write_text(f"open({str(left)!r}, 'w').close()\nclass Theirs: pass\n")
    remote = {"auto_map": {"AutoConfig": "theirs.Theirs", "AutoModel": "theirs.Theirs"}, "model_type": model_type}
    config = json.loads((model / "config.json").read_text()) | remote
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError):
        resolve(model, backend=BACKEND).embed_query("a text")
    assert not left.exists()


def test_bulk_encoding_leaves_the_threads_of_the_application_alone_and_uses_one_a_worker(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    plain = TorchEncoder._pooled

    def pooled(self: TorchEncoder, *batch: NDArray[np.int32]) -> torch.Tensor:
        used.append(torch.get_num_threads())
        return plain(self, *batch)

    monkeypatch.setattr(TorchEncoder, "_pooled", pooled)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        embedder = resolve(checkpoint("bert"), backend=BACKEND, threads=2)
        embedder.encode_document([f"{text} {number}" for number in range(6) for text in TEXTS])
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3, "a thread that the application starts later"
        assert len(used) > 5
        assert set(used) == {1}
        used.clear()
        embedder.embed_query("a single question has all that the embedder may use")
        assert used == [2]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_checkpoint_with_a_pretraining_head_is_loaded_without_a_word(
    checkpoint: Checkpoint, tmp_path: Path, fresh: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    from transformers import AutoModelForMaskedLM

    plain = checkpoint("bert")
    model = copied(plain, tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body = AutoModel.from_pretrained(plain)
        headed = AutoModelForMaskedLM.from_config(body.config)
        headed.base_model.load_state_dict(body.state_dict(), strict=False)
        headed.save_pretrained(tmp_path / "raw")
    shutil.copy(tmp_path / "raw" / "model.safetensors", model)
    result = fresh(
        f"from embedry import resolve\nprint(resolve({str(model)!r}, backend={BACKEND!r}).embed_query('a text'))",
        env={"PYTHONWARNINGS": "default", "EMBEDRY_CACHE": os.environ["EMBEDRY_CACHE"]},
    )
    assert result.stderr == ""
    expected = resolve(plain, backend=BACKEND).encode_query(["a text"])
    assert furthest(np.array([json.loads(result.stdout)], dtype=np.float32), expected) <= 1e-6


def test_workers_that_start_at_the_same_time_leave_the_threads_of_the_application_alone(checkpoint: Checkpoint) -> None:
    path = checkpoint("bert")
    embedders = [resolve(path, backend=name, threads=2) for name in (BACKEND, "sentence-transformers")]
    ids = np.full((1, 4), 101, dtype=np.int32)
    engines = [embedder.engine.load().encoder for embedder in embedders]
    starts = [partial(engine.forward, ids, np.ones_like(ids)) for engine in engines if isinstance(engine, Encoder)] * 4
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for _ in range(20):
            together = Barrier(len(starts), timeout=30)

            def start(worker: Callable[[], object], together: Barrier = together) -> int:
                together.wait()
                worker()
                return torch.get_num_threads()

            with ThreadPoolExecutor(len(starts)) as pool:
                assert set(pool.map(start, starts)) == {1}
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(torch.get_num_threads).result() == 3, "a thread that the application starts later"
    finally:
        torch.set_num_threads(before)
