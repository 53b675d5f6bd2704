"""A folder with a model's listed files and nothing else, for libraries that read whatever they find."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedry.spec import ModelSpec


@contextmanager
def only_listed(spec: ModelSpec, folder: Path) -> Iterator[Path]:
    """A temporary folder that holds the files of `spec.files`, linked from `folder`, while the context lasts.

    An engine that hands a folder to another library uses it, so that nothing is read that is not in the fingerprint.
    """
    import shutil
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="embedry-files-") as name:
        for file in spec.files:
            place = Path(name, file)
            place.parent.mkdir(parents=True, exist_ok=True)
            target = (folder / file).resolve()
            try:
                place.symlink_to(target)
            except OSError:  # Windows, without the right to make links
                try:
                    os.link(target, place)
                except OSError:
                    shutil.copyfile(target, place)
        yield Path(name)
