"""The results of servers as Markdown, for the terminal and for the page."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from report import table
from results import Spread, percentile
from server_turns import Beside, Turn
from servers import INFINITY

BEGIN, END = "<!-- server: written by the benchmark -->", "<!-- end of the server -->"

ENCODE = "`encode`, in a process of its own"

Rounds = Mapping[str, list[Turn]]
"""The turns of each contender, a round each."""


@dataclass(frozen=True)
class Results:
    """Everything that was measured."""

    machine: dict[str, str]
    questions: Rounds
    paragraphs: Rounds
    beside: Beside
    group: int
    """Paragraphs a request."""
    described: dict[str, str]
    """The texts of both loads in a few words."""
    large: int
    """Paragraphs of a large request."""


def markdown(results: Results) -> str:
    """All tables."""
    return "\n\n".join(
        [
            f"### One question per request, from 64 connections: {results.described['questions']}",
            _questions(results.questions),
            f"### {results.group} paragraphs per request, from 4 connections: {results.described['paragraphs']}",
            _paragraphs(results.paragraphs, results.group),
            f"### embedry serve: a single question during requests of {results.large:,} paragraphs",
            _beside(results.beside),
            "Measured on:",
            table(("", ""), results.machine.items()),
        ]
    )


def _questions(rounds: Rounds) -> str:
    rows = [
        (name, f"{_rate(turns):,.0f}", _ratio(turns, rounds[INFINITY]), *_times(turns), *_state(turns))
        for name, turns in rounds.items()
    ]
    return table(("", "requests/s", f"{INFINITY} = 1", "p50", "p99", "wrong answers", "memory"), rows)


def _paragraphs(rounds: Rounds, group: int) -> str:
    rows = [
        (
            name,
            f"{_rate(turns):,.2f}",
            f"{_rate(turns) * group:,.0f}",
            _ratio(turns, rounds[INFINITY]),
            f"{_spread(turns, rounds[ENCODE]).median:.0%}",
            *_times(turns),
            *_state(turns),
        )
        for name, turns in rounds.items()
    ]
    columns = ("requests/s", "paragraphs/s", f"{INFINITY} = 1", "of `encode`", "p50", "p99", "wrong answers", "memory")
    return table(("", *columns), rows)


def _beside(found: Beside) -> str:
    rows = [
        ("a question alone", str(len(found.alone)), *_percentiles(found.alone)),
        ("a question beside large requests", str(len(found.beside)), *_percentiles(found.beside)),
        ("a full batch on one worker, all of them busy", "", _milliseconds(found.batch), ""),
    ]
    wrong = f"Large requests answered during this time: {found.large}. Wrong answers: {found.wrong}."
    return table(("", "of them", "p50", "p99"), rows) + "\n\n" + wrong


def _rate(turns: list[Turn]) -> float:
    return statistics.median(turn.rate for turn in turns)


def _spread(turns: list[Turn], reference: list[Turn]) -> Spread:
    return Spread.of([own.rate / theirs.rate for own, theirs in zip(turns, reference, strict=True)])


def _ratio(turns: list[Turn], reference: list[Turn]) -> str:
    if any(turn.rate == 0 for turn in reference):
        return "it answered none"
    spread = _spread(turns, reference)
    return f"{spread.median:.2f} ({spread.least:.2f} to {spread.most:.2f})"


def _times(turns: list[Turn]) -> tuple[str, str]:
    return _percentiles([seconds for turn in turns for seconds in turn.seconds])


def _percentiles(seconds: list[float]) -> tuple[str, str]:
    return (_milliseconds(percentile(seconds, 50)), _milliseconds(percentile(seconds, 99))) if seconds else ("", "")


def _state(turns: list[Turn]) -> tuple[str, str]:
    wrong, asked = sum(turn.wrong for turn in turns), sum(turn.asked for turn in turns)
    memory = max(turn.memory for turn in turns)
    return f"{wrong:,} of {asked:,}", f"{memory:,.0f} MB"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"
