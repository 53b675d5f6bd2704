"""The logger `embedry`: where files came from, what was built, how long loading took, and whether texts were truncated.

Unless logging is set up, Python only shows warnings.
"""


def info(message: str, *values: object) -> None:
    """Logs a message with %-style values at the level INFO."""
    from logging import getLogger  # not for those who only import the package

    getLogger("embedry").info(message, *values)


def warning(message: str, *values: object) -> None:
    """Logs a message with %-style values at the level WARNING."""
    from logging import getLogger

    getLogger("embedry").warning(message, *values)
