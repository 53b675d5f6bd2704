"""The checks, each module adding its own to `running.CHECKS` when it is imported."""

from embedry.testing.checks import reading, sharing, vectors

__all__ = ["reading", "sharing", "vectors"]
