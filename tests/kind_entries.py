"""The entries of the folders of `kind_folders`, written by hand: what their layouts mean, as data.

Not every folder has one: what a chain cannot say is left out, such as a Dense that adds its input.
"""

import string
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from embedry import ModelSpec
from embedry.chains import Kind
from embedry.heads import (
    Classifier,
    LateInteraction,
    LogitScore,
    MaskedLM,
    Score,
    SpladePooling,
    TermTable,
)
from embedry.modules import Chain, Dense, LayerNorm, Normalize, Pooling
from embedry.transformer import PairFrame, Transformer
from kind_folders import INSTRUCTION, LENGTH, TEMPLATE_LENGTH, WIDTH

Entry = Callable[[Path], ModelSpec]

_WIDTHS = 16
"""Of the token vectors behind a Dense."""


def _words(folder: Path, file: str = "tokenizer.json") -> int:
    return Tokenizer.from_file(str(folder / file)).get_vocab_size()


def _entry(folder: Path, chain: Chain, *, dims: int, architecture: str = "bert", **fields: Any) -> ModelSpec:
    path = fields.get("transformer", Transformer()).path
    names = ["config.json", "tokenizer.json", "model.safetensors"]
    files = [f"{path}/{name}" if path else name for name in names]
    for module in (*chain, *fields.get("query_chain", ())):
        files += [module.weights] if isinstance(module, Dense | LayerNorm | TermTable) and module.weights else []
        files += [module.tokenizer] if isinstance(module, TermTable) else []
    defaults: dict[str, Any] = {"max_seq_length": LENGTH, "preferred_backend": "onnxruntime"}
    return ModelSpec(
        name=folder.name,
        dims=dims,
        architecture=architecture,
        chain=chain,
        files=dict.fromkeys(files),
        folder=str(folder),
        **defaults | fields,
    )


# Rerankers.


def _classes(
    folder: Path, architecture: str = "bert", *, labels: int = 1, shown: str = "", pooling: str = "cls", **fields: Any
) -> ModelSpec:
    activation = shown or ("sigmoid" if labels == 1 else "identity")
    chain: Any = (Classifier(labels=labels, pooling=pooling), Score(activation=activation))  # type: ignore[arg-type]
    return _entry(folder, chain, dims=labels, architecture=architecture, **fields)


def _head(folder: Path, pooling: str, architecture: str = "modernbert", shown: str = "sigmoid") -> ModelSpec:
    chain: Any = (
        Pooling(mode=pooling),
        Dense(path="2_Dense", inputs=WIDTH, outputs=WIDTH, bias=False, activation="gelu"),
        LayerNorm(path="3_LayerNorm"),
        Dense(path="4_Dense", inputs=WIDTH, outputs=1),
        Score(activation=shown),  # type: ignore[arg-type]
    )
    return _entry(folder, chain, dims=1, architecture=architecture)


_ANSWER = "<|im_end|>\n<|im_start|>assistant\n"


