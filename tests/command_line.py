"""Runs the command line inside the test's process, which is quick; tests of what a process does start one instead."""

import io
import sys
from typing import NamedTuple

import pytest

from embedry_cli.app import main


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def run(*arguments: object, stdin: bytes = b"") -> Result:
    """`embedry` with these arguments."""
    streams = {name: io.TextIOWrapper(io.BytesIO(given), encoding="utf-8") for name, given in
               (("stdin", stdin), ("stdout", b""), ("stderr", b""))}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
    texts = []
    for name in ("stdout", "stderr"):
        streams[name].flush()
        texts.append(streams[name].buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Result(int(ended.value.code or 0), *texts)
