"""The contenders: each loads the same files and is called as its own documentation shows, with its default settings.

A library is imported when its contender is loaded, so that a fresh process imports only its own.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import openvino
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

MODEL = "all-MiniLM-L6-v2"
MAX_TOKENS = 256
DIMS = 384

CACHE = Path(os.environ.setdefault("EMBEDRY_CACHE", str(Path(__file__).parents[2] / ".cache"))).absolute()
COMPLETE = CACHE / "benchmarks" / MODEL
"""The repository's whole layout, as sentence-transformers and LangChain read it."""
ONNX = CACHE / "benchmarks" / f"{MODEL}-onnx"
"""An ONNX export of the same weights, in the layout that fastembed reads."""
OPENVINO = CACHE / "benchmarks" / f"{MODEL}-openvino"
CTRANSLATE2 = CACHE / "benchmarks" / f"{MODEL}-ctranslate2"
"""The same weights as each of the two converts torch's model."""

# A benchmark measures no network: none of the libraries may check for updates of the model, or report that it was imported.
os.environ["HF_HUB_OFFLINE"] = "1"
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's way to say that it cannot be imported
# Loading prints nothing.
os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}

REFERENCE = "sentence-transformers"
OURS = "embedry"
BATCH = 32
"""Texts of a batch, where a library leaves batches to its caller: what sentence-transformers takes."""


class Contender(Protocol):
    """A loaded model. Turning the library's own result into one array is part of the time it takes."""

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        """float32 (number of texts, 384)."""
        ...

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        """float32 (384,)."""
        ...


class Embedry:
    """This library, on one of its engines."""

    def __init__(self, threads: int, model: str | Path = MODEL, **options: str) -> None:
        from embedry import resolve

        self._embedder = resolve(model, device="cpu", threads=threads, **options)  # type: ignore[arg-type]
        self._embedder.load()

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        return self._embedder.encode_document(texts)

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        return self._embedder.encode_query([text])[0]


class SentenceTransformers:
    """https://sbert.net: the reference, whose vectors are right by definition."""

    def __init__(self, threads: int, model: Path = COMPLETE) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self._model = SentenceTransformer(str(model), device="cpu")

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        return self._model.encode(texts)

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        return self._model.encode_query(text)


class FastEmbed:
    """https://qdrant.github.io/fastembed: its own entry of the model, reading the files from a folder."""

    def __init__(self, threads: int) -> None:
        from fastembed import TextEmbedding

        name = f"sentence-transformers/{MODEL}"
        self._model = TextEmbedding(name, specific_model_path=str(ONNX), threads=threads)

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        import numpy as np

        return np.stack(list(self._model.embed(texts)))

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        return next(iter(self._model.query_embed(text)))


class LangChain:
    """https://python.langchain.com: HuggingFaceEmbeddings, which gives lists of floats."""

    def __init__(self, threads: int) -> None:
        import torch
        from langchain_huggingface import HuggingFaceEmbeddings

        torch.set_num_threads(threads)
        self._model = HuggingFaceEmbeddings(model_name=str(COMPLETE), model_kwargs={"device": "cpu"})

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        import numpy as np

        return np.asarray(self._model.embed_documents(texts), dtype=np.float32)

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        import numpy as np

        return np.asarray(self._model.embed_query(text), dtype=np.float32)


class OpenVINO:
    """https://docs.openvino.ai: torch's model, converted with pooling and normalizing; tokens and batches are the caller's.

    Each model is compiled when it is first needed, with the hint that the documentation has for the purpose. With the one
    for throughput and a queue, the paragraphs take 0.8 to 0.9 of the time that they take one batch after the other with the one
    for latency.
    """

    def __init__(self, threads: int, number: str) -> None:
        """`number`: "f32" or "bf16". By itself it computes in bf16 where the processor has it."""
        import openvino

        self._core = openvino.Core()
        self._settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": number}
        self._tokenizer = tokenizer()
        self._tokenizer.enable_padding()

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        import numpy as np

        vectors = np.empty((len(texts), DIMS), dtype=np.float32)

        def keep(request: "openvino.InferRequest", rows: list[int]) -> None:
            vectors[rows] = request.get_output_tensor().data

        self._queue.set_callback(keep)
        for rows in by_length(texts):
            self._queue.start_async(self._read([texts[row] for row in rows]), rows)
        self._queue.wait_all()
        return vectors

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        # Several threads call this at once, so each call has a request of its own.
        vector: NDArray[np.float32] = self._single.infer_new_request(self._read([text]))[0][0]
        return vector

    @cached_property
    def _single(self) -> "openvino.CompiledModel":
        return self._compiled("LATENCY")

    @cached_property
    def _queue(self) -> "openvino.AsyncInferQueue":
        import openvino

        return openvino.AsyncInferQueue(self._compiled("THROUGHPUT"))

    def _compiled(self, hint: str) -> "openvino.CompiledModel":
        return self._core.compile_model(OPENVINO / "model.xml", "CPU", self._settings | {"PERFORMANCE_HINT": hint})

    def _read(self, texts: list[str]) -> "dict[str, NDArray[np.int64]]":
        import numpy as np

        read = self._tokenizer.encode_batch(texts)
        return {
            "input_ids": np.array([each.ids for each in read]),
            "attention_mask": np.array([each.attention_mask for each in read]),
            "token_type_ids": np.array([each.type_ids for each in read]),
        }


