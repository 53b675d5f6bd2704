"""Engines for tests of bulk jobs: the default one, but it fails for some texts, or waits until it is told to go on."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import _backends, discovery
from embedry._pipeline.tokenizer import Tokenizer
from embedry.backend import Encoder, LoadRequest
from mutants import Ids, Mutant, MutantBackend, Vectors
from waiting import until

GATE = "EMBEDRY_TEST_GATE"
"""The environment variable with the folder in which `stops_at` says that it waits, and looks whether it may go on."""


class Particular(Mutant):
    """Knows texts that have the word "poison"."""

    def __init__(self, real: Encoder, request: LoadRequest) -> None:
        super().__init__(real, request)
        (self.token,) = next(Tokenizer(self.folder / "tokenizer.json").read(["poison"], 64))[0][1:-1]

    def poisoned(self, ids: Ids) -> NDArray[np.bool_]:
        """Which of the texts have it."""
        return (ids == self.token).any(axis=1)


class FailsForSome(Particular):
    """Fails for a batch that has a certain text."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        if self.poisoned(ids).any():
            raise RuntimeError("a token that hurts")
        return super().forward(ids, mask)


class GivesNoNumbers(Particular):
    """Gives NaN for a certain text."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        found = np.array(super().forward(ids, mask))
        found[self.poisoned(ids)] = np.nan
        return found


class FailsForAll(Mutant):
    """Fails for every text."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        raise RuntimeError("the card has fallen off the bus")


class FailsOnce(Particular):
    """Fails for a certain text the first time."""

    failed = False

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        if self.poisoned(ids).any() and not FailsOnce.failed:
            FailsOnce.failed = True
            raise RuntimeError("once")
        return super().forward(ids, mask)


class StopsAt(Particular):
    """Says with a file that it has come to a certain text, and goes on when there is another."""

    def forward(self, ids: Ids, mask: Ids) -> Vectors:
        if self.poisoned(ids).any():
            gate = Path(os.environ[GATE])
            (gate / "begun").touch()
            until((gate / "go").exists)
        return super().forward(ids, mask)


fails_for_some = MutantBackend(FailsForSome)
gives_no_numbers = MutantBackend(GivesNoNumbers)
fails_for_all = MutantBackend(FailsForAll)
fails_once = MutantBackend(FailsOnce)
stops_at = MutantBackend(StopsAt)

NAMES = [name for name, value in list(globals().items()) if isinstance(value, MutantBackend)]


@contextmanager
def installed() -> Iterator[None]:
    """Makes these backends known to this process, each by its name."""
    real: Callable[[str], tuple[EntryPoint, ...]] = discovery.entry_points

    def entry_points(group: str) -> tuple[EntryPoint, ...]:
        extra = [EntryPoint(name, f"bulk_engines:{name}", group) for name in NAMES if group == _backends.GROUP]
        return (*real(group), *extra)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "entry_points", entry_points)
        yield


def write_plugin(site: Path) -> Path:
    """Writes a distribution that makes them known to other processes; returns the folder to put on sys.path."""
    info = site / "bulk_engines-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bulk-engines\nVersion: 1.0\n")
    lines = [f"[{_backends.GROUP}]", *(f"{name} = bulk_engines:{name}" for name in NAMES)]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site
