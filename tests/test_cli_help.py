"""What the command line says of itself: the same options everywhere, examples that are right, completion, and the reference."""

import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import run
from embedry import ModelSpec, list_models
from embedry._backends import names
from embedry_cli import commands
from embedry_cli.app import group
from embedry_cli.errors import InputError
from embedry_cli.options import Engine, in_utf8
from examples import ROOT, blocks

REFERENCE = runpy.run_path(str(ROOT / "plugins" / "cli" / "make_reference.py"))

COMMANDS: dict[str, Any] = dict(REFERENCE["every_command"]())
"""Each command and subcommand by its full name."""

OURS = {
    name: command
    for name, command in COMMANDS.items()
    if name.split()[0] in commands._OWN and not hasattr(command, "commands")
}
"""Those of the command line's own that do something."""


def options(command: Any) -> dict[str, Any]:
    return {each.name: each for each in command.params if each.param_type_name == "option"}


def test_an_option_is_spelled_alike_in_every_command() -> None:
    every = [(name, option) for command in OURS.values() for name, option in options(command).items()]
    spelled = {name: {tuple(each.opts) for other, each in every if other == name} for name, _ in every}
    assert spelled["model"] == {("--model", "-m")}
    assert spelled["to"] == {("--to", "-o")}
    for name in ("as_json", "overwrite", "column", "role", *Engine.__annotations__):
        assert len(spelled[name]) == 1, f"{name} is spelled {spelled[name]}"
    for name in ("as_json", *Engine.__annotations__):
        assert len({each.help for other, each in every if other == name}) == 1, f"the helps of {name} differ"


def test_every_command_that_computes_takes_the_options_of_the_engine() -> None:
    for name in ("embed", "search", "rerank", "compare", "map", "check", "bench", "info", "pull"):
        assert set(Engine.__annotations__) <= set(options(OURS[name])), name


def test_every_command_with_a_result_prints_it_as_json() -> None:
    without = {name for name, command in OURS.items() if "as_json" not in options(command)}
    # They write files, or source.
    assert without <= {"pin", "lock", "embed", "index", "map", "cache clear", "new pack", "new backend"}


