"""The files of rerankers, sparse and multi-vector embedders describe them completely, or are refused with the reason."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import kind_references as reference
from embedry import (
    EmbedryError,
    EmbedryWarning,
    IntegrityError,
    ModelSpec,
    UnknownModelError,
    UnsupportedModelError,
    WeightsNotFoundError,
    _layouts,
    discovery,
)
from embedry._files import hub_cache
from embedry._layouts import from_folder, from_hub
from embedry.chains import Kind
from embedry.heads import Classifier, LateInteraction, LogitScore, MaskedLM, Score, SpladePooling, TermTable
from embedry.modules import Dense, Normalize
from embedry.resolver import resolve_kind
from embedry.spec import NO_LIMIT
from embedry.transformer import PairFrame, Transformer
from folder_edits import both, change, set_in
from kind_entries import ENTRIES
from kind_folders import QWEN_TEMPLATE, TURNS_TEMPLATE, WIDTH, Maker
from kind_models import MAKERS
from small_hub import SmallHub

Made = Callable[[Kind, str], Path]
Edit = Maker

REFUSED = {
    ("reranker", "modernbert, biases"): "config.json sets norm_bias to True",
    (
        "reranker",
        "qwen3 decoder",
    ): "is a decoder without a chat template, and nothing says how it reads a pair of texts",
    ("sparse", "bert, 16 of a text"): "config_sentence_transformers.json sets max_active_dims to 16",
    ("sparse", "modernbert, biases"): "config.json sets norm_bias to True",
    (
        "sparse",
        "plain bert",
    ): "config.json names the class BertForMaskedLM, and without modules.json nothing says whether",
    ("sparse", "plain distilbert"): "config.json names the class DistilBertForMaskedLM, and without modules.json",
    (
        "sparse",
        "router, idf.json",
    ): "the folder of its tokenizer alone: copy it to query_0_SparseStaticEmbedding/idf.json",
    ("multi_vector", "bert, residual Dense"): "1_Dense/config.json sets use_residual to True",
}
"""Folders that no entry describes, or that state something that no engine does."""

SIGMOID = Score(activation="sigmoid")
QWEN_HEAD = (
    '<|im_start|>system\nDoes the document meet the query? Answer only "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
QWEN_FRAME = PairFrame(before=QWEN_HEAD, after="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n")
OTHERS: dict[tuple[Kind, str], tuple[Any, Transformer]] = {
    ("reranker", "gte"): ((Classifier(), SIGMOID), Transformer()),
    ("reranker", "qwen2"): ((Classifier(), SIGMOID), Transformer()),
    ("reranker", "qwen3"): ((Classifier(), SIGMOID), Transformer()),
    ("reranker", "qwen3, chat template"): ((Classifier(), SIGMOID), Transformer(pair=QWEN_FRAME)),
    ("reranker", "qwen3 decoder, chat template"): (
        (LogitScore(true_token=539, false_token=534), SIGMOID),
        Transformer(pair=QWEN_FRAME),
    ),
}
"""Folders that `kind_entries` does not have -> chain and transformer."""


@pytest.fixture
def edited(kind_folder: Made, tmp_path: Path) -> Callable[[Kind, str, Edit], Path]:
    """A copy of such a folder, with a change."""

    def make(kind: Kind, name: str, edit: Edit) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(kind_folder(kind, name), folder)
        edit(folder)
        return folder

    return make


def whole(spec: ModelSpec) -> ModelSpec:
    """An entry with all that stands before a query in its frame, however much of it is its prompt, and the default engine."""
    assert spec.transformer is not None
    pair, prompts = spec.transformer.pair, {role: spec.prompt(role) for role in ("query", "document", *spec.prompts)}
    if pair is not None:
        prompts |= {role: pair.before + prompt for role, prompt in prompts.items() if role != "document"}
        pair = replace(pair, before="")
    return replace(
        spec,
        transformer=replace(spec.transformer, pair=pair),
        prompts=prompts,
        preferred_backend="any",
        description="",
    )


READ = [(kind, name) for kind, folders in MAKERS.items() for name in folders if (kind, name) not in REFUSED]


@pytest.mark.parametrize(("kind", "name"), READ)
def test_a_folder_is_read_as_the_entry_that_was_written_by_hand(kind: Kind, name: str, kind_folder: Made) -> None:
    folder = kind_folder(kind, name)
    found = from_folder(folder)
    if name in ENTRIES[kind]:
        assert whole(found) == whole(ENTRIES[kind][name](folder))
        assert dict(found.files) == dict(ENTRIES[kind][name](folder).files)
    elif (kind, name) in OTHERS:
        assert (found.chain, found.transformer) == OTHERS[kind, name]
    else:
        assert name == "pylate, no model_type"
        assert replace(whole(found), name="pylate", folder="") == replace(
            whole(ENTRIES[kind]["pylate"](kind_folder(kind, "pylate"))), folder=""
        )


@pytest.mark.parametrize(("kind", "name"), REFUSED)
def test_what_a_folder_asks_for_and_nobody_does_is_refused_by_name(kind: Kind, name: str, kind_folder: Made) -> None:
    with pytest.raises(UnsupportedModelError) as error:
        from_folder(kind_folder(kind, name))
    assert REFUSED[kind, name] in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("reranker", "bert, tokenizer of 40 tokens"),
        ("reranker", "gte"),
        ("reranker", "qwen3, chat template"),
        ("reranker", "qwen3 decoder, chat template"),
        ("reranker", "saved qwen3 decoder, one token"),
        ("sparse", "router, old layout"),
        ("multi_vector", "pylate, no model_type"),
        ("multi_vector", "stanford, no artifact.metadata"),
    ],
)
def test_a_folder_gives_what_the_library_computes_of_it(
    kind: Kind, name: str, kind_folder: Made, cache_dir: Path
) -> None:
    folder = kind_folder(kind, name)
    model: Any = resolve_kind(kind, folder, backend="transformers", cache_dir=cache_dir)
    if kind == "reranker":
        pairs = reference.PAIRS[:60]
        np.testing.assert_allclose(model.logits(pairs)[:, 0], reference.scores(folder, pairs), rtol=0, atol=2e-5)
        return
    texts = reference.TEXTS[:60]
    for role in ("query", "document"):
        if kind == "sparse":
            wanted: Any = reference.sparse(folder, texts, role)
            np.testing.assert_allclose(model.encode(texts, role=role).to_dense(), wanted, rtol=0, atol=2e-5)
            continue
        wanted = reference.token_vectors(folder, texts, role)
        for vectors, expected in zip(model.encode(texts, role=role), wanted, strict=True):
            np.testing.assert_allclose(vectors, expected, rtol=0, atol=2e-6)


SETTINGS, OPTIONS = "config_sentence_transformers.json", "sentence_bert_config.json"
TOKENIZER = "tokenizer_config.json"
GELU = "torch.nn.modules.activation.GELU"


def template(text: str) -> Edit:
    def edit(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(text)

    return edit


def module(place: int, **values: Any) -> Edit:
    """Changes a module of modules.json."""

    def edit(folder: Path) -> None:
        listed = json.loads((folder / "modules.json").read_text())
        listed[place] |= values
        (folder / "modules.json").write_text(json.dumps(listed))

    return edit


def without_module(place: int) -> Edit:
    def edit(folder: Path) -> None:
        listed = json.loads((folder / "modules.json").read_text())
        del listed[place]
        (folder / "modules.json").write_text(json.dumps(listed))

    return edit


LAST_TEMPLATE = "{{ messages[-2].content }}<|im_start|>{{ messages[-1].content }}<|im_end|>{{ messages[0].content }}"
"""With the instruction at the end."""

DECODER, HEAD, ROUTER = "saved qwen3 decoder", "head, cls", "router"
TERMS = 4000
"""Of the tokenizer of DistilBERT's folders."""
QUERY_TABLE, SPLADE = "query_0_SparseStaticEmbedding", "1_SpladePooling/config.json"
FIXED = {"strategy": "fixed", "length": 24}

