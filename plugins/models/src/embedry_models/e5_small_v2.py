"""e5-small-v2: made for retrieval; both queries and passages take a prompt."""

from embedry import ModelSpec, Normalize, Pooling

SPEC = ModelSpec(
    name="e5-small-v2",
    aliases=("e5-small",),
    repo="intfloat/e5-small-v2",
    revision="ffb93f3bd4047442299a41ebb6fa998a38507c52",
    files={
        "model.safetensors": "45bfa60070649aae2244fbc9d508537779b93b6f353c17b0f95ceccb1c5116c1",
        "tokenizer.json": "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
        "config.json": "5dfb0363cd0243be179c03bcaafd1542d0fbb95e8cbcf575fff3e229342adc2f",
    },
    dims=384,
    max_seq_length=512,
    preferred_backend="onnxruntime",
    architecture="bert",
    chain=(Pooling(mode="mean"), Normalize()),
    prompts={"query": "query: ", "document": "passage: "},
    similarity="cosine",
    license="MIT",
    languages=("en",),
    size_mb=133,
    description="Retrieval over English passages of up to 512 tokens; queries and passages each take a prompt",
)
