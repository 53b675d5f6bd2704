"""Vectors that were computed once come from the disk, byte for byte, in this process and in others."""

import os
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embedry import (
    CacheWarning,
    ModelSpec,
    OptionError,
    TextTypeError,
    clear_cache,
    list_cached,
    resolve,
    resolve_sparse,
)
from embedry.views import LazyEmbedder
from embedry_langchain import EmbedryEmbeddings

TEXTS = [f"text {number} of the cache" for number in range(50)]


@pytest.fixture
def caching(minilm: LazyEmbedder, tmp_path: Path) -> LazyEmbedder:
    return resolve(minilm.spec, vector_cache=tmp_path / "vectors", cache_dir=minilm.config.cache_dir)


def counts(embedder: LazyEmbedder) -> tuple[int, int]:
    assert embedder.vector_cache is not None
    return embedder.vector_cache.hits, embedder.vector_cache.misses


def test_the_second_time_nothing_is_computed(minilm: LazyEmbedder, caching: LazyEmbedder) -> None:
    assert caching.engine is minilm.engine
    first = caching.encode_document(TEXTS)
    assert np.abs(first - minilm.encode_document(TEXTS)).max() <= 1e-6
    before = caching.computed_tokens
    second = caching.encode_document([*TEXTS[::-1], TEXTS[3]])
    np.testing.assert_array_equal(second, [*first[::-1], first[3]])
    assert caching.computed_tokens == before
    assert counts(caching) == (50, 50)
    assert second.dtype == np.float32
    assert second.flags.writeable


def test_only_new_texts_are_computed_and_roles_are_apart(caching: LazyEmbedder) -> None:
    known = caching.encode_document(TEXTS[:10])
    mixed = caching.encode_document(TEXTS[5:15])
    np.testing.assert_array_equal(mixed[:5], known[5:])
    assert counts(caching) == (5, 15)
    caching.encode_query(TEXTS[:10])
    assert counts(caching) == (5, 25)
    assert len(caching.vector_cache or ()) == 25


def test_models_and_settings_have_files_of_their_own(minilm: LazyEmbedder, caching: LazyEmbedder) -> None:
    folder, cache_dir = caching.config.vector_cache, minilm.config.cache_dir
    for options in ({}, {"dims": None, "normalize": False}, {"max_seq_length": 16}):
        resolve(minilm.spec, vector_cache=folder, cache_dir=cache_dir, **options).encode_query(["a"])  # type: ignore[arg-type]
    files = list((folder or Path()).glob("*.sqlite"))
    assert len(files) == 3
    assert all(file.name.startswith("all-MiniLM-L6-v2-fp32-") for file in files)


def test_other_processes_and_every_adapter_share_it(minilm: LazyEmbedder, caching: LazyEmbedder) -> None:
    expected = caching.encode_document(TEXTS)
    program = f"""
from embedry import resolve
embedder = resolve("all-MiniLM-L6-v2", vector_cache={str(caching.config.vector_cache)!r})
vectors = embedder.encode_document({TEXTS!r})
assert not embedder.loaded
print(vectors.tobytes().hex())
"""
    environment = os.environ | {"EMBEDRY_CACHE": str(minilm.config.cache_dir)}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert bytes.fromhex(ran.stdout.strip()) == expected.tobytes()
    adapter = EmbedryEmbeddings(
        minilm.spec, vector_cache=caching.config.vector_cache, cache_dir=minilm.config.cache_dir
    )
    before = caching.computed_tokens
    np.testing.assert_array_equal(np.array(adapter.embed_documents(TEXTS), dtype=np.float32), expected)
    assert caching.computed_tokens == before


def test_a_killed_process_loses_nothing_that_it_was_given(minilm: LazyEmbedder, tmp_path: Path) -> None:
    program = f"""
from embedry import resolve
embedder = resolve("all-MiniLM-L6-v2", vector_cache={str(tmp_path)!r})
number = 0
while True:
    embedder.encode_document([f"text {{number}}"])
    print(number, flush=True)
    number += 1
"""
    environment = os.environ | {"EMBEDRY_CACHE": str(minilm.config.cache_dir)}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    acknowledged = -1
    while acknowledged < 40:
        acknowledged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    acknowledged = int((process.stdout.read().split() or [acknowledged])[-1])
    process.stdout.close()
    process.wait()
    embedder = resolve(minilm.spec, vector_cache=tmp_path, cache_dir=minilm.config.cache_dir)
    found = embedder.encode_document([f"text {number}" for number in range(acknowledged + 1)])
    assert counts(embedder) == (acknowledged + 1, 0)
    assert np.abs(found[7] - minilm.encode_document(["text 7"])[0]).max() <= 1e-6