FAULTS: list[tuple[Kind, str, Edit, str]] = [
    # What config_sentence_transformers.json says.
    ("reranker", "saved bert", change(SETTINGS, model_type="Mine"), f"{SETTINGS} sets model_type to 'Mine'"),
    ("reranker", "saved bert", change(SETTINGS, activation_fn=GELU), f"{SETTINGS} sets activation_fn to '{GELU}'"),
    (
        "reranker",
        "saved bert",
        change(SETTINGS, activation_fn="mine.Softer"),
        f"{SETTINGS} in FOLDER names the activation 'mine.Softer': the model needs code of its own",
    ),
    (
        "reranker",
        "saved bert, prompt",
        change(SETTINGS, default_prompt_name="other"),
        f"{SETTINGS} sets default_prompt_name to 'other'",
    ),
    (
        "reranker",
        "saved bert, prompt",
        set_in(SETTINGS, "prompts", "document", value="d: "),
        f"{SETTINGS} sets prompts.document to 'd: '",
    ),
    ("sparse", "bert", change(SETTINGS, similarity_fn_name="mine"), "similarity_fn_name to 'mine', which is none of cosine"),
    ("multi_vector", "bert", change(SETTINGS, similarity_fn_name="meanmaxsim"), "similarity_fn_name to 'meanmaxsim'"),
    ("multi_vector", "bert", change(SETTINGS, truncate_dim=8), f"{SETTINGS} sets truncate_dim to 8"),
    # What the transformer is for, and its options.
    ("reranker", "saved bert", change(OPTIONS, transformer_task="fill-mask"), "set transformer_task to 'fill-mask'"),
    ("reranker", "saved bert", change(OPTIONS, transformer_task="feature-extraction"), "set modality_config to {'text'"),
    ("reranker", "saved bert", change(OPTIONS, query_length=8), "set query_length to 8"),
    (
        "reranker",
        "saved bert",
        change(OPTIONS, processing_kwargs={"text": {"max_length": 8}}),
        f"{OPTIONS} sets processing_kwargs to {{'text': {{'max_length': 8}}}}",
    ),
    ("sparse", "bert", change(OPTIONS, transformer_task=None), "modules.json sets type to 'sentence_transformers.base.mod"),
    ("sparse", "bert", change(OPTIONS, document_length=8), "set document_length to 8"),
    ("multi_vector", "bert", change(OPTIONS, transformer_task="retrieval"), "set transformer_task to 'retrieval'"),
    ("multi_vector", "bert", set_in(OPTIONS, "modality_config", "message", value={}), "set modality_config to"),
    # Heads of rerankers.
    ("reranker", "saved bert", change("config.json", architectures=["BertModel"]), "'BertModel', which has no head"),
    (
        "reranker",
        "bert, Identity",
        change("config.json", sentence_transformers={"activation_fn": GELU}),
        f"config.json sets activation_fn to '{GELU}'",
    ),
    ("reranker", HEAD, change("4_Dense/config.json", module_output_name=None), "module_output_name to 'sentence_embedding'"),
    ("reranker", HEAD, change("4_Dense/config.json", use_residual=True), "4_Dense/config.json sets use_residual to True"),
    ("reranker", HEAD, change("1_Pooling/config.json", include_prompt=False), "config.json sets include_prompt to False"),
    ("reranker", HEAD, without_module(4), "LayerNorm' in place 3, and of rerankers embedry computes"),
    ("reranker", HEAD, without_module(1), "Dense' in place 1, and of rerankers embedry computes"),
    ("reranker", HEAD, without_module(0), "starts with Pooling, Dense, LayerNorm, Dense, not a Transformer"),
    ("reranker", DECODER, without_module(1), "lists Transformer for text-generation, which no engine"),
    (
        "reranker",
        DECODER,
        change("1_LogitScore/config.json", module_input_name="logits"),
        "1_LogitScore/config.json sets module_input_name to 'logits'",
    ),
    # Chat templates.
    ("reranker", DECODER, lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat_template.jinja"),
    ("reranker", DECODER, change(TOKENIZER, truncation_side="left"), f"{TOKENIZER} sets truncation_side to 'left'"),
    (
        "reranker",
        DECODER,
        change(OPTIONS, processing_kwargs={"chat_template": {"enable_thinking": False}}),
        f"{OPTIONS} sets processing_kwargs to",
    ),
    ("reranker", DECODER, template("{{ messages[0].content }}"), "does more with a query and a document than"),
    ("reranker", DECODER, template(QWEN_TEMPLATE.replace("| first }}", "| first | trim }}")), "does more with a query"),
    ("reranker", DECODER, template("{{ messages[1].content }} {{ messages[0].content }}"), "does more with a query"),
    ("reranker", DECODER, template("{{ messages[0].content }} {{ messages[1].content }}?"), "goes on behind the document with"),
    ("reranker", DECODER, template("{{ raise_exception('no pairs') }}"), "(TemplateError: no pairs)"),
    ("reranker", DECODER, template("{{ bos_token }}" + TURNS_TEMPLATE), "takes bos_token, which tokenizer_config.json"),
    ("reranker", DECODER, template("{% for"), "cannot be read: TemplateSyntaxError"),
    ("reranker", DECODER, template("a" * 4097), "has 4097 characters; embedry reads no more than 4096"),
    (
        "reranker",
        "saved qwen3 decoder, prompt",
        both(template(LAST_TEMPLATE), set_in(SETTINGS, "prompts", "other", value="x")),
        "puts an instruction behind the query",
    ),
    # Sparse embedders.
    ("sparse", "bert", without_module(1), "lists Transformer for documents; of sparse embedders"),
    (
        "sparse",
        "bert",
        module(1, type="sentence_transformers.sparse_encoder.modules.sparse_auto_encoder.SparseAutoEncoder"),
        "lists Transformer, SparseAutoEncoder for documents",
    ),
    ("sparse", "bert", change(SPLADE, pooling_strategy="mean"), "1_SpladePooling/config.json: invalid enum value 'mean'"),
    (
        "sparse",
        ROUTER,
        set_in("router_config.json", "structure", value={"query": [], "document": []}),
        "router_config.json sets structure to {'query': [], 'document': []}",
    ),
    (
        "sparse",
        ROUTER,
        set_in("router_config.json", "structure", "query", value=["missing"]),
        "router_config.json states no type of 'missing'",
    ),
    (
        "sparse",
        ROUTER,
        set_in("router_config.json", "parameters", "route_mappings", value={"('query', 'text')": "document"}),
        "router_config.json sets route_mappings to",
    ),
    (
        "sparse",
        ROUTER,
        set_in("router_config.json", "types", QUERY_TABLE, value="mine.Table"),
        "router_config.json in FOLDER names the class 'mine.Table'",
    ),
    ("sparse", ROUTER, lambda folder: (folder / "router_config.json").unlink(), "has no router_config.json"),
    (
        "sparse",
        ROUTER,
        change(f"{QUERY_TABLE}/{TOKENIZER}", model_max_length=32),
        f"{QUERY_TABLE}/{TOKENIZER} sets model_max_length to 32",
    ),
    ("sparse", ROUTER, change(f"{QUERY_TABLE}/{TOKENIZER}", do_lower_case=False), "sets normalizer to BertNormalizer"),
    (
        "sparse",
        ROUTER,
        change("document_0_Transformer/config.json", vocab_size=40000),
        f"has weights of {TERMS} terms, and the model for documents has 40000",
    ),
    # Multi-vector embedders.
    ("multi_vector", "bert", change("1_Dense/config.json", activation_function=GELU, use_residual=True), "use_residual to"),
    (
        "multi_vector",
        "bert",
        change("1_Dense/config.json", module_input_name="sentence_embedding"),
        "1_Dense/config.json sets module_input_name to 'sentence_embedding'",
    ),
    ("multi_vector", "bert", change("3_Normalize/config.json", module_input_name=None), "3_Normalize/config.json sets module"),
    (
        "multi_vector",
        "bert",
        module(3, type="sentence_transformers.multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling"),
        "HierarchicalTokenPooling', and of multi-vector embedders embedry computes Dense, Normalize and one MultiVectorMask",
    ),
    ("multi_vector", "bert", without_module(0), "modules.json in FOLDER starts with no Transformer"),
    ("multi_vector", "bert, expansion", without_module(2), f"{OPTIONS} sets query_expansion to {{'strategy': 'fixed'"),
    (
        "multi_vector",
        "bert",
        change(OPTIONS, query_expansion=FIXED, query_length=20),
        "states a query_length of 20, and a query_expansion to 24 tokens",
    ),
    ("multi_vector", "bert", change(OPTIONS, query_expansion={"strategy": "most", "length": 3}), "Invalid enum value 'most'"),
    ("multi_vector", "bert", change(OPTIONS, query_expansion=FIXED | {"by": 1}), "unknown field `by`"),
    ("multi_vector", "pylate", module(1, type="pylate.models.Mine.Mine"), "names the class 'pylate.models.Mine.Mine'"),
    ("multi_vector", "stanford", change("artifact.metadata", query_maxlen="32"), "artifact.metadata: expected `int | null`"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "edit", "text"), FAULTS, ids=[f"{name}: {text}" for _, name, _, text in FAULTS]
)
def test_a_setting_that_is_not_understood_is_refused_with_its_file_key_and_value(
    kind: Kind, name: str, edit: Edit, text: str, edited: Callable[[Kind, str, Edit], Path]
) -> None:
    folder = edited(kind, name, edit)
    with pytest.raises(EmbedryError) as error:
        from_folder(folder)
    assert isinstance(error.value, UnsupportedModelError | IntegrityError | WeightsNotFoundError)
    assert text.replace("FOLDER", str(folder)) in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{{ 'a' * 10 }}", "Mul in line 1"),
        ("{{ range(9) }}", "a call in line 1"),
        ("{{ messages.__class__ }}{{ ''.join(messages) }}", "a call in line 1"),
        ("{% set x = 'a' ~ 'b' %}", "Concat in line 1 of a variable"),
        ("\n{% set x = x | join %}", "the filter 'join' in line 2 of a variable"),
        ("{% set x = {'a': messages} %}", "a dict of other values in line 1 of a variable"),
        ("{{ messages | map('upper') }}", "the filter 'map' of another filter in line 1"),
        ("{{ messages | center(9) }}", "the filter 'center' in line 1"),
        ("{% for a in b recursive %}{% endfor %}", "too many loops in one another in line 1"),
        ("{% for a in b %}{% for c in a %}{% for d in c %}{% endfor %}{% endfor %}{% endfor %}", "too many loops"),
        ("{% include 'x' %}", "Include in line 1"),
        ("{% macro a() %}{% endmacro %}", "Macro in line 1"),
        ("{% set x = namespace(a=1) %}", "a call in line 1"),
    ],
)
def test_a_template_that_could_run_long_is_not_run(
    text: str, fault: str, edited: Callable[[Kind, str, Edit], Path]
) -> None:
    with pytest.raises(UnsupportedModelError) as error:
        from_folder(edited("reranker", DECODER, template(text)))
    assert f"has {fault}" in str(error.value)
    assert "which embedry does not run" in str(error.value)


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}{% endfor %}"
    "{{ eos_token }}"
)
PARTS = (
    "{% for message in messages %}{% for part in message.content %}<|im_end|>{{ part.text }}{% endfor %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("text", "options", "frame", "prompts"),
    [
        (CHATML, {}, ("<|im_start|>", "<|endoftext|>"), ("query\n", "<|im_start|>document\n")),
        (PARTS, {"format": "structured"}, ("", ""), ("<|im_end|>", "<|im_end|>")),
        ("ask {{ messages[0].content }}?\n{{ messages[1].content }}", {}, ("", ""), ("ask ", "?\n")),
    ],
)
def test_templates_of_other_forms_are_texts_around_a_pair(
    text: str,
    options: dict[str, str],
    frame: tuple[str, str],
    prompts: tuple[str, str],
    edited: Callable[[Kind, str, Edit], Path],
) -> None:
    message = {"method": "forward", "method_output_name": "logits", "format": "flat"} | options

    def edit(folder: Path) -> None:
        template(text)(folder)
        set_in(OPTIONS, "modality_config", "message", value=message)(folder)

    spec = from_folder(edited("reranker", DECODER, edit))
    assert spec.transformer == Transformer(pair=PairFrame(before=frame[0], after=frame[1]))
    assert (spec.prompt("query"), spec.prompt("document")) == prompts


