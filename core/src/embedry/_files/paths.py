"""Checks that paths in a model's files stay inside the model's folder."""

from contextlib import suppress
from pathlib import Path, PurePosixPath

from embedry.errors import IntegrityError


def inside(folder: Path, file: str) -> Path:
    """The path of a model's file, checked to lie inside the model's folder, links followed.

    In a snapshot of the Hugging Face cache every file is a link to the `blobs` folder of its repository, or to the one that
    all repositories share; both count as inside.

    Raises:
        IntegrityError: it leads out of the folder.
    """
    pure = PurePosixPath(file)
    if pure.is_absolute() or ".." in pure.parts or "\\" in file:
        raise IntegrityError(f"the model in {folder} names the file {file!r}, which is outside its folder")
    path = folder / pure
    try:
        target, root = path.resolve(), folder.resolve()
        with suppress(FileNotFoundError, NotADirectoryError):  # what is missing is for the caller to say
            path.lstat()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle; a name too long, or with a NUL in it
        reason = getattr(error, "strerror", None) or error  # an OSError's own text repeats the path, however long
        raise IntegrityError(f"the model in {folder} has no file {file[:100]!r}: {reason}") from error
    roots = [root]
    if root.parent.name == "snapshots":
        home = root.parents[1]
        roots += [(home / "blobs").resolve(), (home.parent / "blobs").resolve()]
    if not any(target.is_relative_to(each) for each in roots):
        raise IntegrityError(f"{path} is a link to {target}, which is outside the model's folder")
    return path
