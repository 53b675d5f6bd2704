"""Makes folders of rerankers, sparse encoders and multi-vector encoders, as sentence-transformers and its forerunners save them.

Each is tiny, with random weights of a true architecture and a real tokenizer of its kind, and reads no more than `LENGTH`
tokens, decoders no more than `TEMPLATE_LENGTH`. `RERANKERS`, `SPARSE` and `MULTI_VECTOR` list them: a name, and what makes the
folder; `make_multi_vector` and its like are what most of them are made with. `kind_references` has what they compute.
"""

import json
import os
import string
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer

import tokenizer_kinds
from folder_edits import change, rename_modules
from folders import tokenizers

Maker = Callable[[Path], None]

WIDTH = 32
LENGTH = 64
"""Tokens that the models read at most."""
TEMPLATE_LENGTH = 160
"""Tokens that decoders read at most: their chat templates alone take up to about 100."""

_SHAPE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": LENGTH,
}
_AFTER_PADDING: dict[str, Any] = {"max_position_embeddings": LENGTH + 2, "pad_token_id": 1, "type_vocab_size": 1}
_DECODER: dict[str, Any] = {
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": TEMPLATE_LENGTH, "tie_word_embeddings": True,
}  # fmt: skip

_FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("Bert", "bert", {}),
    "distilbert": ("DistilBert", "distilbert", {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}),
    "roberta": ("Roberta", "roberta", _AFTER_PADDING),
    "xlm-roberta": ("XLMRoberta", "xlm-roberta", _AFTER_PADDING),
    "mpnet": ("MPNet", "mpnet", {"max_position_embeddings": LENGTH + 2, "pad_token_id": 1}),
    "electra": ("Electra", "bert", {"embedding_size": 16}),
    "deberta-v2": (
        "DebertaV2", "bert",
        {
            "relative_attention": True, "position_buckets": 8, "max_relative_positions": -1, "norm_rel_ebd": "layer_norm",
            "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
        },
    ),
    "modernbert": ("ModernBert", "modernbert", {"num_hidden_layers": 3, "local_attention": 16}),
    "gte": ("Gte", "xlm-roberta", {"pad_token_id": 1}),
    "qwen2": ("Qwen2", "qwen", _DECODER),
    "qwen3": ("Qwen3", "qwen", _DECODER),
}  # fmt: skip
"""A family -> the beginning of its classes' names in transformers, the kind of its tokenizer, its settings."""

INSTRUCTION = "Given a question, find passages that answer it"

QWEN_TEMPLATE = """\
{%- set instruction = messages | selectattr("role", "eq", "system") | map(attribute="content") | first | default("Find answers") -%}
<|im_start|>system
Does the document meet the query? Answer only "yes" or "no".<|im_end|>
<|im_start|>user
<Instruct>: {{ instruction }}
<Query>: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}
<Document>: {{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first }}<|im_end|>
<|im_start|>assistant
<think>

</think>

"""
"""A chat template with the parts of Qwen3-Reranker's: fixed tokens before and behind the pair, a system message in the middle."""

TURNS_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ {"query": "system", "document": "user"}.get(message.role, message.role) }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
"""A chat template with a turn for the query and one for the document, as zerank-2's has; it honors add_generation_prompt."""


@cache
def wordpiece() -> Path:
    """The tokenizer.json of the real all-MiniLM-L6-v2, which is BERT's, from the package that carries it."""
    from embedry._files import sources
    from embedry.registry import installed

    cache_dir = Path(os.environ["EMBEDRY_CACHE"]).absolute()
    spec = installed().find("all-MiniLM-L6-v2")
    assert spec is not None
    found = sources.find_local(spec, cache_dir) or sources.pull(spec, cache_dir, source="index")
    return found.folder / "tokenizer.json"


@cache
def _tokenizers() -> dict[str, PreTrainedTokenizerBase]:
    return tokenizers(wordpiece()) | {"modernbert": _modernbert_tokenizer(), "qwen": _qwen_tokenizer()}


def _tokenizer(kind: str) -> PreTrainedTokenizerBase:
    """A copy of its own: some are changed."""
    return deepcopy(_tokenizers()[kind])


def _modernbert_tokenizer() -> Any:
    tokenizer = tokenizer_kinds.modernbert()
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.model_max_length = LENGTH
    return tokenizer


