"""Embeddings by Nomic. Every text has a prompt that names the task."""

from functools import partial

from embedry import LayerNorm, Matryoshka, ModelSpec, Pooling
from embedry_models._shared import ENGLISH, MEAN, UNCASED, files

_nomic = partial(
    ModelSpec,
    dims=768,
    max_seq_length=8192,
    preferred_backend="onnxruntime",
    architecture="nomic_bert",
    chain=MEAN,
    prompts={
        "query": "search_query: ",
        "document": "search_document: ",
        "clustering": "clustering: ",
        "classification": "classification: ",
    },
    license="Apache-2.0",
    languages=ENGLISH,
)

MODELS = [
    _nomic(
        name="nomic-embed-text-v1.5",
        aliases=("nomic-embed-text",),
        repo="nomic-ai/nomic-embed-text-v1.5",
        revision="e9b6763023c676ca8431644204f50c2b100d9aab",
        files=files(
            weights="9e7d262b1fe5ea350782829496efa831901b77486bbde1cea54a4c822d010d5c",
            tokenizer=UNCASED,
            config="9ab00bd92cee80a569f708140b7b6c1661a65891ff3765b1519e181ba2f2c92b",
        ),
        chain=(Pooling(mode="mean"),),
        matryoshka=Matryoshka(dims=(512, 256, 128, 64), before=(LayerNorm(),)),
        size_mb=547,
        description="Retrieval, clustering and classification of long English texts; vectors may be shortened",
    ),
    _nomic(
        name="nomic-embed-text-v1",
        repo="nomic-ai/nomic-embed-text-v1",
        revision="0759316f275aa0cb93a5b830973843ca66babcf5",
        files=files(),
        size_mb=547,
        description="The predecessor of nomic-embed-text-v1.5, whose vectors may not be shortened",
    ),
    _nomic(
        name="modernbert-embed-base",
        repo="nomic-ai/modernbert-embed-base",
        revision="d556a88e332558790b210f7bdbe87da2fa94a8d8",
        files=files(),
        architecture="modernbert",
        matryoshka=Matryoshka(dims=(256,)),
        size_mb=596,
        description="As nomic-embed-text-v1.5, over ModernBERT",
    ),
]
