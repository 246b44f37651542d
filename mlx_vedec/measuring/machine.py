"""What figures were measured on: the machine, MLX's device, the versions."""

from __future__ import annotations

import os
import platform
from typing import Any

import mlx.core as mx

from ..version import __version__


def machine() -> dict[str, Any]:
    """System, chip, cores, memory in bytes, and the load as it is now; None where nobody says."""
    return {
        "platform": platform.platform(),
        "processor": mx.device_info(mx.cpu).get("device_name") or platform.processor() or None,
        "cores": os.cpu_count(),
        "memory": _memory(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def device() -> dict[str, Any]:
    """MLX's default device and what it says of it."""
    default = mx.default_device()
    return {"type": default.type.name, **mx.device_info(default)}


def versions() -> dict[str, str]:
    """Of Python, MLX and this package."""
    return {
        "python": platform.python_version(),
        "mlx": mx.__version__,  # pyright: ignore[reportAttributeAccessIssue]
        "mlx_vedec": __version__,
    }


def _memory() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
