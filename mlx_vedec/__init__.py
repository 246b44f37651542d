"""Run and fine-tune Hugging Face VisionEncoderDecoder checkpoints natively on Apple MLX.

The public names stand in `__init__.pyi`, each with the module it comes from; a module is imported
when one of its names is first asked for, so that `import mlx_vedec` costs nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import Any


def _homes() -> dict[str, str]:
    """The module of each public name, as the lines of the stub import them."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    homes = {}
    for statement in stub.split("\nfrom ")[1:]:
        module, names = statement.split(" import ")
        entries = (entry.split() for entry in names.strip("()\n").split(","))
        homes.update({entry[0]: module for entry in entries if entry})
    return homes


_HOMES = _homes()
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
