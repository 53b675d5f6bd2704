"""Formats times and sizes for messages."""

from embedry_cli.terminal import counted

_UNITS = ("B", "kB", "MB", "GB", "TB")


def time_span(seconds: float) -> str:
    """Formats a time in the largest unit that gives at least 1.5: "80 seconds", "3 hours"."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * length:
            return counted(round(seconds / length), unit)
    return counted(round(seconds), "second")


def size(count: float) -> str:
    """Formats bytes in the largest unit that gives at least 1: "1.2 MB"."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
