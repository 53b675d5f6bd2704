"""Imports OpenVINO without telemetry.

Importing OpenVINO sends an event over the network if its telemetry package is available; this module hides that package during
the import. It has no effect in a program that imports OpenVINO first.
"""

import sys

_REPORTER = "openvino_telemetry"

_hidden = _REPORTER not in sys.modules
if _hidden:
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # Python's way to say that a module cannot be imported
try:
    import openvino
finally:
    if _hidden:
        del sys.modules[_REPORTER]

__all__ = ["openvino"]