def _judged(folder: Path, instruction: str = "Find answers") -> ModelSpec:
    """A decoder with `kind_folders.QWEN_TEMPLATE`."""
    before = (
        '<|im_start|>system\nDoes the document meet the query? Answer only "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    )
    frame = PairFrame(before=before, after=f"{_ANSWER}<think>\n\n</think>\n")  # a template's last line has no end
    # What stands right before the texts is read together with them, as one token perhaps.
    return _decoder(folder, frame, "\n<Document>: ", "no", query=f"<Instruct>: {instruction}\n<Query>: ")


def _turns(folder: Path) -> ModelSpec:
    """A decoder with `kind_folders.TURNS_TEMPLATE`."""
    frame = PairFrame(before="<|im_start|>system\n", after=_ANSWER)
    return _decoder(folder, frame, "<|im_end|>\n<|im_start|>user\n", None)


def _decoder(folder: Path, frame: PairFrame, between: str, false: str | None, query: str = "") -> ModelSpec:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab()
    false_token = vocabulary[false] if false else None
    return _entry(
        folder,
        (LogitScore(true_token=vocabulary["yes"], false_token=false_token), Score(activation="sigmoid")),
        dims=1,
        architecture="qwen3",
        max_seq_length=TEMPLATE_LENGTH,
        preferred_backend="transformers",
        transformer=Transformer(pair=frame),
        prompts={"query": query, "document": between},
    )


RERANKERS: dict[str, Entry] = {
    "bert": _classes,
    "bert, 3 labels": partial(_classes, labels=3),
    "bert, Identity": partial(_classes, shown="identity"),
    "bert, old Identity": partial(_classes, shown="identity"),
    "bert, tokenizer of 40 tokens": partial(_classes, max_seq_length=40),
    "bert, tokenizer without a length": _classes,
    "roberta": partial(_classes, architecture="roberta"),
    "xlm-roberta": partial(_classes, architecture="xlm-roberta"),
    "distilbert": partial(_classes, architecture="distilbert"),
    "mpnet": partial(_classes, architecture="mpnet"),
    "electra": partial(_classes, architecture="electra", preferred_backend="transformers"),
    "deberta-v2": partial(_classes, architecture="deberta-v2", preferred_backend="transformers"),
    "modernbert, cls": partial(_classes, architecture="modernbert"),
    "modernbert, mean": partial(_classes, architecture="modernbert", pooling="mean"),
    "modernbert, biases": partial(
        _classes, architecture="modernbert", pooling="mean", preferred_backend="sentence-transformers"
    ),
    "new": partial(_classes, architecture="new"),
    "saved bert": _classes,
    "saved bert, 3 labels": partial(_classes, labels=3),
    "saved bert, 40 tokens": partial(_classes, max_seq_length=40),
    "saved bert, prompt": partial(_classes, prompts={"query": "query: ", "other": "x"}),
    "saved roberta, Identity": partial(_classes, architecture="roberta", shown="identity"),
    "saved modernbert": partial(_classes, architecture="modernbert"),
    "head, cls": partial(_head, pooling="cls"),
    "head, mean": partial(_head, pooling="mean"),
    "head on bert, Identity": partial(_head, pooling="cls", architecture="bert", shown="identity"),
    "saved qwen3 decoder": _judged,
    "saved qwen3 decoder, prompt": partial(_judged, instruction=INSTRUCTION),
    "saved qwen3 decoder, one token": _turns,
}

# Sparse encoders.


def _splade(
    folder: Path, architecture: str = "bert", strategy: str = "max", activation: str = "relu", **fields: Any
) -> ModelSpec:
    path = fields.get("transformer", Transformer()).file("tokenizer.json")
    chain: Any = (MaskedLM(), SpladePooling(strategy=strategy, activation=activation))  # type: ignore[arg-type]
    return _entry(folder, chain, dims=_words(folder, path), architecture=architecture, similarity="dot", **fields)


def _router(
    folder: Path, table: str = "", path: str = "document_0_Transformer", activation: str = "log1p_relu"
) -> ModelSpec:
    inner = "query_0_SparseStaticEmbedding"
    rows = _words(folder, f"{inner}/tokenizer.json")
    query = TermTable(outputs=rows, path=inner, **{"table": table} if table else {})
    return _splade(
        folder, "distilbert", activation=activation, query_chain=(query,), transformer=Transformer(path=path)
    )


SPARSE: dict[str, Entry] = {
    "bert": _splade,
    "bert, sum": partial(_splade, strategy="sum"),
    "bert, log1p_relu": partial(_splade, activation="log1p_relu"),
    "bert, sum of log1p_relu": partial(_splade, strategy="sum", activation="log1p_relu"),
    "bert, untied": _splade,
    "bert, old names": _splade,
    "bert, prompts": partial(_splade, prompts={"query": "query: ", "document": "passage: "}),
    "distilbert": partial(_splade, architecture="distilbert"),
    "roberta": partial(_splade, architecture="roberta"),
    "xlm-roberta": partial(_splade, architecture="xlm-roberta"),
    "mpnet": partial(_splade, architecture="mpnet"),
    "modernbert": partial(_splade, architecture="modernbert"),
    "modernbert, biases": partial(_splade, architecture="modernbert", preferred_backend="sentence-transformers"),
    "plain bert": _splade,
    "plain distilbert": partial(_splade, architecture="distilbert"),
    "router": _router,
    "router, old layout": partial(_router, path=""),
}

# Multi-vector encoders.

_PUNCTUATION = tuple(string.punctuation)


def _late(
    folder: Path,
    architecture: str = "bert",
    *,
    denses: tuple[tuple[str, int, int], ...] = (("1_Dense", WIDTH, _WIDTHS),),
    normed: bool = True,
    skip: tuple[str, ...] = _PUNCTUATION,
    end: Mapping[str, Any] | None = None,
    **fields: Any,
) -> ModelSpec:
    linear = tuple(Dense(path=path, inputs=inputs, outputs=outputs, bias=False) for path, inputs, outputs in denses)
    chain: Chain = (*linear, *((Normalize(),) if normed else ()), LateInteraction(skip=skip, **end or {}))
    return _entry(
        folder,
        chain,
        dims=denses[-1][2] if denses else WIDTH,
        architecture=architecture,
        similarity="dot",
        **fields,
    )


_LENGTHS: dict[str, Any] = {"query_length": 24, "document_length": 48}
_FIXED: dict[str, Any] = {"query_length": 24, "expand_to": 24}
_MARKERS: dict[str, Any] = {"prompts": {"query": "[unused0] ", "document": "[unused1] "}}
_PYLATE: dict[str, Any] = {
    "prompts": {"query": "[Q] ", "document": "[D] "},
    "transformer": Transformer(whole_tokens=("[Q] ", "[D] ")),
    "max_seq_length": 48,
}
_PYLATE_END: dict[str, Any] = _FIXED | {"document_length": 48}


def _stanford(folder: Path, query: str = "[unused0]", skip: tuple[str, ...] = _PUNCTUATION, **end: Any) -> ModelSpec:
    return _late(
        folder,
        denses=(("", WIDTH, _WIDTHS),),
        skip=skip,
        end=end,
        prompts={"query": f"{query} ", "document": "[unused1] "},
        transformer=Transformer(whole_tokens=(query, "[unused1]")),
    )


MULTI_VECTOR: dict[str, Entry] = {
    "bert": _late,
    "bert, no words skipped": partial(_late, skip=()),
    "bert, words skipped in queries too": partial(
        _late, skip=(".", ",", "the", "not one token"), end={"skip_in": ("query", "document")}
    ),
    "bert, kept tokens": partial(_late, skip=(), end={"keep_only": tuple(range(1000, 2400))}),
    "bert, two Dense": partial(_late, denses=(("1_Dense", WIDTH, 24), ("2_Dense", 24, _WIDTHS))),
    "bert, no Dense": partial(_late, denses=()),
    "bert, not normed": partial(_late, normed=False),
    "bert, lengths": partial(_late, end=_LENGTHS),
    "bert, prompts": partial(_late, end=_LENGTHS, prompts={"query": "query: ", "document": "passage: "}),
    "bert, markers": partial(_late, end=_LENGTHS, **_MARKERS),
    "bert, expansion": partial(_late, end=_FIXED | {"document_length": 48}, **_MARKERS),
    "bert, attended expansion": partial(_late, end=_FIXED | {"document_length": 48, "attend": True}, **_MARKERS),
    "bert, least expansion": partial(_late, end={"query_length": 40, "expand_to": 24}),
    "bert, attended least expansion": partial(_late, end={"expand_to": 24, "attend": True}),
    "bert, expansion by [unused2]": partial(_late, end=_FIXED | {"expand_with": "[unused2]"}),
    "distilbert": partial(_late, architecture="distilbert", end=_FIXED),
    "roberta": partial(_late, architecture="roberta", end=_FIXED | {"expand_with": "<mask>"}),
    "xlm-roberta": partial(_late, architecture="xlm-roberta", end=_FIXED | {"expand_with": "<mask>", "attend": True}),
    "modernbert": partial(_late, architecture="modernbert", end=_LENGTHS | {"expand_to": 24}),
    "modernbert, no expansion": partial(_late, architecture="modernbert", end=_LENGTHS),
    "pylate": partial(_late, end=_PYLATE_END, **_PYLATE),
    "pylate, no expansion": partial(_late, end=_PYLATE_END | {"expand_to": 0}, **_PYLATE),
    "pylate, attended expansion": partial(_late, end=_PYLATE_END | {"attend": True}, **_PYLATE),
    "pylate, prompts": partial(
        _late,
        end=_PYLATE_END,
        **_PYLATE | {"prompts": {"query": "[Q] search: ", "document": "[D] passage: "}},
    ),
    "pylate, defaults": partial(_late, end=_PYLATE_END | {"query_length": 32, "expand_to": 32}, **_PYLATE),
    "pylate, modernbert": partial(
        _late,
        architecture="modernbert",
        denses=(("1_Dense", WIDTH, 24), ("2_Dense", 24, _WIDTHS)),
        end=_PYLATE_END,
        **_PYLATE,
    ),
    "stanford": partial(_stanford, query_length=20, expand_to=20, document_length=48),
    "stanford, other settings": partial(
        _stanford, query="[unused5]", skip=(), query_length=20, expand_to=20, document_length=48, attend=True
    ),
    "stanford, no artifact.metadata": partial(_stanford, query_length=32, expand_to=32),
}

ENTRIES: dict[Kind, dict[str, Entry]] = {"reranker": RERANKERS, "sparse": SPARSE, "multi_vector": MULTI_VECTOR}
