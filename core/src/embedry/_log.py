"""The logger `embedry`: where files came from, what was built, and how long loading took. Silent unless logging is set up."""


def info(message: str, *values: object) -> None:
    """Logs a message with %-style values at the level INFO."""
    from logging import getLogger  # not for those who only import the package

    getLogger("embedry").info(message, *values)
