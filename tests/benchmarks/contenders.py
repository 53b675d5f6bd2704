"""The contenders: each loads the same files and is called as its own documentation shows, with its default settings.

A library is imported when its contender is loaded, so that a fresh process imports only its own.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "all-MiniLM-L6-v2"
MAX_TOKENS = 256

CACHE = Path(os.environ.setdefault("EMBEDRY_CACHE", str(Path(__file__).parents[2] / ".cache"))).absolute()
COMPLETE = CACHE / "benchmarks" / MODEL
"""The repository's whole layout, as sentence-transformers and LangChain read it."""
ONNX = CACHE / "benchmarks" / f"{MODEL}-onnx"
"""An ONNX export of the same weights, in the layout that fastembed reads."""

# A benchmark measures no network: none of the libraries may check for updates of the model.
os.environ["HF_HUB_OFFLINE"] = "1"
# Loading prints nothing.
os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}

REFERENCE = "sentence-transformers"
OURS = "embedry"


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


@dataclass(frozen=True)
class Entry:
    """How to load a contender, and which module it imports."""

    module: str
    package: str
    load: Callable[[int], Contender]
    """From a number of threads."""
    exact: bool = True
    """Whether its vectors must equal those of the reference; those of int8 differ by design."""


CONTENDERS: dict[str, Entry] = {
    OURS: Entry("embedry", "embedry-onnxruntime", Embedry),
    f"{OURS}, int8": Entry(
        "embedry", "embedry-onnxruntime", lambda threads: Embedry(threads, precision="int8"), exact=False
    ),
    f"{OURS}, on transformers": Entry(
        "embedry", "embedry-transformers", lambda threads: Embedry(threads, backend="transformers")
    ),
    f"{OURS}, on sentence-transformers": Entry(
        "embedry", "embedry-sentence-transformers", lambda threads: Embedry(threads, backend="sentence-transformers")
    ),
    REFERENCE: Entry("sentence_transformers", "sentence-transformers", SentenceTransformers),
    "LangChain": Entry("langchain_huggingface", "langchain-huggingface", LangChain),
    "fastembed": Entry("fastembed", "fastembed", FastEmbed),
}


def loaded(name: str, threads: int) -> Contender:
    """A contender, loaded in this process."""
    return CONTENDERS[name].load(threads)
