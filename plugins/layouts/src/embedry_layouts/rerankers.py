"""Rerankers: plain folders of the transformers library, and models saved by CrossEncoder."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from msgspec import Struct

from embedry import chains
from embedry.errors import IntegrityError, UnsupportedModelError
from embedry.heads import Classifier, LogitScore, Score
from embedry.modules import Chain, LayerNorm, Module, Normalize
from embedry.spec import PROMPT_NAMES
from embedry.transformer import Transformer
from embedry_layouts import body, chat_templates, modules, vocabulary
from embedry_layouts.body import Body
from embedry_layouts.files import SETTINGS, Count, Files, LengthFile, NamesFile
from embedry_layouts.found import Found
from embedry_layouts.listed import FILE, Listed
from embedry_layouts.modules import SCORES, TEXT, config
from embedry_layouts.settings import Settings

_HEAD = "ForSequenceClassification"

_HONORED = ("message", "processing_kwargs")
"""Options of the transformer that are for chat templates."""

_SHOWN: dict[str, Literal["identity", "sigmoid"]] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}
"""The classes through which scores are shown -> ours."""


class OwnSettings(Struct):
    """CrossEncoder's settings in config.json."""

    activation_fn: str | None = None


class ClassesFile(Struct):
    """The settings of a head in config.json."""

    model_type: str | None = None
    architectures: list[str] | None = None
    num_labels: Count | None = None
    id2label: dict[str, Any] | None = None
    classifier_pooling: Literal["cls", "mean"] | None = None
    sentence_transformers: OwnSettings | None = None
    sbert_ce_default_activation_function: str | None = None
    """Where the activation stood before version 4."""

    @property
    def head(self) -> str:
        """The class that the model was saved with."""
        return (self.architectures or [""])[0]

    @property
    def labels(self) -> int:
        """The number of scores per pair; the library's default is 2."""
        return len(self.id2label) if self.id2label is not None else self.num_labels or 2

    @property
    def activation(self) -> str | None:
        """The activation class of the scores; None if not stated."""
        if self.sentence_transformers is not None and self.sentence_transformers.activation_fn is not None:
            return self.sentence_transformers.activation_fn
        return self.sbert_ce_default_activation_function


def plain(files: Files) -> Found:
    """Reads a plain folder with a sequence classification model, or a decoder with a chat template for pairs.

    Raises:
        UnsupportedModelError: the decoder has no such template, or a file has an unsupported setting.
        Others: as `read`.
    """
    is_decoder = not files.read("config.json", ClassesFile).head.endswith(_HEAD)
    task = "text-generation" if is_decoder else "sequence-classification"
    found = body.read(files, "", LengthFile(), tasks=(task,))
    template = chat_templates.stated(files, found.transformer)
    if is_decoder and template is None:
        raise UnsupportedModelError(
            f"{files.folder} is a decoder without a chat template, and nothing says how it reads a pair of texts; if it is a "
            "reranker, save it with sentence-transformers: CrossEncoder(modules=[...]).save_pretrained(folder)"
        )
    settings = Settings(kind="reranker", prompts={})
    chain: Chain = (_yes_or_no(files, found),) if is_decoder else (_classifier(files, found),)
    return _found(files, settings, found, chain, chats=template is not None)


def read(files: Files, settings: Settings, listed: Sequence[Listed]) -> Found:
    """Reads a reranker saved by CrossEncoder.

    Raises:
        WeightsNotFoundError: a file is missing.
        IntegrityError: a file is not valid JSON or has the wrong structure.
        UnsupportedModelError: a file has an unsupported setting; names the key and the value.
    """
    kinds = [module.kind for module in listed]
    if kinds[:1] != ["Transformer"]:
        raise UnsupportedModelError(
            f"{FILE} in {files.folder} starts with {', '.join(kinds) or 'nothing'}, not a Transformer"
        )
    first, *others = listed
    options = body.stated(files, Transformer(path=first.path))
    tasks = ("feature-extraction", "sequence-classification", "text-generation")
    found = body.read(files, first.path, options, tasks=tasks, honored=_HONORED)
    if found.task == "feature-extraction":
        chain = _head(files, others)
    elif found.task == "sequence-classification" and not others:
        chain = (_classifier(files, found),)
    elif found.task == "text-generation" and kinds[1:] == ["LogitScore"]:
        chain = (_logit_score(files, others[0].path),)
    else:
        raise UnsupportedModelError(
            f"{FILE} in {files.folder} lists {', '.join(kinds)} for {found.task}, which no engine of embedry computes"
        )
    return _found(files, settings, found, chain, chats="message" in (options.modality_config or {}))


