"""BGE by BAAI, for retrieval. The English and Chinese models use a prompt for queries, bge-m3 does not.

The rerankers apply a sigmoid to their scores, like sentence-transformers; FlagEmbedding, BAAI's library, returns logits.
"""

from functools import partial

from embedry import ModelSpec
from embedry_models._shared import CLS, ENGLISH, MULTILINGUAL, SEARCHING, SIGMOID, UNCASED, files

_bge = partial(
    ModelSpec,
    max_seq_length=512,
    preferred_backend="onnxruntime",
    architecture="bert",
    chain=CLS,
    license="MIT",
)
_english = partial(_bge, prompts=SEARCHING, languages=ENGLISH)
_reranker = partial(_bge, architecture="xlm-roberta", chain=SIGMOID, dims=1)

MODELS = [
    _english(
        name="bge-small-en-v1.5",
        aliases=("bge-small",),
        repo="BAAI/bge-small-en-v1.5",
        revision="5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
        files=files(
            weights="3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad",
            tokenizer=UNCASED,
            config="094f8e891b932f2000c92cfc663bac4c62069f5d8af5b5278c4306aef3084750",
        ),
        dims=384,
        size_mb=133,
        description="Retrieval over English passages of up to 512 tokens; queries take a prompt, documents none",
    ),
    _english(
        name="bge-base-en-v1.5",
        aliases=("bge-base",),
        repo="BAAI/bge-base-en-v1.5",
        revision="a5beb1e3e68b9ab74eb54cfd186867f64f240e1a",
        files=files(
            weights="c7c1988aae201f80cf91a5dbbd5866409503b89dcaba877ca6dba7dd0a5167d7",
            tokenizer=UNCASED,
            config="bc00af31a4a31b74040d73370aa83b62da34c90b75eb77bfa7db039d90abd591",
        ),
        dims=768,
        size_mb=438,
        description="As bge-small-en-v1.5, with vectors twice as long and better results",
    ),
    _english(
        name="bge-large-en-v1.5",
        aliases=("bge-large",),
        repo="BAAI/bge-large-en-v1.5",
        revision="d4aa6901d3a41ba39fb536a557fa166f842b0e09",
        files=files(
            weights="45e1954914e29bd74080e6c1510165274ff5279421c89f76c418878732f64ae7",
            tokenizer=UNCASED,
            config="446712fac367857b4b1302762fe1cd7bfa8b3c4b77b4dc5d77c4025407660896",
        ),
        dims=1024,
        size_mb=1341,
        description="The largest of BGE's English models, for retrieval",
    ),
    _bge(
        name="bge-m3",
        repo="BAAI/bge-m3",
        # The safetensors conversion by the hub's service; the main branch only has a pickle.
        revision="142964af7e05de16511657561de8e8750fc153a0",
        files=files(
            weights="993b2248881724788dcab8c644a91dfd63584b6e5604ff2037cb5541e1e38e7e",
            tokenizer="21106b6d7dab2952c1d496fb21d5dc9db75c28ed361a05f5020bbba27810dd08",
            config="26159e7ad065073448460117eb24b7a4572f6f4e78eadff65dc0a11c052449fa",
        ),
        architecture="xlm-roberta",
        dims=1024,
        max_seq_length=8192,
        languages=MULTILINGUAL,
        size_mb=2271,
        description="Retrieval in over 100 languages and over long texts, without prompts; its dense vectors",
    ),
    _bge(
        name="bge-small-zh-v1.5",
        aliases=("bge-small-zh",),
        repo="BAAI/bge-small-zh-v1.5",
        revision="7999e1d3359715c523056ef9478215996d62a620",
        files=files(
            weights="354763b9b1357bc9c44f62c6be2276321081ed2567773608c0d0785b61d5a026",
            tokenizer="48cea5d44424912a6fd1ea647bf4fe50b55ab8b1e5879c3275f80e339e8fae26",
            config="3853a7979202c348751b753e36f579c41d8da7d36af617d3d907e1fc9b441f2a",
        ),
        dims=512,
        prompts={"query": "为这个句子生成表示以用于检索相关文章："},  # a full-width colon, no space
        languages=("zh",),
        size_mb=96,
        description="Small, for retrieval over Chinese passages",
    ),
    _english(
        name="bge-small-en",
        repo="BAAI/bge-small-en",
        revision="2275a7bdee235e9b4f01fa73aa60d3311983cfea",
        files=files(),
        dims=384,
        size_mb=133,
        description="The predecessor of bge-small-en-v1.5, for stores that were made with it",
    ),
    _english(
        name="bge-base-en",
        repo="BAAI/bge-base-en",
        revision="b737bf5dcc6ee8bdc530531266b4804a5d77b5d8",
        files=files(),
        dims=768,
        size_mb=438,
        description="The predecessor of bge-base-en-v1.5, for stores that were made with it",
    ),
    _reranker(
        name="bge-reranker-v2-m3",
        repo="BAAI/bge-reranker-v2-m3",
        revision="953dc6f6f85a1b2dbfca4c34a2796e7dde08d41e",
        files=files(weights="d9e3e081faff1eefb84019509b2f5558fd74c1a05a2c7db22f74174fcedb5286"),
        max_seq_length=8192,
        license="Apache-2.0",
        languages=MULTILINGUAL,
        size_mb=2271,
        description="Reranks long texts in over 100 languages",
    ),
    _reranker(
        name="bge-reranker-base",
        repo="BAAI/bge-reranker-base",
        revision="2cfc18c9415c912f9d8155881c133215df768a70",
        files=files(),
        languages=("en", "zh"),
        size_mb=1112,
        description="Reranks English and Chinese passages",
    ),
    _reranker(
        name="bge-reranker-large",
        repo="BAAI/bge-reranker-large",
        revision="55611d7bca2a7133960a6d3b71e083071bbfc312",
        files=files(),
        languages=("en", "zh"),
        size_mb=2240,
        description="As bge-reranker-base, twice as large and better",
    ),
]
