"""Jina embeddings v2, for long texts with ALiBi, without prompts."""

from functools import partial

from embedry import ModelSpec, Pooling
from embedry_models._shared import ENGLISH, files

_jina = partial(
    ModelSpec,
    max_seq_length=8192,
    preferred_backend="onnxruntime",
    architecture="jina_bert_v2",
    chain=(Pooling(mode="mean"),),
    license="Apache-2.0",
    languages=ENGLISH,
)

MODELS = [
    _jina(
        name="jina-embeddings-v2-small-en",
        repo="jinaai/jina-embeddings-v2-small-en",
        revision="44e7d1d6caec8c883c2d4b207588504d519788d0",
        files=files(
            weights="c9a9a7ec012d01efd780474fbb65e25917f3a2aebdff84b5f87daa00f7e90b27",
            tokenizer="e9f999ac74497843ed9f4303246a8f43d9f100ee8aab8e133667903f447ceb48",
        ),
        dims=512,
        size_mb=65,
        description="Small, for retrieval over long English texts",
    ),
    _jina(
        name="jina-embeddings-v2-base-en",
        repo="jinaai/jina-embeddings-v2-base-en",
        revision="322d4d7e2f35e84137961a65af894fda0385eb7a",
        files=files(),
        dims=768,
        size_mb=275,
        description="As the small one, with longer vectors and better results",
    ),
    _jina(
        name="jina-embeddings-v2-base-code",
        repo="jinaai/jina-embeddings-v2-base-code",
        revision="516f4baf13dec4ddddda8631e019b5737c8bc250",
        files=files(),
        architecture="jina_bert_v2_qk_post_norm",
        dims=768,
        languages=("en", "code"),
        description="Retrieval over source code, and over English about it",
    ),
]
