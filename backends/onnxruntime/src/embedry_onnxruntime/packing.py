"""The order of ONNX Runtime's packed weights, as far as it depends on the processor.

A graph is compiled for an order, not for a processor: machines whose kernels use the same order can share it. The kernels for
each instruction set are listed in onnxruntime/core/mlas/lib/platform.cpp. Their orders are in sgemm.cpp and kleidiai/ for floats,
and in qgemm.h and the qgemm_kernel_*.cpp files for 8-bit integers. Floats have one order except with SME, where it also depends
on a vector length that no flag states. Integers have one order from AVX2 to AVX-512 VNNI, and are not packed before AVX2.
Observed with version 1.32 under emulated processors from Nehalem to Haswell and from Cortex-A53 to Neoverse V1; for AMX and SME2,
taken from the source.

The runtime packs again when it opens a graph, and uses the weights in the file only if they are the same
(ValidatePrePackedWeights in session_state.cc). Orders that are not distinguished here cost memory but do not change vectors.
"""

import platform
from collections.abc import Mapping, Sequence

from embedry.backend import cpu_features

_FAMILIES = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64", "arm64": "arm64"}

_Orders = Mapping[str, Mapping[str, Sequence[str]]]

_FLOATS: _Orders = {
    "x86-64": {},
    "arm64": {"sme2": ["sme2"], "sme": ["sme"]},
}
"""Family -> instruction sets whose kernels want an order of their own, the one that is preferred first -> its flags as Linux
lists them."""

_INTEGERS: _Orders = {
    "x86-64": {"amx": ["amx_tile", "amx_int8"], "avx2": ["avx2", "fma"]},
    "arm64": {"i8mm": ["i8mm"], "dotprod": ["asimddp"]},
}


def level(precision: str) -> str:
    """The order for this machine: "x86-64", "x86-64 avx2", "arm64 i8mm".

    Args:
        precision: "fp32", or "int8"; the int8 graph also has products of floats.
    """
    machine, flags = platform.machine().lower(), cpu_features()
    family = _FAMILIES.get(machine)
    if family is None:  # any of them may matter
        return " ".join((machine, *flags))
    tables = [_FLOATS, _INTEGERS] if precision == "int8" else [_FLOATS]
    return " ".join((family, *(name for table in tables for name in _preferred(table[family], flags))))


def _preferred(sets: Mapping[str, Sequence[str]], flags: Sequence[str]) -> list[str]:
    return [name for name, needed in sets.items() if set(needed) <= set(flags)][:1]
