"""Potion models by Minish: tables of token vectors, distilled from transformers, without an engine or prompts.

These entries encode whole texts and include unknown tokens, like sentence-transformers; model2vec, Minish's library, reads 512
tokens and skips unknown ones.
"""

from functools import partial

from embedry import NO_LIMIT, ModelSpec, Normalize, StaticEmbedding
from embedry_models._shared import ENGLISH, MULTILINGUAL

_potion = partial(
    ModelSpec,
    max_seq_length=NO_LIMIT,
    preferred_backend="static",
    architecture="static",
    transformer=None,
    license="MIT",
    languages=ENGLISH,
)

_OF_32M = "7d75cbc54318138807c401b0f0c9721117c628b39de8e8e0edb6cb17e0ee7d18"
"""The tokenizer.json of both models of 32 million values."""

MODELS = [
    _potion(
        name="potion-base-8M",
        repo="minishlab/potion-base-8M",
        revision="bf8b056651a2c21b8d2565580b8569da283cab23",
        files={
            "model.safetensors": "f65d0f325faadc1e121c319e2faa41170d3fa07d8c89abd48ca5358d9a223de2",
            "tokenizer.json": "e67e803f624fb4d67dea1c730d06e1067e1b14d830e2c2202569e3ef0f70bb50",
        },
        dims=256,
        chain=(StaticEmbedding(outputs=256, tensor="embeddings"), Normalize()),
        size_mb=30,
        description="Tiny and far faster than a transformer, for similarity and search in English",
    ),
    _potion(
        name="potion-base-32M",
        repo="minishlab/potion-base-32M",
        revision="1e5a03f8eeb2c98b928fbbd846f22f816360919f",
        files={
            "model.safetensors": "99f6c33204c9231a7391871b7a3c91409b532c8f587a9ea44fc282303d8dec28",
            "tokenizer.json": _OF_32M,
        },
        dims=512,
        chain=(StaticEmbedding(outputs=512, tensor="embeddings"), Normalize()),
        size_mb=129,
        description="As potion-base-8M, with vectors twice as long and better results",
    ),
    _potion(
        name="potion-retrieval-32M",
        repo="minishlab/potion-retrieval-32M",
        revision="6fc8051fab2a1e0ee76689cf08c853792ac285e7",
        files={
            "model.safetensors": "07609e5bd33aad37900b3fd62f4ec96f6daec88ca4d46b9d8b928bfababf6ea0",
            "tokenizer.json": _OF_32M,
        },
        dims=512,
        chain=(StaticEmbedding(outputs=512, tensor="embeddings"), Normalize()),
        size_mb=129,
        description="As potion-base-32M, trained further for retrieval",
    ),
    _potion(
        name="potion-multilingual-128M",
        repo="minishlab/potion-multilingual-128M",
        revision="73908c3438cf03b6a01bcb9611d62b23d0726f08",
        files={
            "model.safetensors": "14b5eb39cb4ce5666da8ad1f3dc6be4346e9b2d601c073302fa0a31bf7943397",
            "tokenizer.json": "19f1909063da3cfe3bd83a782381f040dccea475f4816de11116444a73e1b6a1",
        },
        dims=256,
        chain=(StaticEmbedding(outputs=256, tensor="embeddings"), Normalize()),
        languages=MULTILINGUAL,
        size_mb=512,
        description="As potion-base-8M, in 101 languages",
    ),
]
