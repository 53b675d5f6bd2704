"""Ways to damage a model's folder, as data: each changes one thing, and shows in its `repr` what.

`folder` is the model's, `outside` a folder beside it that holds the same files, all valid.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VALUES: dict[str, str] = {
    "null": "null", "true": "true", "false": "false", "a dict": "{}", "a list": "[]", "zero": "0", "one": "1", "three": "3",
    "minus one": "-1", "half": "0.5", "2**31": str(2**31), "2**31 - 1": str(2**31 - 1), "2**63": str(2**63),
    "2**64": str(2**64), "10**400": str(10**400), "1e400": "1e400", "1e-400": "1e-400", "NaN": "NaN",
    "-Infinity": "-Infinity", "an empty text": '""', "a text": '"x"', "a dot": '"."', "a number as text": '"12"',
    "upwards": '"../outside"', "upwards within": '"2_Dense/../../outside/2_Dense"', "absolute": '"/etc/passwd"',
    "backslashes": '"..\\\\outside"', "a repository": '"acme/kernel"', "a NUL": '"a\\u0000b"',
    "half a surrogate": '"\\ud800"', "a long text": json.dumps("x" * 5000), "a nested list": "[[[[1]]]]",
    "a broken map": '{"type": "Precompiled", "precompiled_charsmap": "CAAAAAEAAAABAAAAQUFBQQ=="}', "pieces of nothing":
    '{"type": "FixedLength", "length": 0}', "growth": json.dumps({"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"Regex": "."}, "content": "x" * 9}] * 12}),
    "a list of texts": '["a", "b", "a"]', "a list of anything": '[null, 1, "a", {}, []]', "a dict of anything":
    '{"": null, "a": 1, "text": {"method": []}, "type": "Sequence"}', "deep lists": "[" * 20_000 + "]" * 20_000,
    "deep dicts": '{"a":' * 20_000 + "1" + "}" * 20_000, "lists without end": "[" * 200_000,
}  # fmt: skip
"""JSON by a name, to stand where something else should; some of it is no JSON."""

LARGE: dict[str, str] = {
    "a million names": "{" + ",".join(f'"n{number}":0' for number in range(1_000_000)) + "}",
    "a million texts": "[" + ",".join(f'"n{number}"' for number in range(1_000_000)) + "]",
    "300,000 names": "{" + ",".join(f'"n{number}":0' for number in range(300_000)) + "}",
    "many modules": "[" + ",".join(['{"type":"sentence_transformers.models.Normalize"}'] * 65_000) + "]",
}
"""The same, megabytes of it."""

DTYPES = {
    "I64": 8,
    "I32": 4,
    "U8": 1,
    "BOOL": 1,
    "F64": 8,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F4": 1,
    "X": 4,
}
"""Types of safetensors, some of which there are -> bytes of a value."""


@dataclass(frozen=True)
class Set:
    """Puts a value of `VALUES` or `LARGE` where the file has another; () is the whole file."""

    file: str
    place: tuple[str | int, ...]
    value: str

    def apply(self, folder: Path, outside: Path) -> None:
        """Changes the folder."""
        content = json.loads((folder / self.file).read_bytes())
        mark = "\x01"
        holder = {"": content}
        found: Any = holder
        for step in ("", *self.place)[:-1]:
            found = found[step]
        found[("", *self.place)[-1]] = mark
        text = json.dumps(holder[""]).replace(json.dumps(mark), (VALUES | LARGE)[self.value])
        (folder / self.file).write_text(text)


@dataclass(frozen=True)
class Drop:
    """Leaves out what stands there."""

    file: str
    place: tuple[str | int, ...]

    def apply(self, folder: Path, outside: Path) -> None:
        """Changes the folder."""
        content = found = json.loads((folder / self.file).read_bytes())
        for step in self.place[:-1]:
            found = found[step]
        del found[self.place[-1]]
        (folder / self.file).write_text(json.dumps(content))


@dataclass(frozen=True)
class Repeat:
    """Writes a key of the outermost dict twice, the second time with this value."""

    file: str
    key: str
    value: str

    def apply(self, folder: Path, outside: Path) -> None:
        """Changes the folder."""
        text = (folder / self.file).read_text().rstrip()
        if text.endswith("}"):
            (folder / self.file).write_text(f"{text[:-1]},{json.dumps(self.key)}:{VALUES[self.value]}}}")


@dataclass(frozen=True)
class Splice:
    """Puts bytes in place of some; places beyond the end count from the start again."""

    file: str
    start: int
    removed: int
    added: bytes

    def apply(self, folder: Path, outside: Path) -> None:
        """Changes the folder."""
        content = (folder / self.file).read_bytes()
        start = self.start % (len(content) + 1)
        (folder / self.file).write_bytes(content[:start] + self.added + content[start + self.removed :])


@dataclass(frozen=True)
class Replace:
    """Puts something else in the place of a file, or of the folder that it is in."""

    file: str
    by: str

    def apply(self, folder: Path, outside: Path) -> None:
        """Changes the folder."""
        path = folder / self.file
        if self.by == "a link out of the folder" and path.parent != folder:
            path = path.parent
            shutil.rmtree(path)
        else:
            path.unlink()
        target = outside / path.relative_to(folder)
        if self.by == "a folder":
            path.mkdir()
        elif self.by == "a link to itself":
            path.symlink_to(path)
        elif self.by == "a pipe":
            os.mkfifo(path)
        elif "link out" in self.by:  # what stands outside is the same, and valid
            path.symlink_to(os.path.relpath(target, path.parent) if "relative" in self.by else target)
        elif self.by == "300 MB of zeros":
            with open(path, "wb") as file:
                file.truncate(300 * 2**20)
        elif self.by != "nothing":
            path.write_bytes(
                {"an empty file": b"", "no UTF-8": b'{"\xff\xfe": "\xe9"}', "UTF-16": "{}".encode("utf-16")}[self.by]
            )


REPLACEMENTS = (
    "nothing", "a folder", "an empty file", "no UTF-8", "UTF-16", "a link to itself", "a pipe", "a link out",
    "a relative link out", "a link out of the folder", "300 MB of zeros",
)  # fmt: skip


@dataclass(frozen=True)
class Swap:
    """Exchanges two files."""

    one: str
    other: str

    def apply(self, folder: Path, outside: Path) -> None:
        """Changes the folder."""
        one, other = ((folder / file).read_bytes() for file in (self.one, self.other))
        (folder / self.one).write_bytes(other)
        (folder / self.other).write_bytes(one)


Content = tuple[list[int], bytes]
"""The shape of a tensor and its bytes."""

CHANGES: dict[str, Callable[[list[int], bytes], Content]] = {
    "one row": lambda shape, part: ([1, *shape[1:]], part[: len(part) // shape[0]]),
    "half": lambda shape, part: ([shape[0] // 2, *shape[1:]], part[: len(part) // 2]),
    "twice": lambda shape, part: ([shape[0] * 2, *shape[1:]], part * 2),
    "no rows": lambda shape, part: ([0, *shape[1:]], b""),
    "endless and empty": lambda shape, part: ([2**62, 0], b""),
    "turned": lambda shape, part: (shape[::-1], part),
    "one more axis": lambda shape, part: ([1, *shape], part),
    "flat": lambda shape, part: ([len(part) // 4], part),
    "NaN": lambda shape, part: (shape, b"\0\0\xc0\x7f" * (len(part) // 4)),
    "zeros": lambda shape, part: (shape, bytes(len(part))),
    "large": lambda shape, part: (shape, b"\xff\xff\x7f\x7f" * (len(part) // 4)),
}
"""What may become of a tensor of float32."""


@dataclass(frozen=True)
class Tensor:
    """Another type or content of a tensor, another name or none, in a file that is sound but for that."""

    file: str
    name: str
    change: str
    """A key of `DTYPES` or `CHANGES`, "another name" or "gone"."""

    def apply(self, folder: Path, outside: Path) -> None:
        """Changes the folder."""
        header, data = split(folder / self.file)
        header.pop("__metadata__", None)
        parts = {name: data[slice(*entry["data_offsets"])] for name, entry in header.items()}
        entry, part = header.pop(self.name), parts.pop(self.name)
        if self.change in DTYPES:
            entry["dtype"] = self.change
            part = (part * 2)[: len(part) // 4 * DTYPES[self.change]]
        elif self.change in CHANGES:
            entry["shape"], part = CHANGES[self.change](list(entry["shape"]), part)
        if self.change != "gone":
            name = f"{self.name}.x.weight" if self.change == "another name" else self.name
            header[name], parts[name] = entry, part
        end = 0
        for name, content in parts.items():
            header[name]["data_offsets"] = [end, end := end + len(content)]
        join(folder / self.file, json.dumps(header).encode(), b"".join(parts.values()))


@dataclass(frozen=True)
class Header:
    """Another value in the header of a safetensors file, whose data stay as they are."""

    file: str
    number: int
    field: str
    value: str

    def apply(self, folder: Path, outside: Path) -> None:
        """Changes the folder."""
        header, data = split(folder / self.file)
        header.setdefault("__metadata__", {"format": "pt"})
        entry = header[sorted(header)[self.number % len(header)]]
        if self.field == "all":
            entry.clear()
        place, _, position = self.field.partition(".")
        mark = "\x01"
        if position and isinstance(entry.get(place), list) and entry[place]:  # an earlier mutation may have taken it
            entry[place][int(position) % len(entry[place])] = mark
        else:
            entry[place] = mark
        join(folder / self.file, json.dumps(header).replace(json.dumps(mark), VALUES[self.value]).encode(), data)


@dataclass(frozen=True)
class HeaderLength:
    """Another length of a header than it has."""

    file: str
    length: int

    def apply(self, folder: Path, outside: Path) -> None:
        """Changes the folder."""
        content = (folder / self.file).read_bytes()
        (folder / self.file).write_bytes(self.length.to_bytes(8, "little") + content[8:])


Mutation = Set | Drop | Repeat | Splice | Replace | Swap | Tensor | Header | HeaderLength


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the rest."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def join(path: Path, header: bytes, data: bytes) -> None:
    """Writes a safetensors file."""
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where values stand in a JSON value, the whole first."""
    yield place
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*place, key))
