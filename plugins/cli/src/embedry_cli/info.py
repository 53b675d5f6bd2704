"""Implements `embedry info`: shows everything about one model without loading it."""

from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any, Unpack

import typer

from embedry import NO_LIMIT, EmbedryError, IntegrityError, ModelSpec
from embedry._files import cache, sources
from embedry.modules import Chain, as_dict
from embedry.resolver import resolve_kind
from embedry_cli import kinds, terminal
from embedry_cli.entries import entry
from embedry_cli.options import AsJson, Engine, ModelArgument, engine_options


@engine_options
def info(model: ModelArgument, as_json: AsJson = False, **options: Unpack[Engine]) -> None:
    """Show a model's entry, files, vector space and engine.

    Does not load or download the model. Exits with code 1 if the files are wrong or the engine rejects the model.

    Examples:
        embedry info all-MiniLM-L6-v2
        embedry info BAAI/bge-small-en-v1.5 --json
    """
    spec = entry(model)
    problems: list[str] = []
    found = _weights(spec, problems)
    engine = _engine(spec, options, found is not None, problems)
    if as_json:
        terminal.show_json(_entry(spec) | {"weights": found} | engine | {"problems": problems})
    else:
        terminal.show_facts([*_described(spec), ("weights", _where(found, spec)), *_computed(engine)])
    for problem in problems:
        terminal.note(f"error: {problem}")
    raise typer.Exit(1 if problems else 0)


def _entry(spec: ModelSpec) -> dict[str, Any]:
    values = {field.name: getattr(spec, field.name) for field in fields(spec)}
    values |= {name: dict(values[name]) for name in ("files", "prompts")}
    values |= {
        name: asdict(values[name]) if values[name] is not None else None for name in ("transformer", "golden", "int8")
    }
    values |= {name: [as_dict(module) for module in values[name]] for name in ("chain", "query_chain")}
    values["other_chains"] = [[as_dict(module) for module in chain] for chain in spec.other_chains]
    values["kinds"] = list(spec.kinds)
    values["matryoshka"] = {
        "dims": spec.matryoshka.dims,
        "before": [as_dict(module) for module in spec.matryoshka.before],
    }
    values["noncommercial"] = spec.noncommercial
    return values | {"wheel": f"{spec.wheel.package} {spec.wheel.version}" if spec.wheel else None}


def _weights(spec: ModelSpec, problems: list[str]) -> dict[str, Any] | None:
    found = sources.find_local(spec, cache.default_folder())
    if found is None:
        return None
    verified = None not in spec.files.values()
    try:
        sources.verify(spec, found, cache.default_folder())
    except IntegrityError as error:
        verified = False
        problems.append(str(error))
    return {"folder": str(found.folder), "source": found.source, "verified": verified}


def _engine(spec: ModelSpec, options: Engine, here: bool, problems: list[str]) -> dict[str, Any]:
    """The engine, and the vector space of each kind of vector, with the main kind first."""
    engine: dict[str, Any] = dict.fromkeys(("backend", "device", "threads", "fingerprint"))
    fingerprints: dict[str, str | None] = {}
    for kind in spec.kinds:
        try:
            model = resolve_kind(kind, spec, **options)
        except EmbedryError as error:  # the entry is still shown
            problems.append(str(error))
            continue
        config = model.config
        # Without digests in the entry, the fingerprint requires reading the files. Do not download them only for that.
        fingerprints[kind] = model.fingerprint if here or None not in spec.files.values() else None
        if kind == spec.kind:
            engine = {"backend": config.backend, "device": config.device, "threads": config.threads}
            engine["fingerprint"] = fingerprints[kind]
    return engine | {"fingerprints": fingerprints}


def _described(spec: ModelSpec) -> Iterator[tuple[str, object]]:
    yield "model", spec.name
    yield "aliases", ", ".join(spec.aliases)
    yield "description", spec.description
    yield "repository", spec.repo and f"{spec.repo} at {spec.revision}"
    yield "license", spec.license + ", which forbids commercial use" * spec.noncommercial
    yield "languages", ", ".join(spec.languages)
    yield "size", spec.size_mb and f"{spec.size_mb} MB"
    yield "kind", ", ".join(spec.kinds)
    yield from kinds.facts(spec)
    for kind in spec.kinds[1:]:
        yield kind, ", ".join(f"{name} {value}" for name, value in kinds.facts(spec.for_kind(kind)) if value)
    yield "reads", f"{spec.max_seq_length} tokens" if spec.max_seq_length != NO_LIMIT else "texts of any length"
    yield "chain", "\n".join(map(_in_words, (spec.chain, *spec.other_chains)))
    yield "query chain", _in_words(spec.query_chain)
    yield "similarity", spec.similarity if spec.kind != "reranker" else None
    yield "prompts", "\n".join(f"{role}: {prompt!r}" for role, prompt in spec.prompts.items()) or "none"
    yield "int8", spec.int8 and f"a mean cosine of {spec.int8.cosine} or more to fp32"
    if spec.revision is not None and None in spec.files.values():
        yield "pinned by", "the revision alone, where a file has no digest"
    yield "files", "\n".join(f"{file}  {digest[:12] if digest else 'no digest'}" for file, digest in spec.files.items())


def _in_words(chain: Chain) -> str:
    """Formats the modules and their settings, without lists of tokens, which may be long."""
    named = ([str(value) for value in as_dict(module).values() if not isinstance(value, tuple)] for module in chain)
    return ", ".join(map(" ".join, named))


def _computed(engine: dict[str, Any]) -> Iterator[tuple[str, object]]:
    spaces = engine["fingerprints"]
    yield (
        "fingerprint",
        "\n".join(f"{each} {kind}" if len(spaces) > 1 else each for kind, each in spaces.items() if each),
    )
    yield (
        "engine",
        engine["backend"]
        and f"{engine['backend']} on {engine['device']}, {terminal.counted(engine['threads'], 'thread')}",
    )


def _where(found: dict[str, Any] | None, spec: ModelSpec) -> str:
    if found is None:
        return f"not downloaded; run: embedry pull {spec.name}"
    state = "verified" if found["verified"] else "not verified"
    lacking = sum(digest is None for digest in spec.files.values())
    if lacking == len(spec.files):
        state += ", the entry has no digests"
    elif lacking:
        state += f", the entry has no digest of {terminal.counted(lacking, 'file')}"
    return f"{found['folder']}\n{found['source']}, {state}"
