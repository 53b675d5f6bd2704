"""Checks on loading and sharing: damaged files, threads, unloading, pickling and forks."""

import asyncio
import os
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from unittest.mock import patch

from embedry import _backends
from embedry.backend import Encoder, LoadRequest, PairEncoder, TextEncoder
from embedry.errors import IntegrityError
from embedry.modules import Matryoshka
from embedry.testing import damage
from embedry.testing.results import Arrays, asked, results
from embedry.testing.running import check, description
from embedry.testing.subject import NotApplicable, Subject, Violation, require, require_close
from embedry.testing.texts import MIXED
from embedry.testing.watched import Started, wait_until, watched

_HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "onnxruntime",
    "onnx",
    "tokenizers",
    "huggingface_hub",
    "jax",
    "tensorflow",
)


_MANY = [f"{number} {text}" for number in range(20) for text in MIXED]
"""More than ten batches of them."""

_ONE = ["one text"]


@check
def damaged_weights(subject: Subject) -> None:
    """A damaged or incomplete weights file is rejected, even without a digest."""
    if not _backends.find(subject.embedder.config.backend).needs_files:
        raise NotApplicable("the engine reads no files")
    with damage.copies(subject.embedder.config) as copies:
        for kind, folder in copies:
            # Inverted bytes make numbers of a trained model's size too; only a large file is sure to hold one that is not.
            files = subject.spec.files if kind == damage.INVERTED else dict.fromkeys(subject.spec.files)
            try:
                subject.with_entry(folder=str(folder), files=files).load()
            except IntegrityError:
                continue
            raise Violation(f"{description(damaged_weights)}: a file with {kind} was loaded without an error")


@check
def many_threads(subject: Subject) -> None:
    """32 concurrent threads get the same results as one thread."""
    wanted = [subject.results([text]) for text in MIXED]
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda place: subject.results([MIXED[place % len(MIXED)]]), range(96)))
    for place, results_of_text in enumerate(found):
        require_close(results_of_text, wanted[place % len(MIXED)], subject.tolerance, description(many_threads))


@check
def loaded_once(subject: Subject) -> None:
    """A configuration has one model per process, which is loaded once, even if many threads use it first."""
    config = subject.embedder.config
    require(subject.variant() is subject.embedder, description(loaded_once), "resolve gave a second object")
    backend = _backends.find(config.backend)
    real_load, loads = backend.load, list[LoadRequest]()

    def counting_load(request: LoadRequest) -> Encoder | PairEncoder | TextEncoder:
        loads.append(request)
        return real_load(request)

    fresh = type(subject.embedder)(config)  # with an engine of its own
    barrier = Barrier(32)

    def first_use(number: int) -> Arrays:
        barrier.wait()
        return results(fresh, [MIXED[number % len(MIXED)]])

    with patch.object(backend, "load", counting_load), ThreadPoolExecutor(32) as pool:
        list(pool.map(first_use, range(32)))
        results(fresh, MIXED, "query")
    require(len(loads) == 1, description(loaded_once), f"{len(loads)} loads")


@check
def one_engine(subject: Subject) -> None:
    """Models that differ in length, normalization, overflow policy or prompts share one loaded engine."""
    for option, view in {**_variants(subject), "on_overflow": subject.variant(on_overflow="warn")}.items():
        require(view.engine is subject.embedder.engine, description(one_engine), f"{option} loads the weights again")


def _variants(subject: Subject) -> dict[str, Any]:
    """What differs from a model in what is done before or after the engine, and gives other results."""
    spec = subject.spec
    found = {
        "a prompt": subject.with_entry(prompts={**spec.prompts, "query": "another prompt: "}),
        "max_seq_length": subject.variant(max_seq_length=subject.embedder.max_seq_length - 1),
    }
    if subject.kind in ("dense", "multi_vector"):
        shorter = subject.with_entry(matryoshka=Matryoshka(dims=(1,))).spec
        found["normalize"] = subject.variant(normalize=not subject.embedder.config.normalize)
        found["dims"] = Subject(shorter, **subject.options).variant(dims=1)
    return found


@check
def unloads(subject: Subject) -> None:
    """Unloading frees the engine, and the next call loads it again and returns the same results."""
    fresh = type(subject.embedder)(subject.embedder.config)
    expected = results(fresh, MIXED)
    left = weakref.ref(fresh.engine.load().encoder)
    fresh.unload()
    require(not fresh.loaded, description(unloads), "it is still loaded")
    wait_until(lambda: left() is None, f"{description(unloads)}: the encoder is still in memory")
    require_close(results(fresh, MIXED), expected, subject.tolerance, description(unloads))


