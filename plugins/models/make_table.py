"""Writes docs/models.md, the table of the models of this pack, and the tables of docs/choosing-a-model.md.

    python plugins/models/make_table.py

In the second page a comment `<!-- models: NAME NAME -->` says which models the table below it has; the rest of the page is
written by hand. Tests compare both pages with the entries.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

from embedry import NO_LIMIT, LateInteraction, ModelSpec, Score
from embedry.chains import Kind
from embedry_models import embedry_models

FILE = Path(__file__).parents[2] / "docs" / "models.md"
GUIDE = FILE.with_name("choosing-a-model.md")

INTRODUCTION = """\
# Models

These {count} models are registered by name. `embedry models` lists them together with those of other plugins, and `embedry info MODEL`
shows the full entry. Other repositories in the sentence-transformers layout resolve by their id.

- **tokens**: the model's maximum length. **MB**: the size of its weights.
- **prompts**: which texts get a prompt; select a task with `encode(texts, role="the task")`. `embedry info MODEL` shows the exact
  prompts.
- **license**: as stated in the repository. **Non-commercial** marks licenses that are known to forbid commercial use.
- **verified by**: *digest* means that the entry has the sha256 of every file, so files from any source are verified. *revision*
  means that the entry pins a commit but lacks the sha256 of some files: downloads are compared with the hub's digests for that
  commit, and files from other sources are not verified. `embedry pin MODEL` prints the entry with all digests.
"""

SECTIONS: dict[Kind, str] = {
    "dense": """\
## Embedders

One vector per text, with `resolve`. **dims**: the length of a vector, followed by the shorter lengths that
`resolve(name, dims=...)` accepts.
""",
    "reranker": """\
## Rerankers

A score for each pair of a query and a document, with [`resolve_reranker`](kinds.md#rerankers). **tokens**: the maximum length
of a pair. **scores**: what `score` returns, logits or numbers from 0 to 1; the ranking is the same.
""",
    "sparse": """\
## Sparse embedders

Weights for the terms of a vocabulary, with [`resolve_sparse`](kinds.md#sparse-vectors). **queries**: how queries are encoded, by
the transformer or with a table of term weights.
""",
    "multi_vector": """\
## Multi-vector embedders

One vector per token, with [`resolve_multi_vector`](kinds.md#a-vector-for-each-token). **tokens**: the maximum lengths of a query
and of a document.
""",
}
"""Kind of model -> the text above its table, in the order of the page."""


def page() -> str:
    """The whole file."""
    specs = sorted(embedry_models(), key=lambda spec: spec.name.lower())
    sections = [INTRODUCTION.format(count=len(specs))]
    for kind, introduction in SECTIONS.items():
        table = "\n".join(lines(kind, [spec for spec in specs if spec.kind == kind]))
        sections.append(f"{introduction}\n{table}\n")
    return "\n".join(sections)


def guide(text: str) -> str:
    """The other page, with each of its tables made anew."""
    specs = {spec.name: spec for spec in embedry_models()}

    def table(found: re.Match[str]) -> str:
        chosen = [specs[name] for name in found["names"].split()]
        return "\n".join([found["marker"], *lines(chosen[0].kind, chosen, without=("verified by",)), ""])

    return re.sub(r"(?P<marker><!-- models: (?P<names>.+) -->)\n(\|.*\n)*", table, text)


def lines(kind: Kind, specs: Iterable[ModelSpec], without: Container[str] = ()) -> Iterator[str]:
    """The lines of a table of models of one kind."""
    columns = {name: cell for name, cell in COLUMNS[kind].items() if name not in without}
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for spec in specs:
        yield f"| {' | '.join(cell(spec) for cell in columns.values())} |"


def cells(spec: ModelSpec) -> Iterator[str]:
    """What the tables say of a model."""
    return (cell(spec) for cell in COLUMNS[spec.kind].values())


def _name(spec: ModelSpec) -> str:
    return f"[{spec.name}](https://huggingface.co/{spec.repo})"


def _dims(spec: ModelSpec) -> str:
    shorter = ", ".join(map(str, spec.matryoshka.dims))
    return f"{spec.dims} ({shorter})" if shorter else str(spec.dims)


def _tokens(spec: ModelSpec) -> str:
    end = spec.chain[-1]
    if isinstance(end, LateInteraction):
        lengths = (end.query_length or spec.max_seq_length, end.document_length or spec.max_seq_length)
        return " / ".join(map(str, lengths))
    return str(spec.max_seq_length) if spec.max_seq_length != NO_LIMIT else "any"


def _size(spec: ModelSpec) -> str:
    return str(spec.size_mb or "?")


def _languages(spec: ModelSpec) -> str:
    return ", ".join(spec.languages)


def _scores(spec: ModelSpec) -> str:
    end = spec.chain[-1]
    return "0 to 1" if isinstance(end, Score) and end.activation == "sigmoid" else "logits"


def _queries(spec: ModelSpec) -> str:
    return "table" if spec.query_chain else "transformer"


def _prompts(spec: ModelSpec) -> str:
    roles = [role for role in ("query", "document") if role in spec.prompts]
    tasks = len(spec.prompts) - len(roles)
    return ", ".join([*roles, *([f"{tasks} task{'s' * (tasks > 1)}"] if tasks else [])]) or "none"


def _license(spec: ModelSpec) -> str:
    return f"{spec.license}, **non-commercial**" if spec.noncommercial else spec.license


def _verified_by(spec: ModelSpec) -> str:
    return "revision" if None in spec.files.values() else "digest"


_Column = Callable[[ModelSpec], str]
_LAST: dict[str, _Column] = {"license": _license, "verified by": _verified_by}
_SIZES: dict[str, _Column] = {"tokens": _tokens, "MB": _size, "languages": _languages}

COLUMNS: dict[Kind, dict[str, _Column]] = {
    "dense": {"model": _name, "dims": _dims, **_SIZES, "prompts": _prompts, **_LAST},
    "reranker": {"model": _name, **_SIZES, "scores": _scores, "prompts": _prompts, **_LAST},
    "sparse": {"model": _name, "terms": _dims, **_SIZES, "queries": _queries, **_LAST},
    "multi_vector": {"model": _name, "dims": _dims, **_SIZES, **_LAST},
}
"""Kind of model -> the columns of its table, and what stands in each."""


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
    GUIDE.write_text(guide(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
