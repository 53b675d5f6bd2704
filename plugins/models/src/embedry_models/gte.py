"""GTE by Alibaba, for texts of any kind, without prompts; and a reranker."""

from functools import partial

from embedry import Classifier, Matryoshka, ModelSpec, Pooling, Score
from embedry_models._shared import CLS, ENGLISH, MEAN, MULTILINGUAL, files

_gte = partial(ModelSpec, preferred_backend="onnxruntime")
_short = partial(_gte, max_seq_length=512, architecture="bert", chain=MEAN, license="MIT", languages=ENGLISH)
_long = partial(_gte, max_seq_length=8192, architecture="new", license="Apache-2.0")

MODELS = [
    _short(
        name="gte-small",
        repo="thenlper/gte-small",
        revision="17e1f347d17fe144873b1201da91788898c639cd",
        files=files(weights="9a1eb90bbac323ea08aa5629b624fe6ae75db121b904799c2266a1e2c2de22d2"),
        dims=384,
        size_mb=67,
        description="Small, for similarity and retrieval in English",
    ),
    _short(
        name="gte-base",
        repo="thenlper/gte-base",
        revision="c078288308d8dee004ab72c6191778064285ec0c",
        files=files(),
        dims=768,
        size_mb=219,
        description="As gte-small, with vectors twice as long and better results",
    ),
    _short(
        name="gte-large",
        repo="thenlper/gte-large",
        revision="4bef63f39fcc5e2d6b0aae83089f307af4970164",
        files=files(),
        dims=1024,
        size_mb=670,
        description="The largest of the first GTE models",
    ),
    _long(
        name="gte-multilingual-base",
        repo="Alibaba-NLP/gte-multilingual-base",
        revision="9bbca17d9273fd0d03d5725c7a4b0f6b45142062",
        files=files(
            weights="f5a35a10faa54da7717870af1517c9b41e9bd8e3880bc5a8e9363d4c3c63e9b0",
            tokenizer="f59925fcb90c92b894cb93e51bb9b4a6105c5c249fe54ce1c704420ac39b81af",
            config="711bdc81365fc25d30533cf05b9fdf588e5ba01f18540fbbb1307d787597a313",
        ),
        dims=768,
        chain=CLS,
        matryoshka=Matryoshka(dims=(512, 256, 128)),
        languages=MULTILINGUAL,
        size_mb=611,
        description="Retrieval over long texts in over 70 languages",
    ),
    _long(
        name="gte-base-en-v1.5",
        repo="Alibaba-NLP/gte-base-en-v1.5",
        revision="a829fd0e060bb84554da0dfd354d0de0f7712b7f",
        files=files(),
        dims=768,
        chain=(Pooling(mode="cls"),),
        languages=ENGLISH,
        size_mb=547,
        description="Retrieval over long English texts",
    ),
    _long(
        name="gte-large-en-v1.5",
        repo="Alibaba-NLP/gte-large-en-v1.5",
        revision="104333d6af6f97649377c2afbde10a7704870c7b",
        files=files(),
        dims=1024,
        chain=(Pooling(mode="cls"),),
        languages=ENGLISH,
        size_mb=1737,
        description="As gte-base-en-v1.5, with longer vectors and better results",
    ),
    _long(
        name="gte-reranker-modernbert-base",
        repo="Alibaba-NLP/gte-reranker-modernbert-base",
        revision="f7481e6055501a30fb19d090657df9ec1f79ab2c",
        files=files(),
        architecture="modernbert",
        dims=1,
        chain=(Classifier(pooling="mean"), Score(activation="sigmoid")),
        languages=ENGLISH,
        description="Reranks long English texts, and source code",
    ),
]