class CTranslate2:
    """https://opennmt.net/CTranslate2: an encoder that takes token ids; batches and pooling are the caller's.

    All threads compute one batch. Two batches at a time on one thread each took as long, within the noise.
    """

    def __init__(self, threads: int, number: str) -> None:
        """`number`: "float32" or "int8"; it does not compute in bfloat16 on processors."""
        import ctranslate2

        self._encoder = ctranslate2.Encoder(str(CTRANSLATE2), compute_type=number, intra_threads=threads)
        self._tokenizer = tokenizer()
        self._tokenizer.no_padding()

    def encode_documents(self, texts: list[str]) -> "NDArray[np.float32]":
        import numpy as np

        vectors = np.empty((len(texts), DIMS), dtype=np.float32)
        for rows in by_length(texts):
            vectors[rows] = self._batch([texts[row] for row in rows])
        return vectors

    def encode_query(self, text: str) -> "NDArray[np.float32]":
        return self._batch([text])[0]

    def _batch(self, texts: list[str]) -> "NDArray[np.float32]":
        import numpy as np

        ids = [read.ids for read in self._tokenizer.encode_batch(texts)]
        states = np.asarray(self._encoder.forward_batch(ids).last_hidden_state)
        is_real = np.arange(states.shape[1]) < np.array([len(each) for each in ids])[:, np.newaxis]
        sums = (states * is_real[:, :, np.newaxis]).sum(axis=1)  # in the direction of the means
        unit: NDArray[np.float32] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return unit


def tokenizer() -> "Tokenizer":
    """The model's, for libraries that leave reading to their caller."""
    from tokenizers import Tokenizer

    read = Tokenizer.from_file(str(COMPLETE / "tokenizer.json"))
    read.enable_truncation(MAX_TOKENS)
    return read


def by_length(texts: list[str]) -> list[list[int]]:
    """The batches of a caller: positions of texts of similar length, the longest first."""
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


@dataclass(frozen=True)
class Entry:
    """How to load a contender, and which module it imports."""

    module: str
    package: str
    load: Callable[[int], Contender]
    """From a number of threads."""
    precision: str = "fp32"

    @property
    def exact(self) -> bool:
        """Whether its vectors must equal those of the reference; those of other precisions differ by design."""
        return self.precision == "fp32"


CONTENDERS: dict[str, Entry] = {
    OURS: Entry("embedry", "embedry-onnxruntime", Embedry),
    f"{OURS}, on OpenVINO": Entry("embedry", "embedry-openvino", partial(Embedry, backend="openvino")),
    f"{OURS}, on transformers": Entry("embedry", "embedry-transformers", partial(Embedry, backend="transformers")),
    f"{OURS}, on sentence-transformers": Entry(
        "embedry", "embedry-sentence-transformers", partial(Embedry, backend="sentence-transformers")
    ),
    REFERENCE: Entry("sentence_transformers", "sentence-transformers", SentenceTransformers),
    "LangChain": Entry("langchain_huggingface", "langchain-huggingface", LangChain),
    "fastembed": Entry("fastembed", "fastembed", FastEmbed),
    "OpenVINO, fp32": Entry("openvino", "openvino", partial(OpenVINO, number="f32")),
    "CTranslate2": Entry("ctranslate2", "ctranslate2", partial(CTranslate2, number="float32")),
    f"{OURS}, bf16": Entry(
        "embedry", "embedry-openvino", partial(Embedry, backend="openvino", precision="bf16"), "bf16"
    ),
    f"{OURS}, bf16 on transformers": Entry(
        "embedry", "embedry-transformers", partial(Embedry, backend="transformers", precision="bf16"), "bf16"
    ),
    "OpenVINO, bf16": Entry("openvino", "openvino", partial(OpenVINO, number="bf16"), "bf16"),
    f"{OURS}, int8": Entry("embedry", "embedry-onnxruntime", partial(Embedry, precision="int8"), "int8"),
    f"{OURS}, int8 on OpenVINO": Entry(
        "embedry", "embedry-openvino", partial(Embedry, backend="openvino", precision="int8"), "int8"
    ),
    "CTranslate2, int8": Entry("ctranslate2", "ctranslate2", partial(CTranslate2, number="int8"), "int8"),
}
"""By precision; fp32 unless a name says another."""


def loaded(name: str, threads: int) -> Contender:
    """A contender, loaded in this process."""
    return CONTENDERS[name].load(threads)
