"""The examples of a page of the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    file: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    found = []
    for language, words, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        options = dict(word.split("=", 1) for word in words.split())
        found.append(Block(language, options.get("file"), text))
    return found


def write_files(page: Path, folder: Path) -> None:
    """Writes the page's files, as its reader would."""
    for block in blocks(page):
        if block.file is not None:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text)