def _found(files: Files, settings: Settings, found: Body, head: Chain, *, chats: bool) -> Found:
    prompts = _prompts(files, settings)
    if chats:
        frame, prompts = chat_templates.frame(files, found, prompts)
        found = replace(found, transformer=replace(found.transformer, pair=frame))
    elif found.stated.processing_kwargs:
        raise files.refused(
            found.file("sentence_bert_config.json"), "processing_kwargs", found.stated.processing_kwargs
        )
    labels = chains.widths(head)[-1] or 1
    return Found(
        chain=(*head, Score(activation=_activation(files, settings, found, labels))),
        dims=labels,
        body=found,
        prompts=prompts,
    )


def _prompts(files: Files, settings: Settings) -> dict[str, str]:
    """The prompts of queries: the library adds one to a pair, by default the default prompt."""
    prompts = dict(settings.prompts)
    for name in PROMPT_NAMES["document"]:
        if prompts.pop(name, ""):
            raise files.refused(SETTINGS, f"prompts.{name}", settings.prompts[name])
    default = settings.default_prompt
    if default in (None, "query"):
        return prompts
    if prompts.get("query"):  # the role and the prompt of that name would differ
        raise files.refused(SETTINGS, "default_prompt_name", default)
    return prompts | {"query": settings.prompts.get(str(default), "")}


def _activation(files: Files, settings: Settings, found: Body, labels: int) -> Literal["identity", "sigmoid"]:
    file, key, name = SETTINGS, "activation_fn", settings.activation
    if name is None:
        file, name = found.file("config.json"), files.read(found.file("config.json"), ClassesFile).activation
    if name is None:
        return "sigmoid" if labels == 1 else "identity"
    if not name.startswith("torch."):
        raise files.of_code(file, "activation", name)
    if name not in _SHOWN:
        raise files.refused(file, key, name)
    return _SHOWN[name]


def _classifier(files: Files, found: Body) -> Classifier:
    stated = files.read(found.file("config.json"), ClassesFile)
    if not stated.head.endswith(_HEAD):
        raise UnsupportedModelError(
            f"{files.folder / found.file('config.json')} names the class {stated.head!r}, which has no head that was trained "
            "for scores"
        )
    pooling = stated.classifier_pooling if found.architecture == "modernbert" else None
    return Classifier(labels=stated.labels, pooling=pooling or "cls")


def _head(files: Files, listed: Sequence[Listed]) -> Chain:
    """A head in separate modules; the last one, a Dense, computes the scores."""
    chain: list[Module] = []
    for place, module in enumerate(listed, 1):
        writes = SCORES if place == len(listed) else TEXT
        if module.kind == "Pooling" and place == 1:
            pooling, _ = modules.pooling(files, module.path)
            if not pooling.include_prompt:
                raise files.refused(config(module.path), "include_prompt", False)
            chain.append(pooling)
        elif module.kind == "Dense" and place > 1:
            dense, others = modules.dense(files, module.path, writes=writes)
            for key, value in others.items():
                raise files.refused(config(module.path), key, value)
            chain.append(dense)
        elif module.kind == "LayerNorm" and 1 < place < len(listed):
            chain.append(LayerNorm(path=module.path))
        elif module.kind == "Normalize" and 1 < place < len(listed):
            chain.append(_normalize(files, module.path))
        else:
            raise UnsupportedModelError(
                f"{FILE} in {files.folder} lists {module.class_name!r} in place {place}, and of rerankers embedry computes a "
                "Pooling, then Dense, LayerNorm and Normalize, and at the end a Dense that gives the scores"
            )
    if not chain:
        raise UnsupportedModelError(f"{FILE} in {files.folder} lists nothing that gives scores")
    return tuple(chain)


def _normalize(files: Files, path: str) -> Normalize:
    for key, value in files.read_or(config(path), NamesFile, NamesFile()).differing(TEXT, TEXT, TEXT).items():
        raise files.refused(config(path), key, value)
    return Normalize()


class LogitScoreFile(Struct):
    """config.json of a LogitScore."""

    true_token_id: int
    false_token_id: int | None = None
    module_input_name: str = "causal_logits"


def _logit_score(files: Files, path: str) -> LogitScore:
    stated = files.read(config(path), LogitScoreFile)
    if stated.module_input_name != "causal_logits":
        raise files.refused(config(path), "module_input_name", stated.module_input_name)
    return LogitScore(true_token=stated.true_token_id, false_token=stated.false_token_id)


def _yes_or_no(files: Files, found: Body) -> LogitScore:
    """The library's head for a decoder without its own modules."""
    ids = vocabulary.read(files, found.file("tokenizer.json")).ids
    yes, no = map(ids.get, ("yes", "no"))
    if yes is None or no is None:
        raise IntegrityError(
            f"the tokenizer of {files.folder} lacks one of the tokens 'yes' and 'no', by which decoders answer"
        )
    return LogitScore(true_token=yes, false_token=no)