def test_a_template_in_tokenizer_config_is_as_good_as_one_in_a_file(
    kind_folder: Made, edited: Callable[[Kind, str, Edit], Path]
) -> None:
    def edit(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()
        change(TOKENIZER, chat_template=QWEN_TEMPLATE)(folder)

    found = from_folder(edited("reranker", DECODER, edit))
    assert whole(found) == replace(
        whole(from_folder(kind_folder("reranker", DECODER))), name="model", folder=found.folder
    )


def test_each_prompt_of_a_reranker_with_a_template_is_an_instruction_in_it(
    edited: Callable[[Kind, str, Edit], Path],
) -> None:
    prompts = {"query": "Find answers to it", "code": "Find code"}
    spec = from_folder(edited("reranker", DECODER, change(SETTINGS, prompts=prompts)))
    assert spec.prompt("query") == "<Instruct>: Find answers to it\n<Query>: "
    assert spec.prompt("code") == "<Instruct>: Find code\n<Query>: "
    assert spec.prompt("document") == "\n<Document>: "
    assert spec.transformer == Transformer(pair=QWEN_FRAME)


@pytest.mark.parametrize(
    ("values", "query"),
    [
        ({"default_prompt_name": None}, "query: "),
        ({"prompts": {"rank": "r: "}, "default_prompt_name": "rank"}, "r: "),
        ({"prompts": {"rank": "r: "}, "default_prompt_name": None}, ""),
    ],
)
def test_the_default_prompt_of_a_reranker_is_that_of_queries(
    values: dict[str, Any], query: str, edited: Callable[[Kind, str, Edit], Path]
) -> None:
    spec = from_folder(edited("reranker", "saved bert, prompt", change(SETTINGS, **values)))
    assert (spec.prompt("query"), spec.prompt("document")) == (query, "")


@pytest.mark.parametrize(
    ("values", "labels"),
    [({"id2label": None}, 2), ({"id2label": None, "num_labels": 5}, 5), ({"id2label": {"0": "a", "1": "b"}}, 2)],
)
def test_the_number_of_labels_is_that_of_their_names_or_the_librarys_default(
    values: dict[str, Any], labels: int, edited: Callable[[Kind, str, Edit], Path]
) -> None:
    spec = from_folder(edited("reranker", "bert", change("config.json", **values)))
    assert (spec.dims, spec.chain) == (labels, (Classifier(labels=labels), Score(activation="identity")))


def test_a_table_in_json_is_read_beside_its_tokenizer(edited: Callable[[Kind, str, Edit], Path]) -> None:
    def edit(folder: Path) -> None:
        shutil.move(folder / "idf.json", folder / QUERY_TABLE)
        change(f"{QUERY_TABLE}/config.json", path="acme/tiny/idf.json")(folder)

    spec = from_folder(edited("sparse", "router, idf.json", edit))
    assert spec.query_chain == (TermTable(path=QUERY_TABLE, table="idf.json", outputs=TERMS),)
    assert f"{QUERY_TABLE}/idf.json" in spec.files
    assert spec.chain == (MaskedLM(), SpladePooling())


def test_a_table_of_terms_may_be_the_whole_model(edited: Callable[[Kind, str, Edit], Path], cache_dir: Path) -> None:
    kind = "sentence_transformers.sparse_encoder.modules.sparse_static_embedding.SparseStaticEmbedding"
    alone = module(0, type=kind, path=QUERY_TABLE)
    spec = from_folder(edited("sparse", ROUTER, alone))
    assert (spec.chain, spec.transformer) == ((TermTable(path=QUERY_TABLE, outputs=TERMS),), None)
    assert (spec.max_seq_length, spec.preferred_backend, spec.similarity) == (64, "static", "dot")
    model: Any = resolve_kind("sparse", spec, cache_dir=cache_dir)
    table = Path(str(spec.folder)) / QUERY_TABLE
    ids = sorted(
        set(Tokenizer.from_file(str(table / "tokenizer.json")).encode("the river", add_special_tokens=False).ids)
    )
    found = model.encode_document(["the river"]).to_dense()[0]
    assert np.flatnonzero(found).tolist() == ids
    np.testing.assert_array_equal(found[ids], load_file(table / "model.safetensors")["weight"][ids])


def test_a_table_without_a_stated_length_reads_texts_of_any(edited: Callable[[Kind, str, Edit], Path]) -> None:
    def edit(folder: Path) -> None:
        kind = "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding.SparseStaticEmbedding"
        module(0, type=kind, path=QUERY_TABLE)(folder)
        change(f"{QUERY_TABLE}/{TOKENIZER}", model_max_length=None)(folder)

    assert from_folder(edited("sparse", ROUTER, edit)).max_seq_length == NO_LIMIT


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ({"query_length": 40}, LateInteraction(query_length=40, document_length=64)),
        ({"document_length": 90}, LateInteraction(query_length=64, document_length=90)),
        (
            {"query_expansion": FIXED | {"length": 80}},
            LateInteraction(query_length=80, document_length=64, expand_to=80),
        ),
    ],
)
def test_a_length_beyond_the_tokenizers_is_that_of_its_role_alone(
    values: dict[str, Any], end: LateInteraction, edited: Callable[[Kind, str, Edit], Path]
) -> None:
    spec = from_folder(edited("multi_vector", "bert, no words skipped", change(OPTIONS, **values)))
    longest = max(64, end.query_length or 0, end.document_length or 0)
    if longest == 64:  # the model's own length is left unsaid
        end = replace(end, document_length=None)
    assert (spec.chain[-1], spec.max_seq_length) == (end, longest)


