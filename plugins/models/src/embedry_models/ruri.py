"""Ruri, of Nagoya University: Japanese; a prompt says what a text is for."""

from functools import partial

from embedry import ModelSpec, Pooling
from embedry_models._shared import files

_ruri = partial(
    ModelSpec,
    max_seq_length=8192,
    preferred_backend="onnxruntime",
    architecture="modernbert",
    chain=(Pooling(mode="mean"),),
    prompts={"query": "検索クエリ: ", "document": "検索文書: ", "topic": "トピック: "},
    license="Apache-2.0",
    languages=("ja",),
    files=files(),
)

MODELS = [
    _ruri(
        name="ruri-v3-30m",
        repo="cl-nagoya/ruri-v3-30m",
        revision="24899e5de370b56d179604a007c0d727bf144504",
        dims=256,
        size_mb=147,
        description="Small, for retrieval, clustering and classification in Japanese",
    ),
    _ruri(
        name="ruri-v3-130m",
        repo="cl-nagoya/ruri-v3-130m",
        revision="e3114c6ee10dbab8b4b235fbc6dcf9dd4d5ac1a6",
        dims=512,
        size_mb=528,
        description="As ruri-v3-30m, with vectors twice as long and better results",
    ),
    _ruri(
        name="ruri-v3-310m",
        repo="cl-nagoya/ruri-v3-310m",
        revision="18b60fb8c2b9df296fb4212bb7d23ef94e579cd3",
        dims=768,
        size_mb=1258,
        description="The largest of the Ruri models",
    ),
]
