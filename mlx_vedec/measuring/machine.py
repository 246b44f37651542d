"""What figures were measured on: the machine, MLX's device, the versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import mlx.core as mx

from ..version import __version__


def machine() -> dict[str, Any]:
    """System, chip, cores, memory in bytes and the present load; None for what is unknown."""
    return {
        "platform": platform.platform(),
        "processor": mx.device_info(mx.cpu).get("device_name") or platform.processor() or None,
        "cores": os.cpu_count(),
        "memory": _memory(),
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


def described(
    machine: Mapping[str, Any], device: Mapping[str, Any], versions: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What the three functions above found, each as its name and a line of text."""
    memory = machine.get("memory") and f"{machine['memory'] / 1e9:.1f} GB"
    load = None if machine.get("load") is None else f"load {machine['load']}"
    cores = machine.get("cores") and f"{machine['cores']} cores"
    blas = machine.get("blas") and f"BLAS {machine['blas']}"
    parts = machine.get("processor"), cores, memory, load, machine.get("platform"), blas
    yield "machine", ", ".join(str(part) for part in parts if part)
    yield "device", ", ".join(str(part) for part in device.values() if part)
    yield "versions", ", ".join(f"{name} {number}" for name, number in versions.items())


def _memory() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