def _qwen_tokenizer() -> Any:
    """One that adds nothing to a text, with tokens for "yes" and "no"."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    texts = [*tokenizer_kinds.SENTENCES, QWEN_TEMPLATE, TURNS_TEMPLATE, INSTRUCTION, "yes", "no", "yes", "no"]
    bpe.train_from_iterator(texts * 2, trainer)
    model = json.loads(bpe.to_str())["model"]
    merges: Any = [(left, right) for left, right in model["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=model["vocab"], merges=merges, model_max_length=TEMPLATE_LENGTH)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    assert {"yes", "no"} <= set(model["vocab"])
    return tokenizer


def _model(family: str, head: str, rows: int, **settings: Any) -> Any:
    """A model with `rows` token vectors, in which every parameter matters and inputs make a difference."""
    name, _, own = _FAMILIES[family]
    defaults = {"pad_token_id": 0} if family in ("modernbert", "qwen2", "qwen3") else {}
    config = getattr(transformers, f"{name}Config")(**_SHAPE | defaults | own | {"vocab_size": rows} | settings)
    torch.manual_seed(0)
    made = getattr(transformers, f"{name}{head}")(config)
    _fill(made)
    if head == "ForMaskedLM":
        _thin(made, rows)
    return made.eval()


def _thin(model: Any, rows: int) -> None:
    """Lowers the logits of a masked language model until a token has one in fifty of the vocabulary's words: trained ones have few."""
    ids = torch.randint(5, rows, (8, 30), generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        logits = model.eval()(input_ids=ids).logits
    model.get_output_embeddings().bias.data.sub_(logits.flatten().quantile(0.98))


def _save(
    folder: Path,
    family: str,
    head: str,
    tokenizer: PreTrainedTokenizerBase | None = None,
    edit: Maker | None = None,
    **settings: Any,
) -> None:
    """A folder of transformers alone: config.json, model.safetensors and a tokenizer."""
    tokenizer = tokenizer or _tokenizer(_FAMILIES[family][1])
    _model(family, head, len(tokenizer), **settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if edit is not None:
        edit(folder)


def _filled(*modules: nn.Module) -> list[nn.Module]:
    """Modules of a chain, all of whose parameters matter."""
    torch.manual_seed(1)
    for module in modules:
        _fill(module)
    return list(modules)


def _fill(module: nn.Module) -> None:
    """Random numbers: of a size that keeps the sizes of vectors, larger ones for words, so that they still differ behind the
    layers, and for the product that gives the scores."""
    for name, parameter in module.named_parameters():
        noise = torch.randn_like(parameter)
        if parameter.dim() == 1:
            parameter.data.add_(noise * 0.1)
            continue
        is_last = len(parameter) < 4 and "token_type" not in name
        is_table = any(part in name for part in ("word_embeddings", "tok_embeddings", "embed_tokens", "decoder"))
        parameter.data.copy_(noise * (0.6 if is_last or is_table else 0.18))


def _transformer(family: str, head: str, task: str, tokenizer: Any = None, **options: Any) -> Transformer:
    with TemporaryDirectory() as raw:
        _save(Path(raw), family, head, tokenizer, **options.pop("settings", {}))
        made: Transformer = Transformer(raw, transformer_task=task, **options)
        return made


# Rerankers.


def make_classes(folder: Path, family: str, edit: Maker | None = None, **settings: Any) -> None:
    """A plain folder of a model for sequence classification, of one label if not told otherwise."""
    _save(folder, family, "ForSequenceClassification", edit=edit, **{"num_labels": 1} | settings)


def make_saved_classes(folder: Path, family: str, settings: Mapping[str, Any] | None = None, **options: Any) -> None:
    """The same, as CrossEncoder saves it."""
    with TemporaryDirectory() as raw:
        make_classes(Path(raw), family, **settings or {})
        CrossEncoder(raw, device="cpu", local_files_only=True, **options).save_pretrained(
            str(folder), create_model_card=False
        )


def make_head(folder: Path, pooling: str, family: str = "modernbert", **options: Any) -> None:
    """The layout of cross-encoder/ettin-reranker-*: the head in modules of its own."""
    body = _transformer(family, "Model", "feature-extraction")
    chain = _filled(
        Pooling(WIDTH, pooling_mode=pooling),
        Dense(WIDTH, WIDTH, bias=False, activation_function=nn.GELU()),
        LayerNorm(WIDTH),
        Dense(WIDTH, 1, activation_function=nn.Identity(), module_output_name="scores"),
    )
    CrossEncoder(modules=[body, *chain], device="cpu", **options).save_pretrained(str(folder), create_model_card=False)


def make_chat(folder: Path, template: str, false: str | None, kwargs: Any = None, **options: Any) -> None:
    """A decoder whose logits of one or two tokens are the score, with the chat template that pairs go through."""
    tokenizer = _tokenizer("qwen")
    tokenizer.chat_template = template
    body = _transformer("qwen3", "ForCausalLM", "text-generation", tokenizer, processing_kwargs=kwargs)
    yes, no = (tokenizer.convert_tokens_to_ids(word) if word else None for word in ("yes", false))
    score = LogitScore(yes, no)  # type: ignore[arg-type]
    CrossEncoder(modules=[body, score], device="cpu", **options).save_pretrained(str(folder), create_model_card=False)


def make_decoder(folder: Path, template: str | None = None) -> None:
    """A plain Qwen3ForCausalLM, with a chat template or without."""
    tokenizer = _tokenizer("qwen")
    tokenizer.chat_template = template
    _save(folder, "qwen3", "ForCausalLM", tokenizer)


def make_chat_classes(folder: Path) -> None:
    """A Qwen3ForSequenceClassification with a chat template."""
    tokenizer = _tokenizer("qwen")
    tokenizer.chat_template = QWEN_TEMPLATE
    _save(folder, "qwen3", "ForSequenceClassification", tokenizer, num_labels=1)


def make_new(folder: Path) -> None:
    """Alibaba's "new" as its own code spells it, which sentence-transformers cannot load; beside the folder is `as_gte`,
    the same model as transformers spells it."""
    make_classes(as_gte(folder), "gte")
    folder.mkdir(parents=True, exist_ok=True)
    for file in as_gte(folder).iterdir():
        if file.name.startswith("tokenizer"):
            (folder / file.name).write_bytes(file.read_bytes())
    settings = json.loads((as_gte(folder) / "config.json").read_text())
    code = "Alibaba-NLP/new-impl--{}"
    own = {
        "architectures": ["NewForSequenceClassification"], "model_type": "new", "position_embedding_type": "rope",
        "auto_map": {
            "AutoConfig": code.format("configuration.NewConfig"),
            "AutoModelForSequenceClassification": code.format("modeling.NewForSequenceClassification"),
        },
        "rope_theta": settings.pop("rope_parameters")["rope_theta"], "rope_scaling": None, "layer_norm_type": "layer_norm",
        "pack_qkv": True, "logn_attention_scale": False, "logn_attention_clip1": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings | own))
    found = load_file(as_gte(folder) / "model.safetensors")
    spelled: dict[str, torch.Tensor] = {}
    for name, tensor in found.items():
        layer, _, part = name.removeprefix("gte.layers.").partition(".")
        if not name.startswith("gte.layers."):
            spelled[name.replace("gte.", "new.", 1)] = tensor
            continue
        others = {"self_attn.q_proj": ("self_attn.k_proj", "self_attn.v_proj"), "mlp.up_proj": ("mlp.gate_proj",)}
        part, _, end = part.rpartition(".")
        if part in ("self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj"):
            continue
        rows = [tensor, *(found[f"gte.layers.{layer}.{other}.{end}"] for other in others.get(part, ()))]
        spelled[f"new.encoder.layer.{layer}.{_NEW_NAMES[part]}.{end}"] = torch.cat(rows)
    save_file(spelled, folder / "model.safetensors", metadata={"format": "pt"})


_NEW_NAMES = {
    "self_attn.q_proj": "attention.qkv_proj", "self_attn.o_proj": "attention.o_proj", "post_attention_layernorm": "attn_ln",
    "mlp.up_proj": "mlp.up_gate_proj", "mlp.down_proj": "mlp.down_proj", "post_mlp_layernorm": "mlp_ln",
}  # fmt: skip


def as_gte(folder: Path) -> Path:
    """Where `make_new` puts the same model in the spelling of transformers."""
    return folder.with_name(f"{folder.name} as gte")


_IDENTITY = "torch.nn.modules.linear.Identity"

RERANKERS: dict[str, Maker] = {
    "bert": partial(make_classes, family="bert"),
    "bert, 3 labels": partial(make_classes, family="bert", num_labels=3),
    "bert, Identity": partial(
        make_classes,
        family="bert",
        edit=change("config.json", sentence_transformers={"activation_fn": _IDENTITY, "version": "4.0.1"}),
    ),
    "bert, old Identity": partial(
        make_classes, family="bert", edit=change("config.json", sbert_ce_default_activation_function=_IDENTITY)
    ),
    "bert, tokenizer of 40 tokens": partial(
        make_classes, family="bert", edit=change("tokenizer_config.json", model_max_length=40)
    ),
    "bert, tokenizer without a length": partial(
        make_classes, family="bert", edit=change("tokenizer_config.json", model_max_length=None)
    ),
    "roberta": partial(make_classes, family="roberta"),
    "xlm-roberta": partial(make_classes, family="xlm-roberta"),
    "distilbert": partial(make_classes, family="distilbert"),
    "mpnet": partial(make_classes, family="mpnet"),
    "electra": partial(make_classes, family="electra"),
    "deberta-v2": partial(make_classes, family="deberta-v2"),
    "modernbert, cls": partial(make_classes, family="modernbert", classifier_pooling="cls"),
    "modernbert, mean": partial(make_classes, family="modernbert", classifier_pooling="mean"),
    "modernbert, biases": partial(
        make_classes, family="modernbert", classifier_pooling="mean", classifier_bias=True, norm_bias=True
    ),
    "gte": partial(make_classes, family="gte"),
    "new": make_new,
    "qwen2": partial(make_classes, family="qwen2"),
    "qwen3": partial(make_classes, family="qwen3"),
    "qwen3, chat template": make_chat_classes,
    "saved bert": partial(make_saved_classes, family="bert"),
    "saved bert, 3 labels": partial(make_saved_classes, family="bert", settings={"num_labels": 3}),
    "saved bert, 40 tokens": partial(make_saved_classes, family="bert", max_length=40),
    "saved bert, prompt": partial(
        make_saved_classes, family="bert", prompts={"query": "query: ", "other": "x"}, default_prompt_name="query"
    ),
    "saved roberta, Identity": partial(make_saved_classes, family="roberta", activation_fn=nn.Identity()),
    "saved modernbert": partial(make_saved_classes, family="modernbert"),
    "head, cls": partial(make_head, pooling="cls"),
    "head, mean": partial(make_head, pooling="mean"),
    "head on bert, Identity": partial(make_head, pooling="cls", family="bert", activation_fn=nn.Identity()),
    "qwen3 decoder": make_decoder,
    "qwen3 decoder, chat template": partial(make_decoder, template=QWEN_TEMPLATE),
    "saved qwen3 decoder": partial(make_chat, template=QWEN_TEMPLATE, false="no"),
    "saved qwen3 decoder, prompt": partial(
        make_chat, template=QWEN_TEMPLATE, false="no", prompts={"query": INSTRUCTION}, default_prompt_name="query"
    ),
    "saved qwen3 decoder, one token": partial(
        make_chat, template=TURNS_TEMPLATE, false=None, kwargs={"chat_template": {"add_generation_prompt": True}}
    ),
}


# Sparse encoders.


def make_sparse(
    folder: Path,
    family: str,
    pooling: str = "max",
    activation: str = "relu",
    edit: Maker | None = None,
    **settings: Any,
) -> None:
    """A masked language model and SpladePooling, as SparseEncoder saves them."""
    chain = _splade(family, pooling, activation, settings)
    SparseEncoder(modules=chain, device="cpu").save_pretrained(str(folder), create_model_card=False)
    if edit is not None:
        edit(folder)


def _splade(family: str, pooling: str, activation: str, settings: Mapping[str, Any]) -> list[nn.Module]:
    body = _transformer(family, "ForMaskedLM", "fill-mask", settings=settings)
    return [body, SpladePooling(pooling, activation)]  # type: ignore[arg-type]


def make_masked(folder: Path, family: str) -> None:
    """A plain folder of a masked language model, which SparseEncoder takes for SPLADE with max."""
    _save(folder, family, "ForMaskedLM")


def _as_version_5(folder: Path) -> None:
    """The class names and the files of sentence-transformers 5."""
    old = "sentence_transformers.sparse_encoder.models"
    rename_modules({"Transformer": f"{old}.MLMTransformer", "SpladePooling": f"{old}.SpladePooling"})(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps(_VERSION_5))
    pooling = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": None}
    (folder / "1_SpladePooling" / "config.json").write_text(json.dumps(pooling))


_VERSION_5 = {"max_seq_length": LENGTH, "do_lower_case": False}
"""What sentence_bert_config.json said."""


def make_router(folder: Path, form: str) -> None:
    """A table of word weights for queries, a masked language model for documents.

    Args:
        form: "weights" for a table in safetensors, "idf" for one in a JSON file that its config.json names by its whole path
            (the library finds no other in a local folder), "old" for the layout of
            opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill, with the language model at the top.
    """
    tokenizer = _tokenizer("distilbert")
    generator = torch.Generator().manual_seed(2)
    table = torch.rand(len(tokenizer), generator=generator) * 8
    table[tokenizer.all_special_ids] = 0
    static = SparseStaticEmbedding(tokenizer, weight=table, frozen=form == "old")  # type: ignore[arg-type]
    documents: list[Any] = _splade("distilbert", "max", "relu" if form == "idf" else "log1p_relu", {})
    router = Router.for_query_document([static], documents)
    SparseEncoder(modules=[router], device="cpu", similarity_fn_name="dot").save_pretrained(
        str(folder), create_model_card=False
    )
    idf = {word: round(float(table[token]), 4) for word, token in tokenizer.get_vocab().items() if table[token]}
    inner = folder / "query_0_SparseStaticEmbedding"
    if form != "weights":
        (folder / "idf.json").write_text(json.dumps(idf), encoding="utf-8")
    if form == "idf":
        (inner / "model.safetensors").unlink()
        change("query_0_SparseStaticEmbedding/config.json", path=str(folder / "idf.json"))(folder)
    if form == "old":
        _to_the_top(folder)


def _to_the_top(folder: Path) -> None:
    for file in (folder / "document_0_Transformer").iterdir():
        file.rename(folder / file.name)
    (folder / "document_0_Transformer").rmdir()
    (folder / "sentence_bert_config.json").write_text(json.dumps(_VERSION_5))
    found = json.loads((folder / "router_config.json").read_text())
    old = "sentence_transformers.sparse_encoder.models"
    found["types"] = {
        "query_0_SparseStaticEmbedding": f"{old}.SparseStaticEmbedding.SparseStaticEmbedding",
        "": f"{old}.MLMTransformer.MLMTransformer",
        "document_1_SpladePooling": f"{old}.SpladePooling.SpladePooling",
    }
    found["structure"]["document"] = ["", "document_1_SpladePooling"]
    (folder / "router_config.json").write_text(json.dumps(found))
    rename_modules({"Router": "sentence_transformers.models.Router"}, {"Router": ""})(folder)


SPARSE: dict[str, Maker] = {
    "bert": partial(make_sparse, family="bert"),
    "bert, sum": partial(make_sparse, family="bert", pooling="sum"),
    "bert, log1p_relu": partial(make_sparse, family="bert", activation="log1p_relu"),
    "bert, sum of log1p_relu": partial(make_sparse, family="bert", pooling="sum", activation="log1p_relu"),
    "bert, untied": partial(make_sparse, family="bert", tie_word_embeddings=False),
    "bert, old names": partial(make_sparse, family="bert", edit=_as_version_5),
    "bert, 16 of a text": partial(
        make_sparse, family="bert", edit=change("config_sentence_transformers.json", max_active_dims=16)
    ),
    "bert, prompts": partial(
        make_sparse,
        family="bert",
        edit=change("config_sentence_transformers.json", prompts={"query": "query: ", "document": "passage: "}),
    ),
    "distilbert": partial(make_sparse, family="distilbert"),
    "roberta": partial(make_sparse, family="roberta"),
    "xlm-roberta": partial(make_sparse, family="xlm-roberta"),
    "mpnet": partial(make_sparse, family="mpnet"),
    "modernbert": partial(make_sparse, family="modernbert"),
    "modernbert, biases": partial(make_sparse, family="modernbert", classifier_bias=True, norm_bias=True),
    "plain bert": partial(make_masked, family="bert"),
    "plain distilbert": partial(make_masked, family="distilbert"),
    "router": partial(make_router, form="weights"),
    "router, idf.json": partial(make_router, form="idf"),
    "router, old layout": partial(make_router, form="old"),
}


# Multi-vector encoders.

PUNCTUATION = list(string.punctuation)


def _dense(inputs: int, outputs: int, **options: Any) -> Dense:
    return Dense(
        inputs, outputs, bias=False, activation_function=nn.Identity(), module_input_name="token_embeddings", **options
    )


def make_multi_vector(
    folder: Path,
    family: str = "bert",
    denses: Sequence[Callable[[], Dense]] = (partial(_dense, WIDTH, 16),),
    mask: Mapping[str, Any] | None = None,
    normed: bool = True,
    prompts: Mapping[str, str] | None = None,
    markers: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """A transformer, a Dense or more, the mask and the norm, as MultiVectorEncoder saves them.

    Args:
        folder: where to.
        family: of the transformer.
        denses: what makes each Dense.
        mask: how MultiVectorMask is set up; by default it leaves out the punctuation of documents.
        normed: whether vectors are scaled to unit length.
        prompts: of each role.
        markers: which of the tokenizer's words are tokens of their own wherever they stand in a text.
        settings: of the transformer's config.json.
        options: lengths and query expansion, for the module of the transformer.
    """
    tokenizer = _tokenizer(_FAMILIES[family][1])
    if markers:
        special = [AddedToken(marker, normalized=False, special=True) for marker in markers]
        tokenizer.add_special_tokens({"additional_special_tokens": special})
    body = _transformer(family, "Model", "feature-extraction", tokenizer, settings=settings or {}, **options)
    chain: list[nn.Module] = [*(dense() for dense in denses)]
    chain.append(MultiVectorMask(**{"skiplist_words": PUNCTUATION} if mask is None else mask))
    if normed:
        chain.append(Normalize(module_input_name="token_embeddings"))
    MultiVectorEncoder(
        modules=[body, *_filled(*chain)], prompts=dict(prompts or {}), device="cpu", similarity_fn_name="maxsim"
    ).save_pretrained(str(folder), create_model_card=False)


def make_pylate(folder: Path, family: str = "bert", edit: Maker | None = None, two: bool = False) -> None:
    """What PyLate saves: markers that the tokenizer has been given, a transformer and a Dense of PyLate's class."""
    tokenizer = _tokenizer(_FAMILIES[family][1])
    tokenizer.backend_tokenizer.add_tokens([AddedToken("[Q] "), AddedToken("[D] ")])
    settings: dict[str, Any] = {"local_attention": 64} if family == "modernbert" else {}
    _save(folder, family, "Model", tokenizer, **settings)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    torch.manual_seed(1)
    sizes = [(WIDTH, 24), (24, 16)] if two else [(WIDTH, 16)]
    for number, (inputs, outputs) in enumerate(sizes, 1):
        inner = f"{number}_Dense"
        modules.append({"idx": number, "name": str(number), "path": inner, "type": "pylate.models.Dense.Dense"})
        (folder / inner).mkdir()
        shape = {"in_features": inputs, "out_features": outputs}
        others = {"bias": False, "activation_function": _IDENTITY, "use_residual": False}
        (folder / inner / "config.json").write_text(json.dumps(shape | others))
        save_file({"linear.weight": torch.randn(outputs, inputs) * 0.25}, folder / inner / "model.safetensors")
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 47, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps(
            {
                "model_type": "ColBERT",
                "__version__": {"sentence_transformers": "5.1.1", "transformers": "4.57.3", "pytorch": "2.9.0"},
                "prompts": {"query": "", "document": ""},
                "default_prompt_name": None,
                "similarity_fn_name": "MaxSim",
                "query_prefix": "[Q] ",
                "document_prefix": "[D] ",
                "query_length": 24,
                "document_length": 48,
                "attend_to_expansion_tokens": False,
                "skiplist_words": PUNCTUATION,
                "do_query_expansion": True,
            }
        )
    )
    if edit is not None:
        edit(folder)


_PYLATE = "config_sentence_transformers.json"


def make_stanford(folder: Path, metadata: Mapping[str, Any] | None) -> None:
    """What the code of Khattab and Zaharia saves: BERT and the projection in one file, settings in artifact.metadata."""
    tokenizer = _tokenizer("bert")
    _save(folder, "bert", "Model", tokenizer, edit=change("config.json", architectures=["HF_ColBERT"]))
    found = {f"bert.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    projection = torch.randn(16, WIDTH, generator=torch.Generator().manual_seed(3)) * 0.25
    save_file(found | {"linear.weight": projection}, folder / "model.safetensors", metadata={"format": "pt"})
    if metadata is not None:
        settings = {
            "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]", "doc_token": "[D]",
            "similarity": "cosine", "dim": 16, "query_maxlen": 20, "doc_maxlen": 48, "mask_punctuation": True,
            "attend_to_mask_tokens": False, "checkpoint": "bert-base-uncased", "interaction": "colbert",
        }  # fmt: skip
        (folder / "artifact.metadata").write_text(json.dumps(settings | dict(metadata)))


def _expansion(strategy: str, length: int, **options: Any) -> dict[str, Any]:
    return {"query_expansion": {"strategy": strategy, "length": length, **options}}


_LENGTHS: dict[str, Any] = {"query_length": 24, "document_length": 48}
_MARKERS: dict[str, Any] = {
    "markers": ("[unused0]", "[unused1]"),
    "prompts": {"query": "[unused0] ", "document": "[unused1] "},
}

MULTI_VECTOR: dict[str, Maker] = {
    "bert": make_multi_vector,
    "bert, no words skipped": partial(make_multi_vector, mask={}),
    "bert, words skipped in queries too": partial(
        make_multi_vector,
        mask={"skiplist_words": [".", ",", "the", "not one token"], "skiplist_tasks": ["query", "document"]},
    ),
    "bert, kept tokens": partial(make_multi_vector, mask={"keep_only_token_ids": list(range(1000, 2400))}),
    "bert, two Dense": partial(make_multi_vector, denses=(partial(_dense, WIDTH, 24), partial(_dense, 24, 16))),
    "bert, residual Dense": partial(
        make_multi_vector,
        denses=(partial(_dense, WIDTH, WIDTH, use_residual=True), partial(_dense, WIDTH, 16, use_residual=True)),
    ),
    "bert, no Dense": partial(make_multi_vector, denses=()),
    "bert, not normed": partial(make_multi_vector, normed=False),
    "bert, lengths": partial(make_multi_vector, **_LENGTHS),
    "bert, prompts": partial(make_multi_vector, prompts={"query": "query: ", "document": "passage: "}, **_LENGTHS),
    "bert, markers": partial(make_multi_vector, **_MARKERS, **_LENGTHS),
    "bert, expansion": partial(make_multi_vector, **_MARKERS, document_length=48, **_expansion("fixed", 24)),
    "bert, attended expansion": partial(
        make_multi_vector, **_MARKERS, document_length=48, **_expansion("fixed", 24, attend=True)
    ),
    "bert, least expansion": partial(make_multi_vector, query_length=40, **_expansion("min", 24)),
    "bert, attended least expansion": partial(make_multi_vector, **_expansion("min", 24, attend=True)),
    "bert, expansion by [unused2]": partial(make_multi_vector, **_expansion("fixed", 24, token="[unused2]")),
    "distilbert": partial(make_multi_vector, family="distilbert", **_expansion("fixed", 24)),
    "roberta": partial(make_multi_vector, family="roberta", **_expansion("fixed", 24)),
    "xlm-roberta": partial(make_multi_vector, family="xlm-roberta", **_expansion("fixed", 24, attend=True)),
    "modernbert": partial(
        make_multi_vector, family="modernbert", settings={"local_attention": 64}, **_LENGTHS, **_expansion("fixed", 24)
    ),
    "modernbert, no expansion": partial(make_multi_vector, family="modernbert", **_LENGTHS),
    "pylate": make_pylate,
    "pylate, no expansion": partial(make_pylate, edit=change(_PYLATE, do_query_expansion=False)),
    "pylate, attended expansion": partial(make_pylate, edit=change(_PYLATE, attend_to_expansion_tokens=True)),
    "pylate, prompts": partial(
        make_pylate, edit=change(_PYLATE, prompts={"query": "search: ", "document": "passage: "})
    ),
    "pylate, defaults": partial(
        make_pylate, edit=change(_PYLATE, skiplist_words=None, do_query_expansion=None, query_length=None)
    ),
    "pylate, no model_type": partial(make_pylate, edit=change(_PYLATE, model_type=None)),
    "pylate, modernbert": partial(make_pylate, family="modernbert", two=True),
    "stanford": partial(make_stanford, metadata={}),
    "stanford, other settings": partial(
        make_stanford,
        metadata={"mask_punctuation": False, "attend_to_mask_tokens": True, "query_token_id": "[unused5]"},
    ),
    "stanford, no artifact.metadata": partial(make_stanford, metadata=None),
}
