"""Multi-vector embedders as saved by MultiVectorEncoder, PyLate and ColBERT's authors."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import msgspec
from msgspec import UNSET, Struct

from embedry._files import model_config
from embedry.errors import IntegrityError, UnsupportedModelError
from embedry.heads import LateInteraction
from embedry.modules import Dense, Module, Normalize
from embedry.transformer import Transformer
from embedry_layouts import body, forerunners, modules, vocabulary
from embedry_layouts.body import Body
from embedry_layouts.files import Count, Files, LengthFile, NamesFile
from embedry_layouts.forerunners import Asked
from embedry_layouts.found import Found
from embedry_layouts.listed import FILE, Listed
from embedry_layouts.modules import TEXT, TOKENS, config
from embedry_layouts.settings import Settings

_HONORED = ("query_length", "document_length", "query_expansion")


class Expansion(Struct, forbid_unknown_fields=True):
    """Query expansion: the length, the token, and whether other tokens attend to it."""

    strategy: Literal["fixed", "min"]
    length: Count
    attend: bool = False
    token: str | None = None


class MaskFile(Struct):
    """config.json of a MultiVectorMask: the tokens that count."""

    skiplist_words: list[str] | None = None
    skiplist_tasks: str | list[str] | None = None
    keep_only_token_ids: list[int] | None = None


def read(files: Files, settings: Settings, listed: Sequence[Listed]) -> Found:
    """Reads a multi-vector embedder with a modules.json.

    Raises:
        WeightsNotFoundError: a file is missing.
        IntegrityError: a file is not valid JSON or has the wrong structure, or contradicts itself.
        UnsupportedModelError: a file has an unsupported setting; names the key and the value.
    """
    if not listed or listed[0].kind != "Transformer":
        raise UnsupportedModelError(f"{FILE} in {files.folder} starts with no Transformer")
    options = body.stated(files, Transformer(path=listed[0].path))
    found = body.read(files, listed[0].path, options, honored=_HONORED)
    asked = forerunners.pylate(files)
    chain: list[Module] = []
    masks: list[MaskFile] = []
    for module in listed[1:]:
        if module.kind == "MultiVectorMask" and not masks:
            masks.append(files.read_or(config(module.path), MaskFile, MaskFile()))
        else:
            chain.append(_module(files, module))
    if not settings.is_native:
        masks = [MaskFile(skiplist_words=list(string.punctuation if asked.skip is None else asked.skip))]
        chain.append(Normalize())
    return _found(files, found, chain, masks[0] if masks else None, asked, settings.prompts)


def stanford(files: Files) -> Found:
    """Reads a model saved by the code of ColBERT's authors: BERT followed by a projection.

    Raises:
        As `read`.
    """
    found = body.read(files, "", LengthFile())
    stated = forerunners.stanford(files)
    skip = list(string.punctuation) if stated.mask_punctuation else []
    outputs = stated.dim or forerunners.width(files)
    projection = Dense(path="", inputs=_width(files, found), outputs=outputs, bias=False)
    return _found(files, found, [projection, Normalize()], MaskFile(skiplist_words=skip), stated.asked(), {})


def _module(files: Files, module: Listed) -> Module:
    if module.kind == "Dense":
        dense, others = modules.dense(files, module.path, reads=TOKENS, writes=TOKENS, default=TOKENS)
        for key, value in others.items():
            raise files.refused(config(module.path), key, value)
        return dense
    if module.kind == "Normalize":
        names = files.read_or(config(module.path), NamesFile, NamesFile())
        for key, value in names.differing(TOKENS, TOKENS, TEXT).items():
            raise files.refused(config(module.path), key, value)
        return Normalize()
    raise UnsupportedModelError(
        f"{FILE} in {files.folder} lists {module.class_name!r}, and of multi-vector embedders embedry computes Dense, Normalize and "
        "one MultiVectorMask"
    )


def _found(
    files: Files,
    found: Body,
    chain: Sequence[Module],
    mask: MaskFile | None,
    asked: Asked,
    prompts: Mapping[str, str],
) -> Found:
    expansion = _expansion(files, found, asked)
    if expansion is not None and mask is None:  # the library would not count the expansion tokens of a query
        raise files.refused(found.file("sentence_bert_config.json"), "query_expansion", msgspec.to_builtins(expansion))
    mask = mask or MaskFile()
    tasks = ["document"] if mask.skiplist_tasks is None else mask.skiplist_tasks
    query, document = _lengths(files, found, asked, expansion)
    longest = max(found.max_seq_length, query or 0, document or 0)
    if longest > found.max_seq_length:  # of a role without a length of its own no more is read than before
        query, document = query or found.max_seq_length, document or found.max_seq_length
    end = LateInteraction(
        query_length=query,
        document_length=document,
        expand_to=expansion.length if expansion is not None else 0,
        expand_with=_filling(files, found, expansion) if expansion is not None else LateInteraction.expand_with,
        attend=expansion is not None and expansion.attend,
        skip=tuple(mask.skiplist_words or ()),
        skip_in=(tasks,) if isinstance(tasks, str) else tuple(tasks),
        keep_only=tuple(mask.keep_only_token_ids or ()),
    )
    widths = [module.outputs for module in chain if isinstance(module, Dense)]
    marked = {role: prefix + prompts.get(role, "").removeprefix(prefix) for role, prefix in asked.prefixes.items()}
    transformer = replace(found.transformer, whole_tokens=_markers(files, found, asked.prefixes))
    return Found(
        chain=(*chain, end),
        dims=widths[-1] if widths else _width(files, found),
        body=replace(found, transformer=transformer, max_seq_length=longest),
        prompts={**prompts, **marked},
        similarity="dot",  # of two tokens; `embedry.maxsim` adds those up
    )


def _width(files: Files, found: Body) -> int:
    """The width of the transformer's token vectors."""
    width = model_config.read(files.folder, found.file("config.json")).hidden_size
    if width is None:
        raise IntegrityError(f"{files.folder / found.file('config.json')} does not state hidden_size")
    return width


