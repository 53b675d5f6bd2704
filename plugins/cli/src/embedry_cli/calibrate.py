"""Implements `embedry calibrate`: calibrates a model for int8, and compares accuracy and speed with fp32."""

import hashlib
import heapq
import math
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from embedry import Int8, LazyEmbedder, ModelSpec, Resource, TextError, lock, lock_writing, resolve, use_lock
from embedry._backends import Calibrator, find
from embedry._pipeline.texts import checked
from embedry.backend import LoadRequest
from embedry.chains import NAMES
from embedry.testing.texts import MIXED
from embedry_cli import downloads, formats, outputs, source, terminal, timings
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.options import AsJson, Backend, Column, ModelArgument, Overwrite, Threads, output
from embedry_cli.rows import Rows
from embedry_cli.texts import named

FEWEST = 100
"""The minimum number of texts; with fewer, the minimum and maximum values depend on chance."""

MOST = 1000
"""The maximum number of texts; more are sampled. Ranges hardly widen after the first hundred."""

_HELD_OUT = 0.2
"""The share of the texts used only for the comparison with fp32, not for calibration."""

_FEWEST_HELD_OUT = 32

_UNSUITABLE = 0.99
"""A lower mean cosine causes a warning; suitable models reach 0.998."""

_STEP = 0.005
"""The stated cosine is rounded down to a multiple of this, because it must hold for other texts too."""

_BLOCK = 10_000
"""Texts to read before the sample is reduced again."""


class Nearness(NamedTuple):
    """The accuracy of int8: cosines to fp32, over texts that were not used for calibration."""

    mean: float
    lowest: float
    unusual: float
    """The mean over the unusual texts, which were used for calibration but have lower cosines all the same."""
    speed: float
    """The speed of int8 relative to fp32."""


def calibrate(
    model: ModelArgument,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXTS", help="Files of texts, or - for standard input.", show_default=False),
    ] = None,
    *,
    to: Annotated[
        Path | None,
        output("The output file; by default MODEL.int8.safetensors, next to the lock file if there is one."),
    ] = None,
    lock_file: Annotated[
        Path | None,
        typer.Option("--lock", help="The lock file that contains the model; adds the calibration to its entry."),
    ] = None,
    input_format: Annotated[
        formats.Kind | None,
        typer.Option("--format", help="Format of the inputs; by default by file extension, else lines of text."),
    ] = None,
    column: Column = "text",
    backend: Backend = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Calibrate a model for int8, and compare its vectors with fp32.

    Requires at least 100 texts like those that you will embed, and uses up to
    1,000 of them: 80% for calibration, the others to compare int8 with fp32.

    Prints the lines for the model's entry, or writes them to a lock file.

    Examples:
        embedry calibrate acme/support-v2 tickets.jsonl --column body
        embedry calibrate acme/support-v2 tickets.jsonl --lock embedry.lock
    """
    if lock_file is not None:
        use_lock(lock_file)
    exact = resolve(_embedder(model), backend=backend, threads=threads)
    calibrator = _calibrator(exact)
    path = _place(to, exact.name, lock_file)
    rows = Rows(named(inputs, "calibrate"), input_format, column, "calibrate", others=False)
    with outputs.whole(path, overwrite=overwrite) as file:
        held_out, texts = _split(_sample(rows))
        file.write(ranges(exact, calibrator, [*MIXED, *texts]))
    resource = _resource(path, lock_file)
    near = _compared(exact, replace(resource, package=None, path=str(path)), held_out)
    int8 = Int8(calibration=resource, cosine=_rounded_down(min(near.mean, near.unusual)))
    if lock_file is not None:
        _add(lock_file, exact.name, int8)
    if as_json:
        counts = {"calibrated_on": len(texts), "compared_on": len(held_out)}
        found = {"model": exact.name, "calibration": str(path), "int8": asdict(int8)}
        terminal.show_json(found | counts | near._asdict())
    else:
        terminal.show_facts(
            [
                ("model", exact.name),
                ("calibrated on", f"{terminal.counted(len(texts), 'text')} and {len(MIXED)} unusual ones"),
                ("compared on", f"{terminal.counted(len(held_out), 'text')} that were held out"),
                ("mean cosine", f"{near.mean:.5f}"),
                ("lowest cosine", f"{near.lowest:.5f}"),
                ("of unusual texts", f"{near.unusual:.5f} in the mean"),
                ("speed", f"{near.speed:.2f} times that of fp32, on this machine"),
                ("calibration", path),
                ("added to", lock_file),
            ]
        )
        if lock_file is None:
            typer.echo(f"\n{source.argument('int8', int8)}")
    if near.mean < _UNSUITABLE:
        terminal.warn(
            f"int8 does not suit {exact.name!r}: its mean cosine to fp32 is below {_UNSUITABLE}; stay with fp32"
        )


def _embedder(model: str) -> ModelSpec:
    spec = entry(model)
    if spec.kind != "dense":
        raise InputError(f"{spec.name!r} is {NAMES[spec.kind]}, and int8 is for models that give one vector for a text")
    return spec


def _calibrator(exact: LazyEmbedder) -> Calibrator:
    name, spec = exact.config.backend, exact.spec
    backend = find(name)
    if not isinstance(backend, Calibrator):
        raise InputError(f"the backend {name!r} does not calibrate models for int8, as 'onnxruntime' does")
    reason = backend.int8_refusal(spec)
    if reason is not None:
        raise InputError(f"{spec.name!r} cannot be calibrated for int8: {reason}")
    return backend


def _place(to: Path | None, name: str, lock_file: Path | None) -> Path:
    """The absolute path of the calibration file."""
    folder = lock_file.parent if lock_file is not None else Path()
    path = (to or folder / f"{name.rpartition('/')[2]}.int8.safetensors").resolve()
    if lock_file is not None and not path.is_relative_to(folder.resolve()):
        raise InputError(
            f"{path} is not beside {lock_file}, whose entry is to name it; write it to that folder or below"
        )
    return path


def _sample(rows: Rows) -> list[str]:
    """A sample of distinct texts in pseudorandom order, which does not depend on the order of the input."""
    kept: list[str] = []
    remaining = _texts(rows)
    with terminal.waiting("reading"):
        while block := list(islice(remaining, _BLOCK)):
            kept = heapq.nsmallest(MOST, {*kept, *block}, key=lambda text: hashlib.sha256(text.encode()).digest())
    return kept


def _split(texts: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Splits texts into those for the comparison and those for calibration."""
    if len(texts) < FEWEST:
        raise InputError(
            f"{terminal.counted(len(texts), 'text')}, not counting blank and equal ones, and a calibration takes at least {FEWEST}; "
            "give more, like those that will be embedded"
        )
    count = max(_FEWEST_HELD_OUT, int(_HELD_OUT * len(texts)))
    return texts[:count], texts[count:]