def test_the_options_of_the_engine_are_handed_on(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a text\n")
    embed = ("embed", tmp_path / "in.txt", "-o", tmp_path / "out.npy")
    for arguments in (embed, ("rerank", "a question", tmp_path / "in.txt"), ("check", "minilm"), ("bench", "minilm")):
        for option, value, message in (
            ("--backend", "abacus", "the backend 'abacus' is not installed"),
            ("--device", "tpu", "does not run on device='tpu'"),
            ("--precision", "fp8", "does not support precision='fp8'"),
            ("--threads", "0", "threads must be"),
        ):
            result = run(*arguments, option, value)
            assert result.code != 0
            assert message in result.err, (arguments[0], option, result.err)
    assert not (tmp_path / "out.npy").exists()
    assert run(*embed, "-m", "minilm", "--device", "cpu", "--threads", "1").code == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_are_what_it_takes(name: str) -> None:
    shown = REFERENCE["examples"](COMMANDS[name])
    assert shown or name not in OURS, f"the docstring of {name} has no Examples"
    for line in shown:
        words = shlex.split(line)
        ours = words[words.index("embedry") + 1 :]
        ends = [ours.index(sign) for sign in ("|", "<", ">", "&", "&&") if sign in ours]
        ours = ours[: min(ends, default=len(ours))]
        called = " ".join(ours[: len(name.split())])
        assert called == name or line.startswith("embedry "), line
        parse(ours)


def parse(arguments: list[str]) -> None:
    """Raises what the command line raises for arguments that it does not take; nothing is run."""
    command: Any = group()
    context: Any = None
    name = "embedry"
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        command = context.command
        if not hasattr(command, "commands"):
            return
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


def test_an_example_that_is_wrong_would_be_found() -> None:
    parse(["embed", "lines.txt", "--to", "vectors.npy"])
    for wrong in (["embed", "lines.txt", "--into", "vectors.npy"], ["cache", "lost"], ["embed", "lines.txt"]):
        with pytest.raises(Exception, match=r"No such (option|command)|Missing"):
            parse(wrong)


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_help_ends_with_the_examples(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for option in ("--help", "-h"):
        lines = [line.rstrip() for line in run("models", option).out.rstrip().splitlines()]
        assert lines[-4:] == [
            " Examples:", "     embedry models", "     embedry models --kind reranker", "     embedry models --json",
        ]  # fmt: skip


def test_brackets_stay_in_help_and_messages(plugin: Callable[..., Path], fresh: Callable[..., Any]) -> None:
    assert re.search(r"pip install ['\"]embedry\[map\]['\"]", " ".join(run("map", "-h").out.split()))
    source = '''
from typing import Annotated
import typer

def say(how: Annotated[str, typer.Option(help="Needs acme[loud], or [bold]none[/bold].")] = "") -> None:
    """Say it with [red]acme[quiet][/red].

    Examples:
        embedry say --how [loud]
    """
'''
    site = plugin("acme-say", {"embedry.commands": {"say": "acme_say:say"}}, {"acme_say": source})
    out = fresh("from embedry_cli.app import main; main(['say', '--help'])", path=site, env={"COLUMNS": "120"}).stdout
    assert "Say it with [red]acme[quiet][/red]." in out
    assert "Needs acme[loud], or [bold]none[/bold]." in out
    assert "embedry say --how [loud]" in out


def test_a_shell_completes_commands_options_models_and_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    def completed(*words: str) -> list[str]:
        """What bash offers for the last word."""
        monkeypatch.setenv("_EMBEDRY_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(("embedry", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        return run().out.split()

    assert completed("co") == ["compare"]
    assert completed("bulk", "") == ["plan", "run", "status", "verify"]  # also of a plugin, which is imported for it
    assert completed("embed", "--prec") == ["--precision"]
    assert completed("pull", "all-M") == ["all-MiniLM-L12-v2", "all-MiniLM-L6-v2"]
    assert completed("embed", "-m", "intfloat/e5") == sorted(
        str(spec.repo) for spec in list_models() if str(spec.repo).startswith("intfloat/e5")
    )
    assert completed("bench", "minilm", "--backend", "") == list(names())


def test_the_script_for_a_shell_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert run("--show-completion", "zsh").out.startswith("#compdef embedry")
    assert "--install-completion" in run("-h").out


def test_texts_on_the_command_line_are_utf_8_in_every_locale() -> None:
    text = "日本 naïve"
    decoded = text.encode().decode("ascii", "surrogateescape")  # as Python does with LC_ALL=C
    assert decoded != text
    assert in_utf8([decoded, text, "plain"]) == [text, text, "plain"]
    assert in_utf8(None) is None
    with pytest.raises(InputError, match=r"'caf\\udce9' is not UTF-8; set the encoding of the terminal"):
        in_utf8("caf\udce9")


def test_a_question_is_understood_in_the_c_locale(reranker: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a text\nanother\n")
    question = "日本 naïve"
    decoded = question.encode().decode("ascii", "surrogateescape")
    right, found = (
        run("rerank", each, tmp_path / "in.txt", "-m", reranker.name, "--json") for each in (question, decoded)
    )
    assert (found.code, found.out) == (0, right.out)
    wrong = run("rerank", "caf\udce9", tmp_path / "in.txt", "-m", reranker.name)
    assert (wrong.code, wrong.err.count("is not UTF-8")) == (2, 1)


def test_the_reference_is_what_the_commands_say() -> None:
    page = REFERENCE["FILE"].read_text(encoding="utf-8")
    assert page == REFERENCE["page"](), "run: python plugins/cli/make_reference.py"
    assert not re.search("[─│╭╰]", page)  # boxes cannot be searched
    headings = re.findall(r"^##+ `embedry (.+)`$", page, re.MULTILINE)
    assert headings == list(COMMANDS)
    shown = "".join(block.text for block in blocks(REFERENCE["FILE"]) if block.file is None)
    assert all(f"embedry {name}" in shown for name in OURS)
