"""Reads models that no entry knows: what the files of a folder or a repository say becomes an entry, or is refused by name.

An entry point in `embedry.layouts`; the core asks it for a folder, or for a repository that no plugin registers.
"""

from embedry_layouts.layout import from_folder, from_hub, from_hub_at

__all__ = ["from_folder", "from_hub", "from_hub_at"]
