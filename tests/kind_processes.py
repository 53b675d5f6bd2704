"""Makes the entries of one process known in another, where they are found by name."""

import json

from embedry import ModelSpec


def registering(*specs: ModelSpec) -> str:
    """Lines of Python that register these entries."""
    entries = json.dumps([spec.to_dict() for spec in specs])
    return (
        "import embedry, json\n"
        f"for entry in json.loads({entries!r}):\n"
        "    embedry.register(embedry.ModelSpec.from_dict(entry))\n"
    )
