"""A compiled graph is kept for the order of weights that a processor's kernels want, and so found on others like it."""

import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import _cpu
from embedry_graphs.graph import Graph
from embedry_onnxruntime import packing
from embedry_onnxruntime.session import OnnxEncoder

Encode = Callable[..., NDArray[np.float32]]
Processor = Callable[..., None]

NEHALEM = "fpu sse sse2 ssse3 sse4_1 sse4_2 popcnt"
HASWELL = f"{NEHALEM} avx avx2 fma bmi1 bmi2"
ZEN_4 = f"{HASWELL} sse4a avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16"
ALDER_LAKE = f"{HASWELL} avx_vnni gfni"
SAPPHIRE_RAPIDS = f"{ZEN_4} amx_bf16 amx_tile amx_int8"
ARM_8 = "fp asimd evtstrm aes crc32"
GRAVITON_2 = f"{ARM_8} asimdrdm asimddp"
GRAVITON_3 = f"{GRAVITON_2} sve bf16 i8mm svei8mm"


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processor:
    """Lets this machine count as one with these flags."""

    def have(machine: str, flags: str) -> None:
        key = "flags" if "86" in machine else "Features"
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text("".join(f"processor\t: {number}\n{key}\t: {flags}\n\n" for number in range(2)))
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(packing, "cpu_features", lambda: _cpu.features(cpuinfo))

    return have


@pytest.mark.parametrize(
    ("machine", "flags", "floats", "integers"),
    [
        ("x86_64", NEHALEM, "x86-64", "x86-64"),
        ("x86_64", f"{NEHALEM} avx avx2", "x86-64", "x86-64"),  # without FMA the runtime takes no AVX2 kernel
        ("x86_64", HASWELL, "x86-64", "x86-64 avx2"),
        ("AMD64", ZEN_4, "x86-64", "x86-64 avx2"),
        ("x86_64", ALDER_LAKE, "x86-64", "x86-64 avx2"),
        ("x86_64", f"{ZEN_4} amx_tile amx_bf16", "x86-64", "x86-64 avx2"),
        ("x86_64", SAPPHIRE_RAPIDS, "x86-64", "x86-64 amx"),
        ("aarch64", ARM_8, "arm64", "arm64"),
        ("aarch64", GRAVITON_2, "arm64", "arm64 dotprod"),
        ("arm64", GRAVITON_3, "arm64", "arm64 i8mm"),
        ("aarch64", f"{GRAVITON_3} sme", "arm64 sme", "arm64 sme i8mm"),
        ("aarch64", f"{GRAVITON_3} sme sme2", "arm64 sme2", "arm64 sme2 i8mm"),
    ],
)
def test_the_level_is_what_the_kernels_of_the_runtime_ask_for(
    processor: Processor, machine: str, flags: str, floats: str, integers: str
) -> None:
    processor(machine, flags)
    assert packing.level("fp32") == floats
    assert packing.level("int8") == integers


def test_of_an_unknown_kind_of_processor_every_flag_counts(processor: Processor) -> None:
    processor("riscv64", "rv64gc v")
    assert packing.level("fp32") == packing.level("int8") == "riscv64 rv64gc v"


def test_a_graph_compiled_on_one_processor_is_found_on_others_of_its_level(
    encode: Encode, processor: Processor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor("x86_64", HASWELL)
    right = encode(tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(Graph, "__init__", None)  # nothing is compiled again
        for flags in (NEHALEM, ZEN_4, SAPPHIRE_RAPIDS):
            processor("x86_64", flags)
            assert np.array_equal(encode(tmp_path / "cache"), right)
    processor("aarch64", GRAVITON_3)
    assert np.array_equal(encode(tmp_path / "cache"), right)
    assert len(list((tmp_path / "cache" / "graphs").iterdir())) == 2


def test_a_graph_packed_for_another_order_gives_the_right_vectors(encode: Encode, tmp_path: Path) -> None:
    """Should the table lack an order, nothing is lost but memory: the runtime finds what it packs by its content."""
    encode(tmp_path / "cache")
    (graph,) = (tmp_path / "cache" / "graphs").glob("*/model.onnx")
    shutil.copytree(graph.parent, tmp_path / "foreign")
    foreign = tmp_path / "foreign" / "model.onnx"
    content = re.sub(
        rb"(?:MatMul|Gemm)\+\d+", lambda key: key[0][:-1] + b"%d" % (9 - key[0][-1] % 10), graph.read_bytes()
    )
    assert len(content) == graph.stat().st_size
    assert content != graph.read_bytes()
    foreign.write_bytes(content)
    ids = np.array([[101, 7592, 2088, 102]], dtype=np.int32)
    own, others = (
        OnnxEncoder(path, threads=1, precision="fp32", optimize=False).forward(ids, np.ones_like(ids))
        for path in (graph, foreign)
    )
    assert np.array_equal(own, others)
