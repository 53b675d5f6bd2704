"""File names that identify the process that writes a file, so that files of killed processes can be removed."""

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path

PATTERN = r"([0-9a-f]{8})-(\d{1,9})-[0-9a-f]{8}"
"""What `mark` gives: where process ids mean the same, the process id, something random."""


def mark() -> str:
    """A part of a name, new each time, that says which process made it."""
    return f"{place()}-{os.getpid()}-{os.urandom(4).hex()}"


def is_dead(where: str, process: int) -> bool | None:
    """Whether a process that is not this one has ended; None where it cannot be asked about.

    Args:
        where: the first part of a mark.
        process: the second.
    """
    if where != place() or os.name != "posix":  # elsewhere, asking about a process by a signal would end it
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is another user's
        return False
    return False


def place() -> str:
    """Stands for where a process id names the same process: a machine since it was started, or a container."""
    facts = [platform.node()]
    with suppress(OSError):  # only Linux has these
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()[:8]
