"""Late interaction models by LightOn: ModernBERT models that mark queries and documents with special tokens, without query expansion."""

from functools import partial

from embedry import Dense, LateInteraction, ModelSpec, Normalize, Transformer
from embedry_models._shared import ENGLISH, PUNCTUATION, files

_lighton = partial(
    ModelSpec,
    preferred_backend="onnxruntime",
    architecture="modernbert",
    transformer=Transformer(whole_tokens=("[Q] ", "[D] ")),
    prompts={"query": "[Q] ", "document": "[D] "},
    similarity="dot",
    license="Apache-2.0",
)
_code = partial(_lighton, max_seq_length=2048, languages=("en", "code"))
_OF_CODE = LateInteraction(query_length=256, skip=PUNCTUATION)

MODELS = [
    _lighton(
        name="GTE-ModernColBERT-v1",
        repo="lightonai/GTE-ModernColBERT-v1",
        revision="25f6f7bb8237b7ae25ae1d9b805ce17c0d1cc639",
        files=files("1_Dense/model.safetensors"),
        dims=128,
        max_seq_length=300,
        chain=(
            Dense(path="1_Dense", inputs=768, outputs=128, bias=False),
            Normalize(),
            LateInteraction(query_length=48, skip=PUNCTUATION),
        ),
        languages=ENGLISH,
        size_mb=596,
        description="Late interaction over English passages, larger and better than answerai-colbert-small-v1",
    ),
    _code(
        name="LateOn-Code",
        repo="lightonai/LateOn-Code",
        revision="734b659a57935ef50562d79581c3ff1f8d825c93",
        files=files("1_Dense/model.safetensors"),
        dims=128,
        chain=(Dense(path="1_Dense", inputs=768, outputs=128, bias=False), Normalize(), _OF_CODE),
        size_mb=596,
        description="Late interaction over source code, and over English about it",
    ),
    _code(
        name="LateOn-Code-edge",
        repo="lightonai/LateOn-Code-edge",
        revision="07ef20f406c86badca122464808f4cac2f6e4b25",
        files=files(
            "1_Dense/model.safetensors",
            "2_Dense/model.safetensors",
            tokenizer="a388b94942e98e5c661c6c23f919842285738bfd123a0d148dea0c56287505d0",
        ),
        transformer=Transformer(whole_tokens=("[Q] ", "[D] "), lower_case=True),
        dims=48,
        chain=(
            Dense(path="1_Dense", inputs=256, outputs=512, bias=False),
            Dense(path="2_Dense", inputs=512, outputs=48, bias=False),
            Normalize(),
            _OF_CODE,
        ),
        size_mb=68,
        description="As LateOn-Code, a ninth of its size, with short vectors",
    ),
]