def _texts(rows: Rows) -> Iterator[str]:
    for row in rows:
        try:
            yield from (text for text in checked([row.text]) if text.strip())
        except TextError as error:
            raise InputError(f"{row.place}: {error}") from error


def _roles(spec: ModelSpec) -> Sequence[str]:
    """The roles with different prompts."""
    return list({spec.prompt(role): role for role in ("query", "document")}.values())


def ranges(exact: LazyEmbedder, calibrator: Calibrator, texts: Sequence[str]) -> bytes:
    """The content of the calibration file, from the texts in every role."""
    downloads.load(exact)
    loaded = exact.engine.load()
    config = exact.engine.config
    request = LoadRequest(
        spec=config.spec,
        folder=loaded.folder,
        config=loaded.model,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        cache_dir=config.cache_dir,
    )
    read = [
        loaded.reader.read(texts, role, exact.config, step=lambda: None, count=False).rows
        for role in _roles(exact.spec)
    ]
    ids = [row for rows in read for row in rows if len(row)]
    with terminal.progress("texts", len(ids)) as advance:
        return calibrator.calibrate(request, _each(ids, advance))


def _each(ids: Sequence[NDArray[np.int32]], advance: Callable[[int, int], None]) -> Iterator[NDArray[np.int32]]:
    for done, row in enumerate(ids, 1):
        yield row
        advance(done, done)


def _compared(exact: LazyEmbedder, calibration: Resource, texts: Sequence[str]) -> Nearness:
    # A lock file in use would reject an entry that differs from its own.
    use_lock(None)
    os.environ.pop(lock.VARIABLE, None)
    spec, config = exact.spec, exact.config
    calibrated = replace(spec, int8=Int8(calibration=calibration, cosine=1.0))
    quick = resolve(calibrated, precision="int8", backend=config.backend, threads=config.threads)
    both = exact, quick
    with terminal.waiting("comparing int8 with fp32"):
        cosines, unusual = (_cosines(*both, some) for some in (texts, MIXED))
        rounds = [
            [timings.seconds(partial(each.encode_document, texts)) for each in both] for _ in range(timings.ROUNDS)
        ]
    speed = statistics.median(in_fp32 / in_int8 for in_fp32, in_int8 in rounds)
    return Nearness(float(cosines.mean()), float(cosines.min()), float(unusual.mean()), speed)


def _cosines(one: LazyEmbedder, other: LazyEmbedder, texts: Sequence[str]) -> NDArray[np.float64]:
    """The cosines between two embedders' vectors for each text in every role: float64 (texts * roles,)."""
    found = []
    for role in _roles(one.spec):
        a, b = (each.encode(texts, role=role).astype(np.float64) for each in (one, other))
        found.append(np.einsum("ij,ij->i", a, b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))
    return np.concatenate(found)


def _rounded_down(cosine: float) -> float:
    return round(math.floor(min(cosine, 1 - 1e-9) / _STEP) * _STEP, 3)


def _resource(path: Path, lock_file: Path | None) -> Resource:
    """The file as an entry refers to it: relative to the lock file or to its package, or else as an absolute path."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if lock_file is not None:
        return Resource(path=path.relative_to(lock_file.parent.resolve()).as_posix(), sha256=sha256)
    package = _package(path)
    if package is None:
        return Resource(path=str(path), sha256=sha256)
    return Resource(package=package.name, path=path.relative_to(package).as_posix(), sha256=sha256)


def _package(path: Path) -> Path | None:
    """The folder of the outermost package that contains a file. Data folders in it need no `__init__.py`."""
    found = None
    for folder in path.parents:
        if (folder / "__init__.py").is_file():
            found = folder
        elif found is not None:
            break
    return found


def _add(lock_file: Path, name: str, int8: Int8) -> None:
    """Adds a calibration to the entry of a locked model."""
    models = dict(lock.read(lock_file).models)
    models[name] = replace(models[name], spec=replace(models[name].spec, int8=int8))
    lock_writing.write(lock_file, models)
