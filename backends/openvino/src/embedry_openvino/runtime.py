"""OpenVINO, imported without reporting to its makers that it was.

Its import sends an event over the network, unless the package that sends is not there; while it is imported here, it is not.
A program that imports OpenVINO before this module decides for itself.
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
