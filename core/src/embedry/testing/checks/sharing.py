"""How an embedder lives in a process: loaded once, from sound files, shared by threads, rebuilt in other processes."""

import asyncio
import os
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from embedry import _backends
from embedry.backend import Encoder, LoadRequest, PairEncoder, TextEncoder
from embedry.errors import IntegrityError
from embedry.modules import Matryoshka
from embedry.testing import damage
from embedry.testing.running import check, description
from embedry.testing.subject import NotApplicable, Subject, Violation, require, require_close
from embedry.testing.texts import MIXED
from embedry.testing.watched import Started, wait_until, watched
from embedry.views import LazyEmbedder

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


@check
def damaged_weights(subject: Subject) -> None:
    """A weights file that is damaged or incomplete is refused, even without a digest to compare with."""
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
            raise Violation(f"{description(damaged_weights)}: a file with {kind} was loaded without a word")


@check
def many_threads(subject: Subject) -> None:
    """32 threads at once get what each would have got alone."""
    wanted = [subject.embedder.encode_document([text]) for text in MIXED]
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda place: subject.embedder.encode_document([MIXED[place % len(MIXED)]]), range(96)))
    for place, vectors in enumerate(found):
        require_close(vectors, wanted[place % len(MIXED)], subject.tolerance, description(many_threads))


@check
def loaded_once(subject: Subject) -> None:
    """One embedder a process for one configuration, loaded once, however many threads come first."""
    config = subject.embedder.config
    require(subject.variant() is subject.embedder, description(loaded_once), "resolve gave a second object")
    backend = _backends.find(config.backend)
    real_load, loads = backend.load, list[LoadRequest]()

    def counting_load(request: LoadRequest) -> Encoder | PairEncoder | TextEncoder:
        loads.append(request)
        return real_load(request)

    fresh = LazyEmbedder(config)  # with an engine of its own
    barrier = Barrier(32)

    def first_use(number: int) -> NDArray[np.float32]:
        barrier.wait()
        return fresh.encode_document([MIXED[number % len(MIXED)]])

    with patch.object(backend, "load", counting_load), ThreadPoolExecutor(32) as pool:
        list(pool.map(first_use, range(32)))
        fresh.encode_query(MIXED)
    require(len(loads) == 1, description(loaded_once), f"{len(loads)} loads")


@check
def one_engine(subject: Subject) -> None:
    """Embedders that differ in length, normalising, overflow policy or prompts share one loaded model."""
    engine = subject.embedder.engine
    views = {
        "max_seq_length": subject.variant(max_seq_length=subject.embedder.max_seq_length - 1),
        "normalize": subject.variant(normalize=not subject.embedder.config.normalize),
        "on_overflow": subject.variant(on_overflow="warn"),
        "prompts": subject.with_entry(prompts={"query": "another prompt: "}),
        "dims": Subject(subject.with_entry(matryoshka=Matryoshka(dims=(1,))).spec, **subject.options).variant(dims=1),
    }
    for option, view in views.items():
        require(view.engine is engine, description(one_engine), f"{option} loads the weights again")


@check
def unloads(subject: Subject) -> None:
    """Unloading gives the model back, and the next call loads it again and gets the same vectors."""
    config = subject.embedder.config
    fresh = LazyEmbedder(config)
    expected = fresh.encode_document(MIXED)
    left = weakref.ref(fresh.engine.load().encoder)
    fresh.unload()
    require(not fresh.loaded, description(unloads), "it is still loaded")
    wait_until(lambda: left() is None, f"{description(unloads)}: the encoder is still in memory")
    require_close(fresh.encode_document(MIXED), expected, subject.tolerance, description(unloads))


@check
def takes_turns(subject: Subject) -> None:
    """A query beside a large call is computed long before that has ended, and both get the right vectors."""
    embedder, encoder = watched(subject)
    encoder.go_on.set()
    expected = embedder.encode_query(["the query"])
    (row,) = encoder.batches.pop()
    encoder.go_on.clear()
    large = Started(lambda: embedder.encode_document(_MANY))
    wait_until(lambda: len(encoder.batches) == encoder.workers, f"{description(takes_turns)}: a worker is idle")
    query = Started(lambda: embedder.encode_query(["the query"]))
    arrived = embedder.engine.load().scheduler._arrived
    wait_until(lambda: bool(arrived), f"{description(takes_turns)}: the query does not arrive")
    encoder.go_on.set()
    require_close(query.result(), expected, subject.tolerance, description(takes_turns))
    wanted = subject.embedder.encode_document(_MANY)
    require_close(large.result(), wanted, subject.tolerance, description(takes_turns))
    order = [place for place, ids in enumerate(encoder.batches) if ids[:, : len(row)].tolist() == [row.tolist()]]
    latest = 3 * encoder.workers
    require(order[:1] < [latest], description(takes_turns), f"its batch is number {order} of {len(encoder.batches)}")