@check
def takes_turns(subject: Subject) -> None:
    """A single text during a large call is computed long before that call ends, and both get the right results."""
    model, encoder = watched(subject)
    encoder.go_on.set()
    expected = results(model, _ONE)
    ((row,), *_) = encoder.batches.pop()
    encoder.go_on.clear()
    large = Started(lambda: results(model, _MANY))
    wait_until(lambda: len(encoder.batches) == encoder.workers, f"{description(takes_turns)}: a worker is idle")
    one = Started(lambda: results(model, _ONE))
    arrived = model.engine.load().scheduler._arrived
    wait_until(lambda: bool(arrived), f"{description(takes_turns)}: the text does not arrive")
    encoder.go_on.set()
    require_close(one.result(), expected, subject.tolerance, description(takes_turns))
    require_close(large.result(), subject.results(_MANY), subject.tolerance, description(takes_turns))
    order = [place for place, (ids, *_) in enumerate(encoder.batches) if ids[:, : len(row)].tolist() == [row.tolist()]]
    latest = 3 * encoder.workers
    require(order[:1] < [latest], description(takes_turns), f"its batch is number {order} of {len(encoder.batches)}")


@check
def cancels(subject: Subject) -> None:
    """A cancelled task computes only the batches that had started, and the model stays usable."""
    model, encoder = watched(subject)
    items, role = asked(model, _MANY, "document")

    async def cancelled() -> None:
        call = model.ascore if subject.kind == "reranker" else model.aencode
        task = asyncio.create_task(call(items, role=role))
        while len(encoder.batches) < encoder.workers:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        encoder.go_on.set()

    Started(lambda: asyncio.run(cancelled())).result()  # there may be a loop in this thread
    require_close(results(model, MIXED[:1]), subject.results(MIXED[:1]), subject.tolerance, description(cancels))
    computed = len(encoder.batches) - 1
    require(computed <= encoder.workers, description(cancels), f"{computed} batches of it were computed")


@check
def lasts(subject: Subject) -> None:
    """A thread that outlives the main thread, and an exit handler, get the same results."""
    code = """
import atexit, threading
from embedry.testing.results import difference, results
texts = [f"text number {n} of many " * (n % 9 + 1) for n in range(100)]
expected = results(embedder, texts)
def compare():
    print(difference(results(embedder, texts), expected))
def outliving():
    threading.main_thread().join()
    compare()
atexit.register(compare)
threading.Thread(target=outliving).start()
"""
    differences = [float(line) for line in subject.in_fresh_process(code).split()]
    require(len(differences) == 2, description(lasts), f"{len(differences)} of two answers came")
    require(max(differences) <= subject.tolerance, description(lasts), f"differences of {differences}")


@check
def pickles(subject: Subject) -> None:
    """A pickled model contains its resolve call, not its weights."""
    subject.embedder.load()
    data = pickle.dumps(subject.embedder)
    require(pickle.loads(data) is subject.embedder, description(pickles), "it came back as another object")  # noqa: S301  its own
    require(len(data) < 20_000, description(pickles), f"{len(data)} bytes")


@check
def survives_fork(subject: Subject) -> None:
    """After a fork, the child gets the same results, and the parent stays usable."""
    if not hasattr(os, "fork"):
        raise NotApplicable("this platform has no fork")
    code = """
import multiprocessing
from embedry.testing.results import difference, results
before = results(embedder, ["one text", "another, longer text"])
def in_child(queue):
    queue.put(results(embedder, ["one text", "another, longer text"]))
context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=in_child, args=(queue,))
child.start()
print(difference(queue.get(timeout=300), before))
child.join()
"""
    difference = float(subject.in_fresh_process(code).split()[-1])
    require(difference <= subject.tolerance, description(survives_fork), f"the largest difference is {difference:.2e}")


@check
def lazy(subject: Subject) -> None:
    """Resolving and reading the entry do not import an engine."""
    code = f"embedder.dims, embedder.max_seq_length\nprint(*[m for m in {_HEAVY!r} if m in sys.modules])"
    imported = subject.in_fresh_process(code).split()
    require(not imported, description(lazy), f"{', '.join(imported)} in memory")


@check
def fingerprint(subject: Subject) -> None:
    """The fingerprint changes with everything that changes results, and with nothing else."""
    base = subject.embedder.fingerprint
    same = {
        "the name": subject.with_entry(name="another-name", aliases=()),
        "the description": subject.with_entry(description="another", license="another"),
        "on_overflow": subject.variant(on_overflow="warn"),
        "threads": subject.variant(threads=1),
    }
    for part, model in same.items():
        require(model.fingerprint == base, description(fingerprint), f"{part} changed it")
    for part, model in _variants(subject).items():
        require(model.fingerprint != base, description(fingerprint), f"{part} left it as it was")
