"""Writes docs/models.md, the table of the models of this pack.

    python plugins/models/make_table.py

A test compares the page with the entries.
"""

from collections.abc import Iterator
from pathlib import Path

from embedry import NO_LIMIT, ModelSpec
from embedry_models import embedry_models

FILE = Path(__file__).parents[2] / "docs" / "models.md"

INTRODUCTION = """\
# Models

These {count} models are known by name. `embedry models` lists them with those of other plugins, and `embedry info MODEL` shows
all of an entry. Any other repository that follows the sentence-transformers layout resolves by its id.

- **dims**: the length of a vector; in brackets the shorter lengths that `resolve(name, dims=...)` takes.
- **tokens**: how many the model reads. **MB**: the size of its weights.
- **prompts**: which texts get a prompt; tasks are used as `encode(texts, role="the task")`. `embedry info MODEL` has the exact words.
- **license**: as the repository states it. **Non-commercial** marks one that is known to forbid commercial use.
- **verified by**: with *digest*, the entry has the sha256 of every file, and a file is the right one wherever it comes from. With
  *revision*, the entry names a commit and lacks the sha256 of some file: what the hub sends is compared with the digests that it
  states for that commit, and files from anywhere else are not verified. `embedry pin MODEL` prints the entry with all digests.

| model | dims | tokens | MB | languages | prompts | license | verified by |
|---|---|---|---|---|---|---|---|
"""


def rows() -> Iterator[str]:
    """The lines of the table, in order of name."""
    for spec in sorted(embedry_models(), key=lambda spec: spec.name.lower()):
        yield f"| {' | '.join(cells(spec))} |"


def cells(spec: ModelSpec) -> Iterator[str]:
    """What the table says of a model."""
    shorter = ", ".join(map(str, spec.matryoshka.dims))
    yield f"[{spec.name}](https://huggingface.co/{spec.repo})"
    yield f"{spec.dims} ({shorter})" if shorter else str(spec.dims)
    yield str(spec.max_seq_length) if spec.max_seq_length != NO_LIMIT else "any"
    yield str(spec.size_mb or "?")
    yield ", ".join(spec.languages)
    yield prompts(spec)
    yield f"{spec.license}, **non-commercial**" if spec.noncommercial else spec.license
    yield "revision" if None in spec.files.values() else "digest"


def prompts(spec: ModelSpec) -> str:
    """Which texts take a prompt."""
    roles = [role for role in ("query", "document") if role in spec.prompts]
    tasks = len(spec.prompts) - len(roles)
    return ", ".join([*roles, *([f"{tasks} task{'s' * (tasks > 1)}"] if tasks else [])]) or "none"


def page() -> str:
    """The whole file."""
    lines = list(rows())
    return INTRODUCTION.format(count=len(lines)) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