@check
def cancels(subject: Subject) -> None:
    """A cancelled task computes no batch but those that had begun, and the embedder goes on."""
    embedder, encoder = watched(subject)

    async def cancelled() -> None:
        task = asyncio.create_task(embedder.aencode(_MANY, role="document"))
        while len(encoder.batches) < encoder.workers:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        encoder.go_on.set()

    Started(lambda: asyncio.run(cancelled())).result()  # there may be a loop in this thread
    wanted = subject.embedder.encode_document(MIXED[:1])
    require_close(embedder.encode_document(MIXED[:1]), wanted, subject.tolerance, description(cancels))
    computed = len(encoder.batches) - 1
    require(computed <= encoder.workers, description(cancels), f"{computed} batches of it were computed")


@check
def lasts(subject: Subject) -> None:
    """A thread that outlives the main thread and an exit handler get the same vectors."""
    code = """
import atexit, threading
texts = [f"text number {n} of many " * (n % 9 + 1) for n in range(100)]
expected = embedder.encode_document(texts)
def difference():
    print(float(abs(embedder.encode_document(texts) - expected).max()))
def outliving():
    threading.main_thread().join()
    difference()
atexit.register(difference)
threading.Thread(target=outliving).start()
"""
    differences = [float(line) for line in subject.in_fresh_process(code).split()]
    require(len(differences) == 2, description(lasts), f"{len(differences)} of two answers came")
    require(max(differences) <= subject.tolerance, description(lasts), f"differences of {differences}")


@check
def pickles(subject: Subject) -> None:
    """An embedder pickles as its resolve call, not as its weights."""
    subject.embedder.load()
    data = pickle.dumps(subject.embedder)
    require(pickle.loads(data) is subject.embedder, description(pickles), "it came back as another object")  # noqa: S301  its own
    require(len(data) < 20_000, description(pickles), f"{len(data)} bytes")


@check
def survives_fork(subject: Subject) -> None:
    """After a fork the child gets the same vectors, while the parent works on."""
    if not hasattr(os, "fork"):
        raise NotApplicable("this platform has no fork")
    code = """
import multiprocessing, numpy as np
before = embedder.encode_document(["one text", "another, longer text"])
def in_child(queue):
    queue.put(embedder.encode_document(["one text", "another, longer text"]))
context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=in_child, args=(queue,))
child.start()
print(float(np.abs(queue.get(timeout=300) - before).max()))
child.join()
"""
    difference = float(subject.in_fresh_process(code).split()[-1])
    require(difference <= subject.tolerance, description(survives_fork), f"the largest difference is {difference:.2e}")


@check
def lazy(subject: Subject) -> None:
    """Resolving, and reading the entry, import no engine."""
    code = f"embedder.dims, embedder.max_seq_length\nprint(*[m for m in {_HEAVY!r} if m in sys.modules])"
    imported = subject.in_fresh_process(code).split()
    require(not imported, description(lazy), f"{', '.join(imported)} in memory")


@check
def fingerprint(subject: Subject) -> None:
    """The fingerprint changes with whatever moves vectors, and with nothing else."""
    spec, base = subject.spec, subject.embedder.fingerprint
    same = {
        "the name": subject.with_entry(name="another-name", aliases=()),
        "the description": subject.with_entry(description="another", license="another"),
        "on_overflow": subject.variant(on_overflow="warn"),
        "threads": subject.variant(threads=1),
    }
    other = {
        "a prompt": subject.with_entry(prompts={**spec.prompts, "query": "another prompt: "}),
        "max_seq_length": subject.variant(max_seq_length=subject.embedder.max_seq_length - 1),
        "normalize": subject.variant(normalize=not subject.embedder.config.normalize),
        "dims": Subject(subject.with_entry(matryoshka=Matryoshka(dims=(1,))).spec, **subject.options).variant(dims=1),
    }  # fmt: skip
    for part, embedder in same.items():
        require(embedder.fingerprint == base, description(fingerprint), f"{part} changed it")
    for part, embedder in other.items():
        require(embedder.fingerprint != base, description(fingerprint), f"{part} left it as it was")
