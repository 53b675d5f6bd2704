"""Writes docs/reference/command-line.md: every command with its examples, arguments and options, as text.

    python plugins/cli/make_reference.py

A test compares the page with the commands. All distributions of the repository must be installed.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embedry_cli import commands

FILE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"

INTRODUCTION = """\
# Command line

`embedry --help` lists the commands, including those of installed plugins, and `embedry COMMAND --help` describes one. Exit codes:
0 success, 1 something failed, 2 wrong usage or input, 130 interrupted, 143 terminated. `EMBEDRY_DEBUG=1` shows where an error
comes from.

`embedry --install-completion` sets up completion of commands, options, model names and backend names in bash, zsh, fish or
PowerShell. `embedry --show-completion` prints the script instead.

Results go to standard output, and everything else to standard error. `--json` prints a result for other programs. Control
characters in texts and file names are printed as escapes such as `\\u001b`, so that they do not act on the terminal. If the
encoding of standard output lacks a character, text output shows `?`, and JSON output an escape.

The examples use these files:

```text file=questions.txt
When do I get my money back?
Where is my parcel?
When are you open?
```

```text file=answers.txt
Refunds are paid within 14 days.
We ship to most of Europe.
The shop opens at nine.
```

```text file=tickets.jsonl
{"id": 1, "body": "I cannot log in since the update."}
{"id": 2, "body": "When is my parcel going to arrive?"}
{"id": 3, "body": "Please send the invoice again."}
```
"""

ENGINE = """\
## Engine options

Every command that computes takes these options. They have the same meaning as in [`resolve`](resolve.md).
"""

NOTES = {
    "embed": """\
### What is read

- **Memory:** rows are read as they are needed. A line, or a CSV record of several lines, may have at most 64 MB; a longer one is
  an error that names the line.
- **Pipes:** an input may be a named pipe, such as `/dev/stdin` or `<(command)`. Parquet must be a file.
- **Changes:** a file that becomes shorter while it is read is an error.
- **Columns:** for `.npy` only the text column of a Parquet file is read.

### What is written

A column keeps its values unchanged; where a format cannot hold one, the error names the row and the column.

- **.jsonl:** NaN, Infinity, bytes and decimals are errors, because JSON has none of them. Dates become strings.
- **.parquet from Parquet:** columns keep their types and all their values.
- **.parquet from other inputs:** the first block, a few thousand rows, determines the types. Later values must fit: 0.5 in a
  column of integers is an error, and so is a new column or a new field of an object. A missing field is null. NaN and Infinity
  are kept.

The output appears under its name when it is complete. A command that fails or is interrupted or terminated removes the
unfinished file; the next command with the same output removes what a killed command left behind.
""",
    "lock": """\
Models are taken from the registry, or else from main of the repository. Models already in the file are left unchanged. If
a model cannot be locked, nothing is written. [A lock file](../cookbook/lock-file.md) explains its purpose.
""",
    "pin": """\
Only the entry is printed to standard output. [Model packs](../model-packs.md) explains what to do with it.
""",
    "new pack": """\
[Model packs](../model-packs.md) describes what it writes.
""",
    "new backend": """\
[Write a backend](../backends.md) describes what it writes.
""",
    "map": """\
[Visualizing embeddings](../visualization.md) describes the page.
""",
    "calibrate": """\
Models that do not support int8 are rejected before anything is read.
[Model packs](../model-packs.md#calibrate-it-for-int8) shows what it prints;
[a lock file](../cookbook/lock-file.md#a-calibration-of-your-own) explains `--lock`.
""",
    "bulk": """\
The package `embedry-bulk` adds this command. [Bulk jobs](../bulk.md) describes it.
""",
    "serve": """\
The package `embedry-server` adds this command. [A server](../server.md) describes it.
""",
}
"""What a page says of a command beyond its help."""

NOT_RUN = ("bench", "bulk", "cache", "calibrate", "check", "index", "map", "pin", "pull", "search", "serve")
"""Commands whose examples need a network, minutes or files of the reader, or change the cache. Tests run those of all others."""

_TYPES = {"str": "text", "int": "number", "float": "number", "Path": "path"}


def page() -> str:
    """The whole page."""
    engine = next(found for _, command in every_command() if (found := _engine_options(command)))
    sections = [_section(name, command) for name, command in every_command()]
    return "\n".join([INTRODUCTION, f"{ENGINE}\n{_options(engine)}", *sections])


def every_command() -> Iterator[tuple[str, Any]]:
    """Each command and subcommand with its full name, such as "bulk run"."""
    for command in commands.installed():
        yield from _with_subcommands(command.called, command.load())


def examples(command: Any) -> list[str]:
    """The command lines that the help of a command shows."""
    return [line.strip() for line in _plain(command.epilog).split("\n")[2:]]


def _with_subcommands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for each, subcommand in getattr(command, "commands", {}).items():
        yield from _with_subcommands(f"{name} {each}", subcommand)


def _section(name: str, command: Any) -> str:
    parts = [f"{'###' if ' ' in name else '##'} `embedry {name}`", _prose(_plain(command.help))]
    shown = examples(command)
    if shown:
        language, prompt = ("text", "") if name.split()[0] in NOT_RUN else ("console", "$ ")
        parts.append("\n".join([f"```{language}", *(prompt + line for line in shown), "```"]))
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    if arguments:
        rows = ((f"`{_placeholder(each)}`", _meaning(each)) for each in arguments)
        parts.append(_table(("argument", "meaning"), rows))
    engine = _engine_options(command)
    options = [each for each in command.params if each not in arguments and each not in engine]
    if options:
        parts.append(_options(options).rstrip("\n"))
    if engine:
        parts.append("It also takes the [engine options](#engine-options).")
    if name in NOTES:
        parts.append(NOTES[name].rstrip("\n"))
    return "\n\n".join(parts) + "\n"


def _engine_options(command: Any) -> list[Any]:
    """The options of every engine, if a command has all of them."""
    found = [each for each in command.params if getattr(each, "rich_help_panel", None) == "Engine"]
    return found if len(found) == 4 else []


def _options(options: Sequence[Any]) -> str:
    rows = ((", ".join(f"`{name}`" for name in each.opts), _value(each), _meaning(each)) for each in options)
    return _table(("option", "value", "meaning"), rows) + "\n"


def _placeholder(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).replace("|", r"\|")
    return f"{name}..." if argument.nargs != 1 else name


def _value(option: Any) -> str:
    described = option.type_descriptor
    if option.is_flag:
        return ""
    if described.is_choice:
        return ", ".join(f"`{choice}`" for choice in described.choices)
    value = _TYPES[option.bare_type().removeprefix("list[").removesuffix("]")]
    least, most = (getattr(described.parameter_info, name) for name in ("min", "max"))
    limits = [f"at least {least}"] * (least is not None) + [f"at most {most}"] * (most is not None)
    several = ["may be repeated"] * option.multiple
    return ", ".join([value, *limits, *several])


def _meaning(parameter: Any) -> str:
    text = _prose(_plain(parameter.help)).replace("|", r"\|")
    if parameter.required:
        text += " Required."
    elif parameter.default is not None and parameter.default is not False:
        text += f" Default: `{parameter.default}`."
    return text


def _table(headings: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    lines += [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
    return "\n".join(lines)


def _plain(text: str | None) -> str:
    """A help text without the backslashes that keep its brackets from being markup."""
    from rich.markup import render

    return render(text or "").plain


def _prose(text: str) -> str:
    """A text as Markdown: outside of code nothing in it is markup."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in parts)


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
