"""The drop-in beside sentence-transformers itself: the same calls give the same types, shapes, dtypes and numbers."""

import copy
import inspect
import logging
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers
import torch
from numpy.testing import assert_allclose
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding, Transformer
from sentence_transformers.util import SimilarityFunction
from tokenizers import Tokenizer

import embedry_dropin
from embedry import EmbedryError, LazyEmbedder, OptionError, TextTypeError, UnknownOptionError, register, resolve
from embedry_dropin import SentenceTransformer, unsupported
from entries import registered
from folder_edits import change

Fresh = Callable[..., subprocess.CompletedProcess[str]]
Pair = tuple[SentenceTransformer, sentence_transformers.SentenceTransformer]

TEXTS = ["Refunds are paid within 14 days.", "We ship to most of Europe.", "", "Bread", "We ship to most of Europe."]
LONG = "the shop " * 300
SETTINGS = "config_sentence_transformers.json"
E5 = {"query": "query: ", "document": "passage: ", "passage": "another: ", "task": "Instruct: find\nQuery: "}

FOLDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "prompts": ({"prompts": E5}, {}),
    "passage": ({"normalize": False}, {"prompts": {"query": "query: ", "passage": "passage: "}}),
    "default": ({"normalize": False, "dense": 32, "prompts": E5}, {"default_prompt_name": "task", "similarity_fn_name": "dot"}),
}  # fmt: skip
"""How a checkpoint is made, and what is changed in its settings."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads of torch that wait for each other are slow on a machine where other tests run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pairs(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[..., Path], minilm_folder: Path
) -> Mapping[str, Pair]:
    """The same models twice: the drop-in, and the library."""
    found = {}
    for name, (options, settings) in FOLDERS.items():
        folder = tmp_path_factory.mktemp(name) / "model"
        shutil.copytree(checkpoint("bert", **options), folder)
        change(SETTINGS, **settings)(folder)
        found[name] = (
            SentenceTransformer(str(folder)),
            sentence_transformers.SentenceTransformer(str(folder), device="cpu"),
        )
    modules = [Transformer(str(minilm_folder), max_seq_length=256), Pooling(384, pooling_mode="mean"), Normalize()]
    reference = sentence_transformers.SentenceTransformer(modules=modules, device="cpu")
    found["all-MiniLM-L6-v2"] = SentenceTransformer("all-MiniLM-L6-v2"), reference
    return found


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
        return
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    of_steps = np.asarray(theirs).dtype.kind in "iu"  # a component at the border of two steps may fall into either
    assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=0, atol=1 if of_steps else 1e-5)


PROMPTS: dict[str, Callable[[Any], Any]] = {
    "texts": lambda model: model.encode(TEXTS),
    "by position": lambda model: model.encode(TEXTS, "query", None, 2, False),
    "queries": lambda model: model.encode_query(TEXTS),
    "one query": lambda model: model.encode_query(TEXTS[0], normalize_embeddings=True),
    "documents": lambda model: model.encode_document(TEXTS),
    "documents by position": lambda model: model.encode_document(TEXTS, None, None, 2),
    "a prompt": lambda model: model.encode(TEXTS, prompt="search: "),
    "a query with a prompt": lambda model: model.encode_query(TEXTS, prompt="search: "),
    "a prompt before a name": lambda model: model.encode(TEXTS, prompt="search: ", prompt_name="nobody's"),
    "an empty prompt": lambda model: model.encode(TEXTS, prompt=""),
    "a name": lambda model: model.encode(TEXTS, prompt_name="query"),
    "a document by a name": lambda model: model.encode_document(TEXTS, prompt_name="query"),
    "the old name of the texts": lambda model: model.encode_document(sentences=TEXTS),
}
"""Calls whose results depend on the prompts of a model."""

FORMS: dict[str, Callable[[Any], Any]] = {
    "a long text": lambda model: model.encode([*TEXTS, LONG]),
    "one text": lambda model: model.encode(TEXTS[0]),
    "one text in a list": lambda model: model.encode(TEXTS[:1]),
    "a tuple": lambda model: model.encode(tuple(TEXTS)),
    "an array of texts": lambda model: model.encode(np.array(TEXTS)),
    "no text": lambda model: model.encode([]),
    "no text, as a tensor": lambda model: model.encode([], convert_to_tensor=True),
    "no text, as a list": lambda model: model.encode([], convert_to_numpy=False),
    "no text, quantized": lambda model: model.encode([], precision="int8"),
    "unit length": lambda model: model.encode(TEXTS, normalize_embeddings=True),
    "shorter": lambda model: model.encode(TEXTS, truncate_dim=20),
    "shorter, unit length": lambda model: model.encode(TEXTS, truncate_dim=20, normalize_embeddings=True),
    "shorter than it is": lambda model: model.encode(TEXTS, truncate_dim=1000),
    "a tensor": lambda model: model.encode(TEXTS, convert_to_tensor=True),
    "a tensor, not an array": lambda model: model.encode(TEXTS, convert_to_numpy=False, convert_to_tensor=True),
    "a shorter tensor": lambda model: model.encode(TEXTS, convert_to_tensor=True, truncate_dim=20),
    "a list of tensors": lambda model: model.encode(TEXTS, convert_to_numpy=False),
    "one tensor": lambda model: model.encode(TEXTS[0], convert_to_numpy=False),
    "int8": lambda model: model.encode(TEXTS, precision="int8"),
    "uint8, shorter": lambda model: model.encode(TEXTS, precision="uint8", truncate_dim=20, normalize_embeddings=True),
    "binary": lambda model: model.encode(TEXTS, precision="binary"),
    "one in bits": lambda model: model.encode(TEXTS[0], precision="ubinary"),
    "bits of an odd length": lambda model: model.encode(TEXTS, precision="ubinary", truncate_dim=21),
    "a tensor of int8": lambda model: model.encode(TEXTS, precision="int8", convert_to_tensor=True),
    "a list of tensors of bits": lambda model: model.encode(TEXTS, precision="ubinary", convert_to_numpy=False),
    "no precision": lambda model: model.encode(TEXTS, precision=None),
    "a device": lambda model: model.encode(TEXTS, device="cpu"),
    "a task": lambda model: model.encode(TEXTS, task="query"),
    "similarity": lambda model: model.similarity(model.encode(TEXTS), model.encode(TEXTS[:2])),
    "similarity of one": lambda model: model.similarity(model.encode(TEXTS[0]), model.encode(TEXTS)),
    "similarity of tensors": lambda model: model.similarity(*[model.encode(TEXTS, convert_to_numpy=False)] * 2),
    "similarity of pairs": lambda model: model.similarity_pairwise(model.encode(TEXTS), model.encode(TEXTS[::-1])),
    "similarity of two": lambda model: model.similarity_pairwise(model.encode(TEXTS[0]), model.encode(TEXTS[1])),
}
"""Calls that give vectors in other forms."""


@pytest.mark.parametrize("name", FOLDERS)
def test_prompts_are_those_of_the_library(name: str, pairs: Mapping[str, Pair]) -> None:
    assert_all_same(PROMPTS, *pairs[name])


def test_the_forms_of_results_are_those_of_the_library(pairs: Mapping[str, Pair]) -> None:
    assert_all_same(FORMS, *pairs["default"])


def test_the_real_model_gives_what_the_library_gives(pairs: Mapping[str, Pair]) -> None:
    names = ("a long text", "one text", "shorter, unit length", "int8", "similarity")
    assert_all_same({name: FORMS[name] for name in names}, *pairs["all-MiniLM-L6-v2"])


def assert_all_same(calls: Mapping[str, Callable[[Any], Any]], ours: object, theirs: object) -> None:
    for what, call in calls.items():
        try:
            assert_same(call(ours), call(theirs))
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from error


@pytest.mark.parametrize("name", [*FOLDERS, "all-MiniLM-L6-v2"])
def test_a_model_says_of_itself_what_the_library_says(name: str, pairs: Mapping[str, Pair]) -> None:
    ours, theirs = pairs[name]
    for attribute in (
        "prompts",
        "default_prompt_name",
        "similarity_fn_name",
        "truncate_dim",
        "max_seq_length",
        "device",
    ):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert ours.get_embedding_dimension() == theirs.get_embedding_dimension()
    assert ours.get_sentence_embedding_dimension() == ours.get_embedding_dimension()
    assert ours.get_max_seq_length() == theirs.get_max_seq_length()


def test_a_static_model_reads_texts_of_any_length(minilm_folder: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    table = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 16)).astype(np.float32)
    theirs = sentence_transformers.SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=table), Normalize()], device="cpu"
    )
    theirs.save(str(tmp_path / "static"))
    ours = SentenceTransformer(tmp_path / "static")
    assert ours.max_seq_length == theirs.max_seq_length
    assert_same(ours.encode([*TEXTS, LONG]), theirs.encode([*TEXTS, LONG]))


def test_what_is_set_on_a_model_holds_as_in_the_library(checkpoint: Callable[..., Path]) -> None:
    folder = str(checkpoint("bert", normalize=False, prompts=E5))
    given: dict[str, Any] = {
        "prompts": {"query": "ask: ", "mine": "say: "},
        "default_prompt_name": "mine",
        "truncate_dim": 24,
        "similarity_fn_name": "euclidean",
    }
    models = (
        SentenceTransformer(folder, **given),
        sentence_transformers.SentenceTransformer(folder, device="cpu", **given),
    )
    calls: list[Callable[[Any], Any]] = [
        lambda model: model.encode([*TEXTS, LONG]),
        lambda model: model.encode_query(TEXTS),
        lambda model: model.similarity(model.encode(TEXTS), model.encode(TEXTS[1:3])),
        lambda model: model.similarity_pairwise(model.encode(TEXTS), model.encode(TEXTS[::-1])),
    ]
    for model in models:
        assert model.prompts == E5 | given["prompts"]
        assert model.get_embedding_dimension() == 24
    for call in calls:
        assert_same(call(models[0]), call(models[1]))
    for model in models:
        model.max_seq_length = 9
        model.truncate_dim = None
        model.prompts["mine"] = "tell: "
        model.similarity_fn_name = SimilarityFunction.MANHATTAN  # type: ignore[assignment]
        assert (model.max_seq_length, model.similarity_fn_name) == (9, "manhattan")
    for call in calls:
        assert_same(call(models[0]), call(models[1]))
    for model in models:
        with model.truncate_embeddings(10):
            assert model.encode(TEXTS).shape == (len(TEXTS), 10)
        assert model.truncate_dim is None


def test_a_name_is_the_librarys(minilm: LazyEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = minilm.encode(["a text"], role="unprompted")[0]
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        assert (SentenceTransformer(name).encode("a text") == vector).all()
    assert SentenceTransformer("all-MiniLM-L6-v2", revision=minilm.spec.revision).embedder is minilm


def test_a_folder_needs_no_dot(checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint("bert")
    monkeypatch.chdir(folder.parent)
    assert SentenceTransformer(folder.name).embedder is SentenceTransformer(folder).embedder is resolve(folder)


def test_an_entry_has_the_prompts_that_its_files_lack(checkpoint: Callable[..., Path]) -> None:
    register(registered(checkpoint("bert"), name="acme-small", prompts={"query": "query: ", "document": "passage: "}))
    model, unprompted = SentenceTransformer("acme-small"), {"query": "", "document": ""}
    assert (model.encode_document(TEXTS) == model.encode(TEXTS, prompt="passage: ")).all()
    assert (model.encode(TEXTS) == SentenceTransformer("acme-small", prompts=unprompted).encode_document(TEXTS)).all()
    assert not np.allclose(model.encode(TEXTS), model.encode_document(TEXTS), atol=1e-3)


def test_devices_and_pools_change_nothing(pairs: Mapping[str, Pair]) -> None:
    model, _ = pairs["prompts"]
    vectors = model.encode(TEXTS)
    pool = model.start_multi_process_pool(["cpu", "cpu"])
    assert (model.encode(TEXTS, pool=pool, chunk_size=2) == vectors).all()
    model.stop_multi_process_pool(pool)
    assert (model.encode(TEXTS, device=["cpu"] * 4) == vectors).all()
    assert (model.to("cpu").encode(TEXTS, device=torch.device("cpu")) == vectors).all()


def test_backends_have_the_librarys_names(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("bert")
    for name, backend in {
        None: "onnxruntime",
        "torch": "transformers",
        "onnx": "onnxruntime",
        "openvino": "openvino",
    }.items():
        model = SentenceTransformer(folder, backend=name)
        assert (model.embedder.config.backend, model.embedder.config.precision) == (backend, "fp32")
    half = SentenceTransformer(folder, backend="torch", model_kwargs={"torch_dtype": torch.bfloat16})
    assert half.embedder.config.precision == "bf16"
    half.max_seq_length = 20
    assert (half.embedder.config.precision, half.to("cpu").max_seq_length) == ("bf16", 20)


def test_a_gpu_is_for_the_backend_with_torch(checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(EmbedryError, match=r"torch 2\.13\.0.* cpu"):
        SentenceTransformer(checkpoint("bert"), device="cuda")


REFUSED: dict[str, tuple[Callable[[SentenceTransformer], object], type[Exception], str]] = {
    "vectors of tokens": (
        lambda model: model.encode("a", output_value="token_embeddings"), OptionError, "resolve_multi_vector",
    ),
    "all features": (lambda model: model.encode("a", output_value=None), OptionError, "output_value=None"),  # type: ignore[arg-type]
    "an argument that nobody has": (lambda model: model.encode("a", batch=1), UnknownOptionError, "'batch'"),
    "settings of the processor": (lambda model: model.encode("a", processing_kwargs={}), OptionError, "processing_kwargs"),
    "a batch of none": (lambda model: model.encode("a", batch_size=0), OptionError, "batch_size must be a positive integer, got 0"),
    "a length of none": (lambda model: model.encode("a", truncate_dim=0), OptionError, "truncate_dim must be a positive integer"),
    "a precision": (lambda model: model.encode("a", precision="int4"), OptionError, "float32, int8"),
    "ranges of one": (lambda model: model.encode(["a"], precision="int8"), OptionError, "encode several texts together"),
    "a prompt": (lambda model: model.encode("a", prompt_name="nobody's"), OptionError, "query, document, passage, task"),
    "a pair": (lambda model: model.encode([("a", "b")]), TextTypeError, "text 0 must be a str, got tuple"),  # type: ignore[list-item]
    "two devices": (lambda model: model.encode("a", device=["cuda:0", "cuda:1"]), OptionError, "docs/clusters.md"),
    "a pool of two devices": (lambda model: model.start_multi_process_pool(["cuda:0", "cuda:1"]), OptionError, "one device"),
    "a measure": (lambda model: setattr(model, "similarity_fn_name", "maxsim"), OptionError, "cosine, dot, euclidean, manhattan"),
    "a length": (lambda model: setattr(model, "max_seq_length", 100_000), OptionError, "from 3 to 128"),
    "training": (lambda model: model.fit([]), AttributeError, "train with sentence-transformers"),
    "saving": (lambda model: model.save("folder"), AttributeError, "model.embedder.spec.folder"),
    "tokens": (lambda model: model.tokenize(["a"]), AttributeError, "model.embedder.tokenize"),
    "a module": (lambda model: model[0], TypeError, "model.embedder.spec.chain"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_supported_is_refused_by_name(what: str, pairs: Mapping[str, Pair]) -> None:
    call, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        call(pairs["prompts"][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_name_or_path": None}, "name or a folder, got None"),
        ({"modules": [object()]}, "give its folder"),
        ({"local_files_only": True}, "HF_HUB_OFFLINE=1"),
        ({"token": "hf_secret"}, "HF_TOKEN"),
        ({"processor_kwargs": {"padding": True}}, "max_seq_length"),
        ({"model_kwargs": {"attn_implementation": "eager"}}, "attn_implementation"),
        ({"model_kwargs": {"dtype": "float8"}}, "float16, bfloat16"),
        ({"revision": "main"}, "is pinned to"),
        ({"default_prompt_name": "nobody's"}, "query, document"),
        ({"similarity_fn_name": "maxsim"}, "cosine, dot"),
        ({"truncate_dim": 0}, "positive integer"),
        ({"nobody": 1}, "no argument 'nobody'"),
    ],
)
def test_an_argument_that_is_not_supported_is_refused_before_anything_is_loaded(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LazyEmbedder, "load", lambda embedder: pytest.fail("it was loaded"))
    with pytest.raises(OptionError, match=message):
        SentenceTransformer(**{"model_name_or_path": "all-MiniLM-L6-v2"} | arguments)


def test_arguments_that_ask_for_nothing_are_fine() -> None:
    SentenceTransformer(
        "all-MiniLM-L6-v2",
        modules=None,
        trust_remote_code=True,
        local_files_only=False,
        token=None,
        processor_kwargs={},
    )


def test_the_names_are_the_librarys() -> None:
    theirs = inspect.signature(sentence_transformers.SentenceTransformer.encode).parameters
    ours = inspect.signature(SentenceTransformer.encode).parameters
    assert {name: (one.default, one.kind) for name, one in ours.items()} == {
        name: (one.default, one.kind) for name, one in theirs.items()
    }
    names = set(inspect.signature(sentence_transformers.SentenceTransformer.__init__).parameters) - {"self"}
    bases = (SentenceTransformer, SentenceTransformer.__mro__[1])
    own = {name for base in bases for name in inspect.signature(base.__init__).parameters}
    assert names <= own | unsupported._ARGUMENTS.keys()
    known = set(dir(sentence_transformers.SentenceTransformer))
    public = {name for name in vars(SentenceTransformer) | vars(bases[1]) if not name.startswith("_")}
    assert public <= known
    assert set(unsupported._ATTRIBUTES) <= known
    assert not set(unsupported._ATTRIBUTES) & public


def test_a_bar_is_shown_when_it_is_asked_for_or_the_log_is_talkative(
    pairs: Mapping[str, Pair], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shown = []
    encode = LazyEmbedder.encode

    def noted(*args: Any, progress: bool, **named: Any) -> Any:
        shown.append(progress)
        return encode(*args, **named)

    monkeypatch.setattr(LazyEmbedder, "encode", noted)
    model, _ = pairs["prompts"]
    caplog.set_level(logging.WARNING)
    model.encode("a")
    model.encode("a", show_progress_bar=True)
    caplog.set_level(logging.INFO)
    model.encode("a")
    model.encode("a", show_progress_bar=False)
    assert shown == [False, True, True, False]


def test_copies_and_pickles_are_the_same_model(pairs: Mapping[str, Pair]) -> None:
    model = SentenceTransformer(pairs["prompts"][0].embedder.spec.folder, prompts={"query": "ask: "}, truncate_dim=20)
    for again in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(again) is SentenceTransformer
        assert again.embedder is model.embedder
        assert (again.encode_query(TEXTS) == model.encode_query(TEXTS)).all()


def test_it_passes_for_the_librarys_class_once_that_is_imported(
    pairs: Mapping[str, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = pairs["prompts"]
    assert isinstance(model, sentence_transformers.SentenceTransformer)
    monkeypatch.delitem(__import__("sys").modules, "sentence_transformers")
    assert not isinstance(model, sentence_transformers.SentenceTransformer)
    assert isinstance(model, SentenceTransformer)


def test_nothing_heavy_is_imported_before_it_is_needed(fresh: Fresh, minilm_folder: object) -> None:
    heavy = {"torch", "transformers", "sentence_transformers"}
    code = f"""
import sys
import embedry_dropin
assert not {heavy | {"numpy", "onnxruntime"}} & sys.modules.keys()
model = embedry_dropin.SentenceTransformer("all-MiniLM-L6-v2")
assert model.__class__ is embedry_dropin.SentenceTransformer
vectors = model.encode(["a text", "another"], normalize_embeddings=True, precision="binary")
print(vectors.shape, sorted({heavy} & sys.modules.keys()))
sys.modules["torch"] = None  # as where it is not installed
scores = model.similarity(model.encode(["a"]), model.encode(["b", "c"]))
print(type(scores).__name__, scores.dtype, scores.shape, model.device)
try:
    model.encode("a", convert_to_tensor=True)
except embedry_dropin.sentence_transformers.OptionError as error:
    print(error)
"""
    assert fresh(code).stdout.splitlines() == [
        "(2, 48) []",
        "ndarray float32 (1, 2) cpu",
        "convert_to_tensor=True needs torch, which is not installed; try: pip install torch, or leave it out",
    ]


def test_the_package_has_these_two_names() -> None:
    assert embedry_dropin.__all__ == ["SentenceTransformer", "TextEmbedding"]
