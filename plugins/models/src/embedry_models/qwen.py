"""Embeddings by Qwen: decoders for long texts in over 100 languages. Queries have an instruction, documents do not.

The reranker predicts whether a document answers a query: its score is the probability of "yes" against "no".
"""

from functools import partial

from embedry import LogitScore, Matryoshka, ModelSpec, PairFrame, Score, Transformer
from embedry_models._shared import LAST, MULTILINGUAL, WEB_SEARCH, files

_qwen = partial(
    ModelSpec,
    architecture="qwen3",
    chain=LAST,
    prompts={"query": WEB_SEARCH},  # no space at its end
    license="Apache-2.0",
    languages=MULTILINGUAL,
)

_JUDGE = PairFrame(
    before="<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    after="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
)
"""What stands around a pair, word for word; without it the scores are worth little."""

MODELS = [
    _qwen(
        name="Qwen3-Embedding-0.6B",
        repo="Qwen/Qwen3-Embedding-0.6B",
        revision="97b0c614be4d77ee51c0cef4e5f07c00f9eb65b3",
        files=files(
            weights="0437e45c94563b09e13cb7a64478fc406947a93cb34a7e05870fc8dcd48e23fd",
            tokenizer="def76fb086971c7867b829c23a26261e38d9d74e02139253b38aeb9df8b4b50a",
            config="b5bf1f51fc45be473a54718cef92448d90a1be001bf9b9a44b8c7f10a19feaa9",
        ),
        dims=1024,
        max_seq_length=32768,
        preferred_backend="onnxruntime",
        matryoshka=Matryoshka(dims=(768, 512, 256, 128, 64, 32)),
        size_mb=1192,
        description="Retrieval over long texts in over 100 languages, with instructions; vectors may be shortened",
    ),
    _qwen(
        name="Qwen3-Embedding-4B",
        repo="Qwen/Qwen3-Embedding-4B",
        revision="5cf2132abc99cad020ac570b19d031efec650f2b",
        files={
            "model-00001-of-00002.safetensors": "e70bfe3c970523fb7ef4eddffed2254ce3f1e7150c3de2af4342de129dd756f8",
            "model-00002-of-00002.safetensors": "ed1b87c8e9eb7e535a1a155e4fd00d9f4dba80e58a6db48a4c9f82cede7079c1",
            "model.safetensors.index.json": None,
            "tokenizer.json": None,
            "config.json": None,
        },
        dims=2560,
        max_seq_length=40960,
        preferred_backend="transformers",
        matryoshka=Matryoshka(dims=(2048, 1024, 768, 512, 256, 128, 64, 32)),
        size_mb=8044,
        description="As the model of 0.6B, far larger and better; for a GPU",
    ),
    _qwen(
        name="Qwen3-Reranker-0.6B",
        repo="Qwen/Qwen3-Reranker-0.6B",
        revision="e61197ed45024b0ed8a2d74b80b4d909f1255473",
        files=files(weights="27cd75a405b9c1b46b59abfd88aaa209e6fed2a1972cde9b70e7659537c5e65b"),
        dims=1,
        max_seq_length=8192,
        preferred_backend="transformers",
        transformer=Transformer(pair=_JUDGE),
        chain=(LogitScore(true_token=9693, false_token=2152), Score(activation="sigmoid")),
        prompts={
            "query": "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: ",
            "document": "\n<Document>: ",
        },
        size_mb=1192,
        description="Reranks long texts in over 100 languages, by an instruction; for a GPU",
    ),
]