def test_threads_and_processes_may_write_at_the_same_time(minilm: LazyEmbedder, caching: LazyEmbedder) -> None:
    expected = minilm.encode_document(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda shift: caching.encode_document(TEXTS[shift:] + TEXTS[:shift]), range(16)))
    for shift, result in enumerate(results):
        assert np.abs(result - np.roll(expected, -shift, axis=0)).max() <= 1e-6
    assert len(caching.vector_cache or ()) == 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_opens_its_own_connection(caching: LazyEmbedder) -> None:
    first = caching.encode_document(TEXTS[:5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about threads
        child = os.fork()
    if child == 0:
        same = np.array_equal(caching.encode_document(TEXTS[:5]), first)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    caching.encode_document(TEXTS[:8])
    assert counts(caching) == (5, 8)


def test_a_stream_and_a_task_use_it_too(caching: LazyEmbedder) -> None:
    import asyncio

    expected = caching.encode_document(TEXTS)
    before = caching.computed_tokens
    blocks = list(caching.encode_stream((text for text in TEXTS * 30), role="document"))
    assert len(blocks) == 2
    np.testing.assert_array_equal(np.concatenate(blocks), np.tile(expected, (30, 1)))
    np.testing.assert_array_equal(asyncio.run(caching.aencode(TEXTS, role="document")), expected)
    assert caching.computed_tokens == before
    with pytest.raises(TextTypeError, match="text 1 must be a str"):
        list(caching.encode_stream(["a", 5], role="document"))  # type: ignore[list-item]
    assert caching.encode_document([]).shape == (0, 384)


def test_a_damaged_or_closed_file_is_left_aside_with_a_warning(minilm: LazyEmbedder, caching: LazyEmbedder) -> None:
    assert caching.vector_cache is not None
    caching.vector_cache.file.parent.mkdir(parents=True)
    caching.vector_cache.file.write_bytes(b"no database" * 1000)
    with pytest.warns(CacheWarning, match=r"cannot be used, so vectors are computed again: .*remove the file"):
        found = caching.encode_document(TEXTS)
    caching.encode_document(TEXTS)  # without another warning, which would be an error
    np.testing.assert_array_equal(found, minilm.encode_document(TEXTS))


def test_a_vector_of_another_size_is_computed_again(caching: LazyEmbedder) -> None:
    expected = caching.encode_document(["a"])
    assert caching.vector_cache is not None
    with sqlite3.connect(caching.vector_cache.file) as database:
        database.execute("UPDATE vectors SET vector = x'00'")
    database.close()
    assert np.abs(caching.encode_document(["a"]) - expected).max() <= 1e-6


def test_what_it_cannot_do_is_refused(minilm: LazyEmbedder, sparse: ModelSpec) -> None:
    with pytest.raises(OptionError, match="vector_cache and on_overflow='warn' cannot be combined"):
        resolve(minilm.spec, vector_cache=True, on_overflow="warn")
    with pytest.raises(OptionError, match="vector_cache is for dense models"):
        resolve_sparse(sparse, vector_cache=True)


def test_the_cache_is_listed_and_cleared(minilm_folder: Path, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    embedder = resolve(checkpoint("bert"), cache_dir=tmp_path, vector_cache=True)
    embedder.encode_document(TEXTS)
    items = list_cached(tmp_path)
    assert [item.kind for item in items] == ["graph", "vectors"]
    graph, vectors = items
    assert graph.name == f"the graph of {embedder.name!r}"
    assert graph.size == sum(file.stat().st_size for file in graph.path.iterdir())
    assert vectors.size > 50 * embedder.dims * 4
    with pytest.raises(OptionError, match="is not in the cache folder"):
        clear_cache(items, cache_dir=minilm_folder)
    assert clear_cache([vectors], cache_dir=tmp_path) == vectors.size
    assert list_cached(tmp_path) == [graph]
    assert not list((tmp_path / "vectors").iterdir())
    assert clear_cache(cache_dir=tmp_path) == graph.size
    assert not (tmp_path / "verified").exists()
    assert embedder.encode_query(["a"]).shape == (1, embedder.dims)
