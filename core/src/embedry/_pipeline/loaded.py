"""The parts of a loaded model, which stay in memory while it is in use."""

import weakref
from pathlib import Path

from embedry._pipeline.readers import Reader
from embedry._pipeline.scheduler import Scheduler
from embedry.backend import Encoder, ModelConfig, PairEncoder, TextEncoder


class LoadedEngine:
    """A model in memory, and the threads that compute with it, which end when nothing refers to this any more."""

    def __init__(
        self, folder: Path, model: ModelConfig | None, encoder: Encoder | PairEncoder | TextEncoder, reader: Reader
    ) -> None:
        self.folder = folder
        self.model = model
        self.encoder = encoder
        self.reader = reader
        self.scheduler = Scheduler(reader)
        weakref.finalize(self, self.scheduler.stop).atexit = False  # exit handlers may still embed
        self.scheduler.start()
