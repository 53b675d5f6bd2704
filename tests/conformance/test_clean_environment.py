"""The kit works for a third party: its own package, a clean environment, another folder, and an engine of another kind.

The package is the one that the page on writing a backend builds: a static table of word vectors, no transformer anywhere.
"""

import os
import subprocess
import sys
from pathlib import Path

from embedry.testing import CHECKS
from examples import ROOT, write_files


def test_the_package_of_the_documentation_passes_the_kit_in_a_clean_environment(tmp_path: Path) -> None:
    def run(*command: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EMBEDRY"))}
        environment["EMBEDRY_CACHE"] = str(tmp_path / "cache")
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
        return result.stdout

    write_files(ROOT / "docs" / "backends.md", tmp_path)
    run(sys.executable, "acme/make_weights.py")
    run(sys.executable, "-m", "venv", "clean")
    python = str(tmp_path / "clean" / "bin" / "python")
    run(python, "-m", "pip", "install", "-q", f"{ROOT / 'core'}[testing]", "./acme")
    found = run(
        python,
        "-c",
        "from importlib.util import find_spec as f; print(f('torch'), f('onnxruntime'), f('embedry').origin)",
    )
    assert found.startswith(f"None None {tmp_path}"), "the environment is not clean"
    (tmp_path / "elsewhere").mkdir()
    summary = run(python, "-m", "pytest", "-q", "-rs", "--rootdir", "elsewhere", "acme/tests").splitlines()[-1]
    # It has no golden vectors and no modules.json, and five checks are about models of other kinds.
    assert summary.startswith(f"{len(CHECKS) - 7} passed, 7 skipped"), summary
