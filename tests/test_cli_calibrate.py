"""`embedry calibrate`: it measures what torch sees, and what it writes gives int8 vectors as near to fp32 as it says."""

import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, load_file
from transformers import AutoModel, AutoTokenizer

import embedry_graphs as graphs
from checkpoints import FAMILIES
from command_line import Result, run
from embedry import Int8, IntegrityError, ModelSpec, Pooling, Resource, lock, register, resolve, use_lock
from embedry.registry import installed
from embedry.testing.texts import MIXED
from embedry_cli import calibrate
from embedry_onnxruntime import backend as onnxruntime
from entries import registered
from small_hub import SmallHub

Checkpoint = Callable[..., Path]
Fresh = Callable[..., subprocess.CompletedProcess[str]]

WORDS = ["paper", "river", "seven", "cloud", "against", "music", "window", "early", "market", "garden", "because"]
TEXTS = [" ".join(WORDS[(7 * n + 3 * at * (1 + n % 4)) % 11] for at in range(1 + n % 40)) + f" {n}" for n in range(160)]
PROMPTS = {"query": "find this: ", "document": "read: "}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with the texts, and an empty cache; no lock is left in use."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "texts.txt").write_text("\n".join(TEXTS))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EMBEDRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(lock.VARIABLE, raising=False)
    yield folder
    use_lock(None)


def seen_by_torch(spec: ModelSpec, folder: Path, texts: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
    """The least and the greatest value of each channel that enters a product, in transformers' own model.

    Of a model that pools first tokens, the last layer counts no others behind its attention.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    family: Any = import_module(graphs.FAMILIES[spec.architecture])
    last = model.config.num_hidden_layers - 1
    found: dict[str, torch.Tensor] = {}

    def watch(place: str, module: torch.nn.Module, tokens: int | None) -> None:
        def note(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            rows = inputs[0].reshape(-1, inputs[0].shape[-1])[:tokens]
            low, high = rows.amin(dim=0), rows.amax(dim=0)
            found[f"{place}.low"] = torch.minimum(found.get(f"{place}.low", low), low)
            found[f"{place}.high"] = torch.maximum(found.get(f"{place}.high", high), high)

        module.register_forward_pre_hook(note)

    for number in range(last + 1):
        names = family.layer_names(number)
        tokens = 1 if number == last and spec.chain[0] == Pooling(mode="cls") else None
        watch(f"{number}.attention", model.get_submodule(names.query), None)
        watch(f"{number}.attended", model.get_submodule(names.attention_out), tokens)
        watch(f"{number}.feed_forward", model.get_submodule(names.feed_forward_in), tokens)
        watch(f"{number}.hidden", model.get_submodule(names.feed_forward_out), tokens)
    with torch.inference_mode():
        for text in texts:
            for prompt in PROMPTS.values():
                model(**tokenizer(prompt + text, truncation=True, max_length=spec.max_seq_length, return_tensors="pt"))
    return {name: values.numpy() for name, values in found.items()}


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """For torch, whose threads wait for each other after every small product, which takes long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_what_is_measured_is_what_torch_sees(checkpoint: Checkpoint, family: str, pooling: str) -> None:
    folder = checkpoint(family, pooling, prompts=PROMPTS)
    exact = resolve(folder)
    texts = [*MIXED, *TEXTS[:20]]
    found, expected = load(calibrate.ranges(exact, onnxruntime, texts)), seen_by_torch(exact.spec, folder, texts)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4 * np.abs(values).max(), err_msg=name)