def _expansion(files: Files, found: Body, asked: Asked) -> Expansion | None:
    file, stated = asked.file, asked.expansion
    if found.stated.query_expansion is not UNSET:
        file, stated = found.file("sentence_bert_config.json"), found.stated.query_expansion
    if stated is None:
        return None
    try:
        return msgspec.convert(stated, Expansion)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"{files.folder / file} sets query_expansion to {stated!r}: {error}") from None


def _lengths(files: Files, found: Body, asked: Asked, expansion: Expansion | None) -> tuple[int | None, int | None]:
    """The length limits of queries and documents in tokens; None if only the model limits them."""
    query = found.stated.query_length or asked.query_length
    document = found.stated.document_length or asked.document_length
    if expansion is None:
        return query, document
    if query is not None and query < expansion.length:
        raise IntegrityError(
            f"{files.folder} states a query_length of {query}, and a query_expansion to {expansion.length} tokens"
        )
    return expansion.length if expansion.strategy == "fixed" else query, document


def _filling(files: Files, found: Body, expansion: Expansion) -> str:
    """The token that expands queries: the stated one, the one for a missing token, or the end token."""
    special = found.tokenizer.special
    token = expansion.token or special.get("mask_token") or special.get("eos_token")
    if token is None:
        raise IntegrityError(
            f"{files.folder / found.file('tokenizer_config.json')} names no mask_token and no eos_token to fill up queries with"
        )
    return token


def _markers(files: Files, found: Body, prefixes: Mapping[str, str]) -> tuple[str, ...]:
    """Those of the markers, or of their first words, that the vocabulary has and the tokenizer would not find as they are."""
    words = [prefix for prefix in prefixes.values() if prefix.strip()]
    if not words:
        return ()
    known = vocabulary.read(files, found.file("tokenizer.json"))
    normalizes = known.normalizes or found.transformer.lower_case or found.transformer.normalizer is not None
    markers = [next((word for word in (prefix, prefix.split()[0]) if word in known.ids), None) for prefix in words]
    whole = []
    for marker in filter(None, markers):
        added = known.added.get(marker)
        # A token like any other is found if no punctuation in it splits it.
        is_found = marker.isalnum() if added is None else not (added.normalized and normalizes)
        whole += [] if is_found else [marker]
    return tuple(dict.fromkeys(whole))