def test_what_the_transformers_own_options_say_holds_before_what_pylate_says(
    edited: Callable[[Kind, str, Edit], Path],
) -> None:
    options = {"document_length": 30, "query_expansion": {"strategy": "min", "length": 16, "token": "[PAD]"}}
    end = from_folder(edited("multi_vector", "pylate", change(OPTIONS, **options))).chain[-1]
    assert isinstance(end, LateInteraction)
    assert (end.query_length, end.document_length) == (None, 30)
    assert (end.expand_to, end.expand_with) == (16, "[PAD]")


def no_expansion(folder: Path) -> None:
    found = json.loads((folder / OPTIONS).read_text())
    (folder / OPTIONS).write_text(json.dumps(found | {"query_expansion": None}))


def test_null_is_no_expansion(edited: Callable[[Kind, str, Edit], Path]) -> None:
    end = from_folder(edited("multi_vector", "pylate", no_expansion)).chain[-1]
    assert isinstance(end, LateInteraction)
    assert end.expand_to == 0


@pytest.mark.parametrize(
    ("prefixes", "found"),
    [
        (("[Q] ", "[D] "), ("[Q] ", "[D] ")),
        (("[unused3] ", ""), ("[unused3]",)),
        (("query: ", "[D] "), ("[D] ",)),
        (("river ", "[CLS] "), ()),
        (("[NONE] ", " "), ()),
    ],
)
def test_markers_are_whole_tokens_where_the_tokenizer_would_split_them(
    prefixes: tuple[str, str], found: tuple[str, ...], edited: Callable[[Kind, str, Edit], Path]
) -> None:
    edit = change(SETTINGS, query_prefix=prefixes[0], document_prefix=prefixes[1])
    spec = from_folder(edited("multi_vector", "pylate", edit))
    assert spec.transformer == Transformer(whole_tokens=found)
    assert (spec.prompt("query"), spec.prompt("document")) == prefixes


