"""Chat templates of rerankers: the text that they add before, between and after the two texts of a pair.

A template is a Jinja program. Only a safe subset of Jinja is accepted, so that rendering an untrusted template is safe. The
template must add fixed text around the texts of a pair; otherwise the model is rejected.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedry._files import parsing
from embedry._files.paths import inside
from embedry.errors import IntegrityError, UnsupportedModelError
from embedry.transformer import PairFrame, Transformer
from embedry_layouts import vocabulary
from embedry_layouts.body import Body
from embedry_layouts.files import CHAT_TEMPLATE, TASKS, Files
from embedry_layouts.tokenizer_schema import ConfigFile

if TYPE_CHECKING:
    from embedry_layouts.templates import Template

_QUERY, _DOCUMENT = "\u2460 Query \u2461", "\u2462 Document \u2463"
"""Texts that no template has in it."""

_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")
"""What a template has in it that expects of each message a list of parts, as sentence-transformers tells (base/modality.py)."""


def stated(files: Files, at: Transformer) -> str | None:
    """The chat template of a model; None if it has none.

    Raises:
        UnsupportedModelError: it has several.
        IntegrityError: it is not a string, or too long.
    """
    path = inside(files.folder, at.file(CHAT_TEMPLATE))
    if path.is_file():
        if path.stat().st_size > parsing.LARGEST:
            raise IntegrityError(
                f"{path} has {path.stat().st_size} bytes; a template has no more than {parsing.LARGEST}"
            )
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise IntegrityError(f"{path} is no text: {error}") from None
    file = at.file("tokenizer_config.json")
    found = files.read_or(file, ConfigFile, ConfigFile()).chat_template
    if isinstance(found, list):
        raise files.refused(file, "chat_template", [each.get("name") for each in found])
    return found


def frame(files: Files, found: Body, prompts: Mapping[str, str]) -> tuple[PairFrame, dict[str, str]]:
    """The frame of a pair for a reranker with a chat template, and the prompts of queries and documents.

    Args:
        files: the files of the model.
        found: the transformer.
        prompts: instructions by name, which the library passes to the template as a system message.

    Raises:
        UnsupportedModelError: there is no template, or it does not support a pair, or does more than add text around both texts.
    """
    template = stated(files, found.transformer)
    if template is None:
        raise UnsupportedModelError(
            f"{files.folder} has no {found.file(CHAT_TEMPLATE)}, through which the model reads pairs"
        )
    if found.transformer.truncate_left:  # which would cut the frame
        raise files.refused(found.file("tokenizer_config.json"), "truncation_side", "left")
    from embedry_layouts import templates  # imports Jinja: only for models with a template

    render = templates.compiled(template, f"the chat template in {files.folder / found.transformer.path}")
    unstated = sorted(name for name in render.names if name.endswith("_token") and name not in found.tokenizer.special)
    if unstated:
        raise render.refused(f"takes {unstated[0]}, which tokenizer_config.json does not state,")
    values = {**found.tokenizer.special, **_options(files, found)}
    message = _Messages(render, values, is_structured=_is_structured(files, found, template))
    around = {name: message.around(instruction) for name, instruction in {"query": "", **prompts}.items()}
    head, between, after = around["query"]
    if any(parts[1:] != (between, after) for parts in around.values()):
        raise render.refused("puts an instruction behind the query")
    added = vocabulary.read(files, found.file("tokenizer.json")).added.values()
    if after and not after.startswith(tuple(token.content for token in added if not token.lstrip)):
        # It could merge with the end of a document into one token.
        raise render.refused(f"goes on behind the document with {after[:40]!r}, which is no token of its own,")
    before = _before(head, [token.content for token in added if not token.rstrip], found.tokenizer.kind)
    if any(not parts[0].startswith(before) for parts in around.values()):
        before = ""
    roles = {name: parts[0].removeprefix(before) for name, parts in around.items()}
    return PairFrame(before=before, after=after), {**roles, "document": between}


def _before(head: str, added: Sequence[str], tokenizer: str) -> str:
    """The part of what stands before a query that tokenizes separately as in the whole: to the end of the last added token, and of
    the line it is in where the tokenizer splits texts at the ends of lines.
    """
    end = max((head.rfind(token) + len(token) for token in added if token in head), default=0)
    line = head.find("\n", end) + 1 if tokenizer == "Qwen2" else 0
    if line and head[line:].strip() and not head[line].isspace():
        return head[:line]
    return head[:end] if head[end:].strip() else ""


def _options(files: Files, found: Body) -> dict[str, Any]:
    """The variables of the template besides the messages."""
    file = found.file("sentence_bert_config.json")
    stated = dict(found.stated.processing_kwargs or {})
    options = stated.pop("chat_template", {})
    if stated or not isinstance(options, dict) or not set(options) <= {"add_generation_prompt"}:
        raise files.refused(file, "processing_kwargs", found.stated.processing_kwargs)
    return {"add_generation_prompt": False, **options}


def _is_structured(files: Files, found: Body, template: str) -> bool:
    """Whether each message is a list of parts instead of a string."""
    message = (found.stated.modality_config or {}).get("message", {})
    form = message.get("format", "auto")
    method = {"method": "forward", "method_output_name": TASKS[found.task][1]}
    if form not in ("auto", "flat", "structured") or not message.items() <= {**method, "format": form}.items():
        raise files.refused(found.file("sentence_bert_config.json"), "modality_config.message", message)
    return form == "structured" or (form == "auto" and any(part in template for part in _STRUCTURED))


class _Messages:
    """What a template makes of a pair."""

    def __init__(self, render: "Template", values: Mapping[str, Any], *, is_structured: bool) -> None:
        self._render = render
        self._values = values
        self._is_structured = is_structured

    def around(self, instruction: str) -> tuple[str, str, str]:
        """The text before, between and after the two texts of a pair."""
        whole = self._rendered(instruction, _QUERY, _DOCUMENT)
        before, _, rest = whole.partition(_QUERY)
        between, _, after = rest.partition(_DOCUMENT)
        probes = [(_QUERY, _DOCUMENT), (f" \n{_QUERY}\n ", f"\n {_DOCUMENT} \n"), ("", ""), ("a" * 99, "b")]
        for query, document in probes:
            if self._rendered(instruction, query, document) != f"{before}{query}{between}{document}{after}":
                raise self._render.refused(
                    "does more with a query and a document than to put texts around each, once and in that order,"
                )
        return before, between, after

    def _rendered(self, instruction: str, query: str, document: str) -> str:
        parts = [("system", instruction)] if instruction else []
        messages = [
            {"role": role, "content": [{"type": "text", "text": text}] if self._is_structured else text}
            for role, text in (*parts, ("query", query), ("document", document))
        ]
        return self._render(messages=messages, **self._values)