def held_out(texts: Sequence[str]) -> list[str]:
    """A fifth, and at least 32, of those that differ."""
    differing = sorted(
        {text for text in texts if text.strip()}, key=lambda text: hashlib.sha256(text.encode()).digest()
    )
    return differing[: max(32, len(differing) // 5)]


def printed(result: Result) -> tuple[dict[str, str], Int8 | None]:
    """The facts, and what goes into the entry."""
    assert result.code == 0, result.err
    facts, _, source = result.out.partition("\n\n")
    named = (line.rstrip().split("  ", 1) for line in facts.splitlines())
    int8 = (
        eval(source.strip().removeprefix("int8=").removesuffix(","), {"Int8": Int8, "Resource": Resource})
        if source
        else None
    )
    return {name: value.strip() for name, value in named}, int8


def cosines(spec: ModelSpec, texts: Sequence[str], roles: Sequence[str] = ("document",)) -> NDArray[np.float64]:
    """Between fp32 and int8, of the vectors of all texts in all roles."""
    exact, quick = resolve(spec), resolve(spec, precision="int8")
    found = [np.einsum("ij,ij->i", exact.encode(texts, role=role), quick.encode(texts, role=role)) for role in roles]
    return np.concatenate(found).astype(np.float64)


@pytest.mark.parametrize("prompts", [{}, PROMPTS])
def test_a_folder_is_calibrated_and_int8_is_as_near_as_the_command_says_in_a_new_process(
    checkpoint: Checkpoint, here: Path, fresh: Fresh, prompts: dict[str, str]
) -> None:
    folder = checkpoint("bert", prompts=prompts)
    facts, int8 = printed(run("calibrate", folder, "texts.txt"))
    path = here / "model.int8.safetensors"
    assert int8 is not None
    assert int8.calibration == Resource(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    spec = replace(resolve(folder).spec, int8=int8)
    found = cosines(spec, held_out(TEXTS), ("query", "document") if prompts else ("document",))
    assert float(facts["mean cosine"]) == pytest.approx(found.mean(), abs=2e-5)
    assert float(facts["lowest cosine"]) == pytest.approx(found.min(), abs=2e-5)
    unusual = cosines(spec, MIXED, ("query", "document") if prompts else ("document",)).mean()
    assert facts["of unusual texts"] == f"{unusual:.5f} in the mean"
    assert int8.cosine <= min(found.mean(), unusual) < int8.cosine + 0.005
    assert facts["calibrated on"] == "128 texts and 12 unusual ones"
    assert facts["compared on"] == "32 texts that were held out"
    code = (
        "from dataclasses import replace; from embedry import Int8, Resource, resolve; import numpy as np\n"
        f"spec = replace(resolve({str(folder)!r}).spec, int8={int8!r})\n"
        f"np.save('vectors', resolve(spec, precision='int8').encode_document({TEXTS[:9]!r}))"
    )
    fresh(code)
    np.testing.assert_array_equal(
        np.load(here.parent / "vectors.npy"), resolve(spec, precision="int8").encode_document(TEXTS[:9])
    )


def test_the_texts_that_were_held_out_did_not_calibrate(checkpoint: Checkpoint, here: Path) -> None:
    folder = checkpoint("bert")
    printed(run("calibrate", folder, "texts.txt"))
    measured = [text for text in TEXTS if text not in held_out(TEXTS)]
    found = load_file(here / "model.int8.safetensors")
    expected = load(calibrate.ranges(resolve(folder), onnxruntime, [*MIXED, *measured]))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_order_repeats_and_blank_lines_change_nothing_and_a_sample_is_always_the_same(
    checkpoint: Checkpoint, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "MOST", 120)
    monkeypatch.setattr(calibrate, "_BLOCK", 50)
    folder = checkpoint("bert")
    facts, first = printed(run("calibrate", folder, "texts.txt"))
    assert facts["calibrated on"] == "88 texts and 12 unusual ones"
    lines = [*TEXTS, *TEXTS[:30], "", "  "]
    random.Random(0).shuffle(lines)
    jsonl = "\n".join(json.dumps({"body": line}) for line in lines).encode()
    options = ("--format", "jsonl", "--column", "body", "-o", "other.safetensors", "--json")
    second = json.loads(run("calibrate", folder, "-", *options, stdin=jsonl).out)
    assert first is not None
    assert first.calibration.sha256 == second["int8"]["calibration"]["sha256"]
    assert (second["calibrated_on"], f"{second['mean']:.5f}") == (88, facts["mean cosine"])


def test_a_calibration_in_a_package_is_named_by_it_and_found_in_a_new_process(
    checkpoint: Checkpoint, here: Path, tmp_path: Path, plugin: Callable[..., Path], fresh: Fresh
) -> None:
    spec = registered(checkpoint("roberta"), name="packed")
    site = plugin("acme", {"embedry": {"acme": "acme_pack"}}, {})
    (site / "acme_pack" / "int8").mkdir(parents=True)
    (site / "acme_pack" / "__init__.py").touch()
    output = site / "acme_pack" / "int8" / "packed.safetensors"
    _, int8 = printed(run("calibrate", spec.folder, "texts.txt", "--to", output))
    assert int8 is not None
    assert (int8.calibration.package, int8.calibration.path) == ("acme_pack", "int8/packed.safetensors")
    (site / "acme_pack" / "__init__.py").write_text(
        "import json\nfrom embedry import ModelSpec, hookimpl\n\n\n@hookimpl\ndef embedry_models():\n"
        f"    return [ModelSpec.from_dict(json.loads({json.dumps(replace(spec, int8=int8).to_dict())!r}))]\n"
    )
    code = (
        "from embedry import resolve; import numpy as np\n"
        f"one, other = (resolve('packed', precision=p).encode_document({TEXTS[:9]!r}) for p in ('fp32', 'int8'))\n"
        "print((one * other).sum(axis=1).min(), (one * other).sum(axis=1).max())"
    )
    least, greatest = map(float, fresh(code, path=site).stdout.split())
    assert 0.98 < least <= greatest < 1 - 1e-7


@pytest.fixture
def locked(small_hub: SmallHub, checkpoint: Checkpoint, here: Path) -> ModelSpec:
    """A registered model in `project/embedry.lock`."""
    folder = checkpoint("bert")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    spec = replace(
        registered(folder, name="tiny"), folder=None, repo="acme/tiny", revision=small_hub.commit("acme/tiny", files)
    )
    register(spec)
    (here / "project").mkdir()
    assert run("lock", "tiny", "--file", "project/embedry.lock").code == 0
    return spec


def test_a_calibration_beside_a_lock_file_is_found_from_everywhere_and_moves_with_it(
    locked: ModelSpec, here: Path, tmp_path: Path, fresh: Fresh
) -> None:
    path = here / "project" / "embedry.lock"
    sizes = lock.read(path).models["tiny"].sizes
    facts, source = printed(run("calibrate", "tiny", "texts.txt", "--lock", "project/embedry.lock"))
    assert source is None
    assert facts["added to"] == "project/embedry.lock"
    model = lock.read(path).models["tiny"]
    assert model.sizes == sizes
    int8 = model.spec.int8
    assert int8 is not None
    assert replace(model.spec, int8=None, size_mb=None) == locked
    assert (int8.calibration.package, int8.calibration.path) == (None, "tiny.int8.safetensors")
    result = run("lock", "--check", "--file", path)
    assert (result.code, result.out) == (0, ""), "what is the application's own is no difference"
    assert run("lock", "--upgrade", "tiny", "--file", path).code == 0
    assert lock.read(path).models["tiny"].spec.int8 == int8

    moved = Path(shutil.move(here / "project", tmp_path / "elsewhere"))
    code = (
        "from embedry import resolve; import numpy as np\n"
        f"np.save('vectors', resolve('tiny', precision='int8').encode_document({held_out(TEXTS)!r}))"
    )
    fresh(code, env={lock.VARIABLE: str(moved / "embedry.lock")})
    use_lock(moved / "embedry.lock")
    quick = np.load(tmp_path / "vectors.npy")
    np.testing.assert_array_equal(quick, resolve("tiny", precision="int8").encode_document(held_out(TEXTS)))
    found = np.einsum("ij,ij->i", quick, resolve("tiny").encode_document(held_out(TEXTS)))
    assert float(facts["mean cosine"]) == pytest.approx(found.mean(), abs=2e-5)

    with open(moved / "tiny.int8.safetensors", "ab") as file:
        file.write(b" ")
    resolve("tiny", precision="int8").unload()
    with pytest.raises(IntegrityError, match=r"tiny\.int8\.safetensors is not the file that the model's entry names"):
        resolve("tiny", precision="int8", threads=1).load()


def test_new_weights_need_a_new_calibration(locked: ModelSpec, here: Path, small_hub: SmallHub) -> None:
    path = here / "project" / "embedry.lock"
    printed(run("calibrate", "tiny", "texts.txt", "--lock", path))
    del installed()._by_name["tiny"], installed()._by_name["acme/tiny"]
    commit = small_hub.commit("acme/tiny", {**dict.fromkeys(locked.files, b"new"), "model.safetensors": b"new weights"})
    digests = {file: hashlib.sha256(b"new weights" if "model" in file else b"new").hexdigest() for file in locked.files}
    register(replace(locked, revision=commit, files=digests))
    result = run("lock", "--check", "--file", path)
    assert result.code == 1
    assert "-int8 = " in result.out
    assert run("lock", "--upgrade", "tiny", "--file", path).code == 0
    assert lock.read(path).models["tiny"].spec.int8 is None


def refused(*arguments: object, stdin: bytes = b"") -> str:
    """The message of a command that fails, leaving nothing behind."""
    before = set(Path().rglob("*"))
    result = run("calibrate", *arguments, stdin=stdin)
    assert result.code in (1, 2)
    assert result.out == ""
    assert set(Path().rglob("*")) == before
    return result.err


def test_what_cannot_be_calibrated_is_refused_by_name(checkpoint: Checkpoint, reranker: ModelSpec) -> None:
    assert "'tiny-reranker' is a reranker, and int8 is for models that give one vector" in refused(
        "tiny-reranker", "texts.txt"
    )
    told = refused("nomic-embed-text-v1.5", "texts.txt")
    assert (
        "'nomic-embed-text-v1.5' cannot be calibrated for int8: 8-bit products are written for bert, distilbert" in told
    )
    assert "not for 'nomic_bert'" in told
    folder = checkpoint("bert")
    told = refused(folder, "texts.txt", "--backend", "transformers")
    assert "the backend 'transformers' does not calibrate models for int8, as 'onnxruntime' does" in told


def test_texts_that_are_too_few_or_no_text_are_refused(checkpoint: Checkpoint) -> None:
    folder = checkpoint("bert")
    lines = "\n".join([*TEXTS[:99], *TEXTS[:50], "", ""])
    assert "99 texts, not counting blank and equal ones, and a calibration takes at least 100" in refused(
        folder, "-", stdin=lines.encode()
    )
    assert "there is no file absent.txt" in refused(folder, "absent.txt")
    assert r"-:1: " in refused(folder, "-", "--format", "jsonl", stdin=b'{"text": "\\ud800"}')


def test_an_output_that_cannot_be_written_is_refused(checkpoint: Checkpoint, here: Path, locked: ModelSpec) -> None:
    folder = checkpoint("bert")
    (here / "model.int8.safetensors").write_text("mine")
    assert "model.int8.safetensors exists; name another file, or replace it: --overwrite" in refused(
        folder, "texts.txt"
    )
    assert "there is no folder" in refused(folder, "texts.txt", "--to", "absent/a.safetensors")
    told = refused("tiny", "texts.txt", "--lock", "project/embedry.lock", "--to", "project/../a.safetensors")
    assert f"{here / 'a.safetensors'} is not beside project/embedry.lock, whose entry is to name it" in told
    assert "'minilm' is not in the lock file" in refused("minilm", "texts.txt", "--lock", "project/embedry.lock")
    use_lock(None)
    printed(run("calibrate", folder, "texts.txt", "--overwrite"))
    assert load_file(here / "model.int8.safetensors")


def test_a_model_that_int8_does_not_suit_is_told(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint("bert")
    assert run("calibrate", folder, "texts.txt").err == ""
    monkeypatch.setattr(calibrate, "_UNSUITABLE", 1.0)
    result = run("calibrate", folder, "texts.txt", "--overwrite")
    assert result.code == 0
    assert "warning: int8 does not suit 'model': its mean cosine to fp32 is below 1.0; stay with fp32" in result.err