def test_the_width_of_stanfords_vectors_is_stated_or_that_of_its_matrix(
    kind_folder: Made, edited: Callable[[Kind, str, Edit], Path]
) -> None:
    projection = Dense(path="", inputs=WIDTH, outputs=16, bias=False)
    found = [from_folder(kind_folder("multi_vector", name)) for name in ("stanford", "stanford, no artifact.metadata")]
    assert [spec.chain[:2] for spec in found] == [(projection, Normalize())] * 2
    assert list(found[0].files) == ["model.safetensors", "tokenizer.json", "config.json"]
    stated = from_folder(edited("multi_vector", "stanford", change("artifact.metadata", dim=8)))
    assert stated.dims == 8  # that the matrix has another shape is seen when it is loaded


# Repositories.


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("kind", "name", "weights"),
    [
        ("reranker", "bert", False),
        ("reranker", DECODER, False),
        ("sparse", "router, old layout", False),
        ("multi_vector", "pylate", False),
        ("multi_vector", "stanford", False),
        ("multi_vector", "stanford, no artifact.metadata", True),
    ],
)
def test_a_repository_is_read_from_its_descriptions_alone(
    kind: Kind, name: str, weights: bool, kind_folder: Made, small_hub: SmallHub, cache: Path
) -> None:
    folder = kind_folder(kind, name)
    commit = small_hub.commit("acme/tiny", contents(folder))
    found = from_hub("acme/tiny", cache)
    alike = replace(found, name=folder.name, repo=None, revision=None, folder=str(folder), description="")
    assert alike == replace(from_folder(folder), description="")
    assert (found.repo, found.revision) == ("acme/tiny", commit)
    assert (hub_cache.cached("acme/tiny", commit, ["model.safetensors"], cache) is not None) == weights
    assert _layouts.from_hub_at("acme/tiny", commit, cache) == found


