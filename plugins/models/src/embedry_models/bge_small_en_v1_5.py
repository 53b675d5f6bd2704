"""bge-small-en-v1.5: made for retrieval; its query prompt matters."""

from embedry import ModelSpec, Normalize, Pooling

SPEC = ModelSpec(
    name="bge-small-en-v1.5",
    aliases=("bge-small", "bge-small-en"),
    repo="BAAI/bge-small-en-v1.5",
    revision="5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
    files={
        "model.safetensors": "3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad",
        "tokenizer.json": "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
        "config.json": "094f8e891b932f2000c92cfc663bac4c62069f5d8af5b5278c4306aef3084750",
    },
    dims=384,
    max_seq_length=512,
    preferred_backend="onnxruntime",
    architecture="bert",
    chain=(Pooling(mode="cls"), Normalize()),
    # "sentence", not "question": copies that say "question" are in circulation and give other vectors.
    prompts={"query": "Represent this sentence for searching relevant passages: "},
    similarity="cosine",
    license="MIT",
    languages=("en",),
    size_mb=133,
    description="Retrieval over English passages of up to 512 tokens; queries take a prompt, documents none",
)
