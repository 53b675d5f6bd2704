"""Decides which content of a cache folder is trusted: only files that no user except this one and root can have written.

A compiled graph is run, and a stored digest replaces reading a file. Neither can be verified with a file beside it, because a
user who can change one can change the other. They are trusted because embedry derived them from verified files, so it matters
who else could have written them. The rule, for the cache folder, each folder on the path below it, and the file itself, with
links resolved:

- It belongs to this user or to root.
- Others cannot write to it, and neither can its group, unless that group is private: named like this user or like root, with
  no other member. Systems that give each user such a group make new folders writable by it.
- A folder with the sticky bit may be open to all, since nobody can replace in it what belongs to another user.

Everything else counts as absent: it is neither used nor replaced, and the work is done again, with a `CacheWarning`. Folders
above the cache folder are not looked at: what somebody else puts in its place belongs to them. Windows is not checked, where
a user's own folders are closed to other users from the start.

Model files need no such rule. They are compared with their digests.
"""

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path


def require(path: Path, cache_dir: Path) -> None:
    """Checks a path in the cache by the rule of this module; what does not exist passes.

    Raises:
        PermissionError: it is not believed, or this user may not look at it.
        OSError: it cannot be looked at for another reason.
    """
    for place in (path, *path.parents)[len(path.relative_to(cache_dir).parts) :: -1]:  # from the cache folder down
        try:
            reason = fault(place)
        except (FileNotFoundError, NotADirectoryError):
            return
        if reason:
            raise PermissionError(reason)


def fault(path: Path) -> str | None:
    """Why a single file or folder is not believed, and how to change that; None if it is.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    if sys.platform == "win32":
        return None
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, os.geteuid()):
        return (
            f"{path} belongs to another user (uid {status.st_uid}); if all that is in it can be trusted, "
            f"chown -R {os.geteuid()} {path}"
        )
    if stat.S_ISDIR(status.st_mode) and mode & stat.S_ISVTX:
        return None
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not _is_private(status.st_gid)):
        return f"other users can write to {path} (mode {mode:04o}); if all that is in it can be trusted, chmod -R go-w {path}"
    return None


def close(path: Path) -> None:
    """Takes from all but the owner the right to write to a file or folder, where the umask gave it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        path.chmod(mode & ~(stat.S_IWGRP | stat.S_IWOTH))


def _is_private(group_id: int) -> bool:
    """Whether a group is this user's own or root's own, by the convention of systems that make one for each user."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    names = set()
    for user_id in (0, os.geteuid()):
        with suppress(KeyError):  # in a container a user need not have a name
            names.add(pwd.getpwuid(user_id).pw_name)
    try:
        group = grp.getgrgid(group_id)
    except KeyError:
        return False
    return group.gr_name in names and set(group.gr_mem) <= {group.gr_name}
