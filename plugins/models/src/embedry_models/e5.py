"""E5, for retrieval. Queries and passages require prompts for good results."""

from functools import partial

from embedry import ModelSpec
from embedry_models._shared import ENGLISH, MEAN, MULTILINGUAL, UNCASED, WEB_SEARCH, files

_e5 = partial(
    ModelSpec,
    max_seq_length=512,
    preferred_backend="onnxruntime",
    chain=MEAN,
    license="MIT",
)
_prompted = partial(_e5, prompts={"query": "query: ", "document": "passage: "})
_english = partial(_prompted, architecture="bert", languages=ENGLISH)
_multilingual = partial(_prompted, architecture="xlm-roberta", languages=MULTILINGUAL)

_XLM_ROBERTA = "62c24cdc13d4c9952d63718d6c9fa4c287974249e16b7ade6d5a85e7bbb75626"
"""The tokenizer.json of multilingual-e5-base and multilingual-e5-large."""

MODELS = [
    _english(
        name="e5-small-v2",
        aliases=("e5-small",),
        repo="intfloat/e5-small-v2",
        revision="ffb93f3bd4047442299a41ebb6fa998a38507c52",
        files=files(
            weights="45bfa60070649aae2244fbc9d508537779b93b6f353c17b0f95ceccb1c5116c1",
            tokenizer=UNCASED,
            config="5dfb0363cd0243be179c03bcaafd1542d0fbb95e8cbcf575fff3e229342adc2f",
        ),
        dims=384,
        size_mb=133,
        description="Retrieval over English passages of up to 512 tokens; queries and passages each take a prompt",
    ),
    _english(
        name="e5-base-v2",
        aliases=("e5-base",),
        repo="intfloat/e5-base-v2",
        revision="f52bf8ec8c7124536f0efb74aca902b2995e5bcd",
        files=files(),
        dims=768,
        size_mb=438,
        description="As e5-small-v2, with vectors twice as long and better results",
    ),
    _english(
        name="e5-large-v2",
        aliases=("e5-large",),
        repo="intfloat/e5-large-v2",
        revision="f169b11e22de13617baa190a028a32f3493550b6",
        files=files(),
        dims=1024,
        size_mb=1341,
        description="The largest of E5's English models",
    ),
    _multilingual(
        name="multilingual-e5-small",
        repo="intfloat/multilingual-e5-small",
        revision="614241f622f53c4eeff9890bdc4f31cfecc418b3",
        files=files(
            weights="1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477",
            tokenizer="0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
            config="69137736cab8b8903a07fe8afaafdda25aac55415a12a55d1bffa9f581abf959",
        ),
        architecture="bert",  # with the tokenizer of XLM-RoBERTa
        dims=384,
        size_mb=471,
        description="Small, for retrieval in nearly 100 languages and across them",
    ),
    _multilingual(
        name="multilingual-e5-base",
        repo="intfloat/multilingual-e5-base",
        revision="d128750597153bb5987e10b1c3493a34e5a4502a",
        files=files(
            weights="a18a44fad1d0b46ded15928144138cff1135d5cc8233bdd90be5f18822de09a7",
            tokenizer=_XLM_ROBERTA,
            config="9dab198f24c8c0879e481cf7822005d5ecbceedbacb390ffafa594e28d31bac4",
        ),
        dims=768,
        size_mb=1112,
        description="As multilingual-e5-small, with vectors twice as long and better results",
    ),
    _multilingual(
        name="multilingual-e5-large",
        repo="intfloat/multilingual-e5-large",
        revision="3d7cfbdacd47fdda877c5cd8a79fbcc4f2a574f3",
        files=files(
            weights="020afdebf2762b29fcaf286629a96c3b3b65af241f6a08226b1cfee60a21def6",
            tokenizer=_XLM_ROBERTA,
        ),
        dims=1024,
        size_mb=2240,
        description="The largest of E5's multilingual models",
    ),
    _e5(
        name="multilingual-e5-large-instruct",
        repo="intfloat/multilingual-e5-large-instruct",
        revision="274baa43b0e13e37fafa6428dbc7938e62e5c439",
        files=files(weights="dd6b6e4f52db0a7aff83a13d10e6c5342ef9f6ab799bad3221f4b35ef390fa85"),
        architecture="xlm-roberta",
        dims=1024,
        prompts={"query": WEB_SEARCH + " "},
        languages=MULTILINGUAL,
        size_mb=1120,
        description="Retrieval in nearly 100 languages; queries take an instruction, documents none",
    ),
]