def test_a_plain_reranker_in_the_cache_is_read_without_the_hub_and_says_what_may_be_missing(
    kind_folder: Made, small_hub: SmallHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    small_hub.commit("acme/tiny", contents(kind_folder("reranker", "bert")))
    found = from_hub("acme/tiny", cache)
    assert from_hub("acme/tiny", cache) == found
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    text = "modules.json and config_sentence_transformers.json of acme/tiny are not in the Hugging Face cache"
    with pytest.warns(EmbedryWarning, match=text):
        assert from_hub("acme/tiny", cache) == found


# The installed layouts.

OTHER = """
from pathlib import Path
from embedry import ModelSpec, Normalize, Pooling

def from_folder(folder):
    if (folder / "acme.txt").exists():
        return ModelSpec(
            name=folder.name, folder=str(folder), dims=3, max_seq_length=8, preferred_backend="acme", architecture="acme",
            transformer=None, chain=(Pooling(mode="mean"), Normalize()), files={"acme.txt": None},
        )

def from_hub(repo, cache_dir):
    return from_hub_at(repo, None, cache_dir)

def from_hub_at(repo, revision, cache_dir):
    return None
"""


def test_another_layout_is_asked_for_files_that_the_first_one_does_not_know(
    plugin: Callable[..., Path], fresh: Callable[..., Any], kind_folder: Made, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "acme.txt").write_text("")
    site = plugin("acme-layout", {"embedry.layouts": {"zz-acme": "acme_layout"}}, {"acme_layout": OTHER})
    code = (
        "from pathlib import Path\nfrom embedry._layouts import from_folder\n"
        f"print(from_folder(Path({str(tmp_path / 'mine')!r})).dims, from_folder(Path({str(kind_folder('reranker', 'bert'))!r})).dims)"
    )
    assert fresh(code, path=site).stdout == "3 1\n"


def test_without_any_layout_the_package_that_has_one_is_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "entry_points", lambda group: ())
    for read in (lambda: from_folder(tmp_path), lambda: from_hub("acme/tiny", cache)):
        with pytest.raises(UnknownModelError, match="try: pip install embedry-layouts"):
            read()


