"""The Containerfile of the server, read."""

import json
from pathlib import Path

from examples import ROOT

FOLDER = ROOT / "plugins" / "server"
PREFIX = "/opt/embedry"
"""Where the environment is in the image."""

USER = 10001


def instructions(stage: int = -1) -> list[tuple[str, str]]:
    """The instructions of a stage, with what follows them; stage 0 is what is before the first FROM."""
    lines = [line for line in (FOLDER / "Containerfile").read_text().splitlines() if not line.startswith("#")]
    stages: list[list[tuple[str, str]]] = [[]]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, rest = line.split(maxsplit=1)
            if name == "FROM":
                stages.append([])
            stages[-1].append((name, rest))
    return stages[stage]


def the(name: str) -> str:
    """What follows the one instruction of this name in the last stage."""
    (rest,) = (rest for each, rest in instructions() if each == name)
    return rest


def command(text: str, prefix: Path) -> list[str]:
    """A command in exec form, as it is with another prefix."""
    found = json.loads(text)
    assert all(isinstance(word, str) for word in found)
    return [word.replace(PREFIX, str(prefix)) for word in found]
