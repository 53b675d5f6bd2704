"""The checks. Each module adds its checks to `running.CHECKS` when it is imported."""

from embedry.testing.checks import files, kinds, reading, sharing, vectors

__all__ = ["files", "kinds", "reading", "sharing", "vectors"]
