"""What figures were measured on: the machine, MLX's device, the versions; what chips can do."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..version import __version__

FAST = ("libopenblas", "libblis", "libmkl_rt")  # the first letters of the files of fast libraries
# The memory bandwidth of Apple's chips in GB/s, by Apple's specifications; of a chip that is sold
# with two, the larger. A decode step reads the decoder's weights and the keys and values once, and
# computes little with them: so fast it could be.
BANDWIDTHS = {
    "M1": 68.25,
    "M1 Pro": 200,
    "M1 Max": 400,
    "M1 Ultra": 800,
    "M2": 100,
    "M2 Pro": 200,
    "M2 Max": 400,
    "M2 Ultra": 800,
    "M3": 100,
    "M3 Pro": 150,
    "M3 Max": 400,
    "M3 Ultra": 819,
    "M4": 120,
    "M4 Pro": 273,
    "M4 Max": 546,
}


def machine() -> dict[str, Any]:
    """System, chip, cores, memory in bytes, BLAS and the load as it is now; None where unknown."""
    return {
        "platform": platform.platform(),
        "processor": mx.device_info(mx.cpu).get("device_name") or platform.processor() or None,
        "cores": os.cpu_count(),
        "memory": _memory(),
        "blas": blas(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def device() -> dict[str, Any]:
    """MLX's default device: its type and what MLX tells of it."""
    default = mx.default_device()
    return {"type": default.type.name, **mx.device_info(default)}


def versions() -> dict[str, str]:
    """The versions of Python, MLX and this package."""
    return {
        "python": platform.python_version(),
        "mlx": mx.__version__,  # pyright: ignore[reportAttributeAccessIssue]
        "mlx_vedec": __version__,
    }


def blas() -> str | None:
    """What computes matrix products on the CPU: a fast library's file, or that of MLX's wheel."""
    return (fast_blas() or "of MLX's wheel, slow") if sys.platform == "linux" else None


def fast_blas() -> str | None:
    """The file name of the fast BLAS that is loaded in this process; None where there is none."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text(encoding="utf-8", errors="replace").splitlines() if maps.exists() else []
    names = {line.rpartition("/")[2] for line in lines if "/" in line}
    fast = sorted(name for name in names if name.startswith(FAST))
    return fast[0] if fast else None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is measured, and where: what `machine`, `device` and `versions` found."""

    machine: Mapping[str, Any] = field(default_factory=machine)
    device: Mapping[str, Any] = field(default_factory=device)
    versions: Mapping[str, str] = field(default_factory=versions)

    def place(self) -> Iterator[tuple[str, str]]:
        """Where it was measured: names, each with a line of text."""
        found = self.machine
        memory = found.get("memory") and f"{found['memory'] / 1e9:.1f} GB"
        load = None if found.get("load") is None else f"load {found['load']}"
        cores = found.get("cores") and f"{found['cores']} cores"
        blas = found.get("blas") and f"BLAS {found['blas']}"
        parts = found.get("processor"), cores, memory, load, found.get("platform"), blas
        yield "machine", ", ".join(str(part) for part in parts if part)
        yield "device", ", ".join(str(part) for part in self.device.values() if part)
        yield "versions", ", ".join(f"{name} {number}" for name, number in self.versions.items())


def _memory() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak_bandwidth(chip: str) -> float | None:
    """Bytes per second that a chip's memory gives at most; None where it is not known.

    >>> peak_bandwidth("Apple M2 Pro"), peak_bandwidth("AMD EPYC")
    (200000000000.0, None)
    """
    found = BANDWIDTHS.get(chip.removeprefix("Apple ").strip())
    return None if found is None else found * 1e9
