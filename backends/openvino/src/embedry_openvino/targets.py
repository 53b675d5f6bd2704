"""The devices that OpenVINO finds, and their precisions."""

from dataclasses import dataclass
from functools import cache

from embedry import OptionError
from embedry_openvino import has_bf16
from embedry_openvino.runtime import openvino

_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
"""Precisions by our names -> by OpenVINO's. In int8 everything but the products is computed in fp32."""


@dataclass(frozen=True)
class Target:
    """A device and a number format."""

    device: str
    """By OpenVINO's name: "CPU", "GPU.1"."""
    precision: str
    """By ours."""

    @property
    def is_cpu(self) -> bool:
        """Whether it is the CPU, whose threads are shared with the program."""
        return self.device == "CPU"

    @property
    def number(self) -> str:
        """OpenVINO's name of the number format."""
        return _TYPES[self.precision]


@cache
def core() -> "openvino.Core":
    """The OpenVINO core with its devices, created once per process."""
    return openvino.Core()


def found(device: str, precision: str) -> Target:
    """The target for this device and precision.

    Raises:
        OptionError: OpenVINO does not find the device, or the device does not support the precision. OpenVINO would silently
            compute in another one.
    """
    kind, _, number = device.partition(":")
    name = kind.upper() + (f".{number}" if number else "")
    there = core().available_devices
    if name not in there and not any(each.startswith(f"{name}.") for each in there):
        raise OptionError(
            f"device={device!r} is not available: OpenVINO {openvino.__version__} finds {', '.join(there) or 'none'}"
        )
    target = Target(name, precision)
    able = _precisions(target)
    if precision not in able:
        raise OptionError(
            f"precision={precision!r} is not supported on this {kind}: it computes in {', '.join(able)}"
            + (
                "; bf16 needs AVX-512 BF16, AMX or ARM's BF16, as Linux lists them in /proc/cpuinfo"
                if target.is_cpu and precision == "bf16"
                else ""
            )
        )
    return target


def _precisions(target: Target) -> list[str]:
    """The precisions that a device supports natively; emulated ones are slower than fp32."""
    if target.is_cpu:
        return ["fp32", *(["bf16"] if has_bf16() else []), "int8"]
    stated = core().get_property(target.device, "OPTIMIZATION_CAPABILITIES")
    return ["fp32", *(each for each in ("bf16", "fp16") if each.upper() in stated)]