def test_a_layout_that_cannot_be_imported_is_named_with_its_package(
    plugin: Callable[..., Path], fresh: Callable[..., Any], tmp_path: Path
) -> None:
    site = plugin("acme-layout", {"embedry.layouts": {"acme": "acme_layout"}}, {"acme_layout": "import acme_missing"})
    code = f"from pathlib import Path\nfrom embedry._layouts import from_folder\nfrom_folder(Path({str(tmp_path)!r}))"
    result = fresh(code, path=site, check=False)
    assert (
        "UnknownModelError: the layout 'acme' of acme-layout 1.0 cannot be imported: ModuleNotFoundError: No module named "
        "'acme_missing'; try: pip install --force-reinstall acme-layout"
    ) in result.stderr


@pytest.mark.parametrize(("kind", "name"), [("reranker", DECODER), ("multi_vector", "stanford"), ("sparse", ROUTER)])
def test_reading_a_folder_imports_nothing_heavy(
    kind: Kind, name: str, kind_folder: Made, fresh: Callable[..., Any]
) -> None:
    code = (
        f"from pathlib import Path\nfrom embedry._layouts import from_folder\nfrom_folder(Path({str(kind_folder(kind, name))!r}))\n"
        "import sys\nprint(*[m for m in ('torch', 'tokenizers', 'onnxruntime', 'huggingface_hub') if m in sys.modules])"
    )
    assert fresh(code).stdout.split() == []
