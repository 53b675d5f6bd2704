"""Arctic Embed by Snowflake, for retrieval. Queries have a prompt, documents do not."""

from functools import partial

from embedry import Matryoshka, ModelSpec
from embedry_models._shared import CLS, ENGLISH, MULTILINGUAL, SEARCHING, files

_arctic = partial(
    ModelSpec,
    preferred_backend="onnxruntime",
    chain=CLS,
    license="Apache-2.0",
    files=files(),
)
_english = partial(_arctic, max_seq_length=512, architecture="bert", prompts=SEARCHING, languages=ENGLISH)
_second = partial(
    _arctic,
    max_seq_length=8192,
    prompts={"query": "query: "},
    matryoshka=Matryoshka(dims=(256,)),
    languages=MULTILINGUAL,
)

_ENGLISH = "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854"
"""The tokenizer.json of the smallest English models: the words of BERT's uncased vocabulary in other bytes."""

MODELS = [
    _english(
        name="snowflake-arctic-embed-xs",
        repo="Snowflake/snowflake-arctic-embed-xs",
        revision="d8c86521100d3556476a063fc2342036d45c106f",
        files=files(
            weights="ee789e0b1d6ecbbd5ce37b474af556cc1a1319cee4417d9e3b11f82e90300706",
            tokenizer=_ENGLISH,
            config="d7d071046ab952af96b7abad788db7ab3fc997b465e1b9914ff39707092254ec",
        ),
        dims=384,
        size_mb=90,
        description="The smallest of Snowflake's models, of the size of all-MiniLM-L6-v2",
    ),
    _english(
        name="snowflake-arctic-embed-s",
        repo="Snowflake/snowflake-arctic-embed-s",
        revision="e596f507467533e48a2e17c007f0e1dacc837b33",
        files=files(tokenizer=_ENGLISH, config="4e519aa92ec40943356032afe458c8829d70c5766b109e4a57490b82f72dcfb7"),
        dims=384,
        size_mb=133,
        description="Small, for retrieval in English",
    ),
    _english(
        name="snowflake-arctic-embed-m",
        repo="Snowflake/snowflake-arctic-embed-m",
        revision="fc74610d18462d218e312aa986ec5c8a75a98152",
        dims=768,
        size_mb=436,
        description="Of medium size, for retrieval in English",
    ),
    _english(
        name="snowflake-arctic-embed-m-long",
        repo="Snowflake/snowflake-arctic-embed-m-long",
        revision="89d0f6ab196eead40b90cb6f9fefec01a908d2d1",
        architecture="nomic_bert",
        dims=768,
        max_seq_length=2048,
        size_mb=547,
        description="As the one of medium size, over texts four times as long",
    ),
    _english(
        name="snowflake-arctic-embed-l",
        repo="Snowflake/snowflake-arctic-embed-l",
        revision="d8fb21ca8d905d2832ee8b96c894d3298964346b",
        dims=1024,
        size_mb=1336,
        description="Large, for retrieval in English",
    ),
    _english(
        name="snowflake-arctic-embed-m-v1.5",
        repo="Snowflake/snowflake-arctic-embed-m-v1.5",
        revision="e58a8f756156a1293d763f17e3aae643474e9b8a",
        dims=768,
        matryoshka=Matryoshka(dims=(256,)),
        size_mb=436,
        description="Of medium size, for retrieval in English; vectors may be shortened",
    ),
    _second(
        name="snowflake-arctic-embed-m-v2.0",
        repo="Snowflake/snowflake-arctic-embed-m-v2.0",
        revision="95c2741480856aa9666782eb4afe11959938017f",
        architecture="new",  # its config.json calls it gte
        dims=768,
        size_mb=1222,
        description="Retrieval over long texts in 74 languages; vectors may be shortened",
    ),
    _second(
        name="snowflake-arctic-embed-l-v2.0",
        aliases=("snowflake-arctic-embed2",),
        repo="Snowflake/snowflake-arctic-embed-l-v2.0",
        revision="ac6544c8a46e00af67e330e85a9028c66b8cfd9a",
        architecture="xlm-roberta",
        dims=1024,
        size_mb=2271,
        description="As the one of medium size, larger and better",
    ),
]
