"""Granite embeddings by IBM, for long texts in many languages and code, without prompts; and a sparse model."""

from functools import partial

from embedry import MaskedLM, Matryoshka, ModelSpec, SpladePooling
from embedry_models._shared import CLS, ENGLISH, MULTILINGUAL, files

_granite = partial(
    ModelSpec,
    max_seq_length=32768,
    preferred_backend="onnxruntime",
    architecture="modernbert",
    chain=CLS,
    license="Apache-2.0",
    languages=MULTILINGUAL,
)

MODELS = [
    _granite(
        name="granite-embedding-97m-multilingual-r2",
        repo="ibm-granite/granite-embedding-97m-multilingual-r2",
        revision="835ad14087e140460703cf0fae09f97d469d65c2",
        files=files(
            weights="f3ea88b230492811046145513710e76b4cc8c2ad49e8708da0e7247e548903be",
            tokenizer="4f2842d568e2724370aec203652a42ac783c7937f8347a1a2cc7506d71f1582f",
            config="de948b0bdc6f356afad7a84b276d8dd7e7fe10fb9add1bb5e610621c28e41ebc",
        ),
        dims=384,
        size_mb=195,
        description="Small, for retrieval over long texts in 52 languages, and code",
    ),
    _granite(
        name="granite-embedding-311m-multilingual-r2",
        repo="ibm-granite/granite-embedding-311m-multilingual-r2",
        revision="44399559930365213510b1ee2eb15ded83374f0e",
        files=files(),
        dims=768,
        matryoshka=Matryoshka(dims=(512, 384, 256, 128)),
        size_mb=623,
        description="As the model of 97m, with longer vectors that may be shortened, and better results",
    ),
    _granite(
        name="granite-embedding-30m-sparse",
        repo="ibm-granite/granite-embedding-30m-sparse",
        revision="ad82b1fd09541c998c8d45045d601c51fdb8a9b7",
        files=files(),
        architecture="roberta",
        dims=50265,
        max_seq_length=512,
        chain=(MaskedLM(), SpladePooling()),
        similarity="dot",
        languages=ENGLISH,
        size_mb=61,
        description="Small, for sparse search in English: terms of RoBERTa's vocabulary, which tells cases apart",
    ),
]
