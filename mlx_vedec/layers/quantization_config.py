"""How a model is to be quantized, as data: bits, group size and mode, of all layers or of some.

Each group of weights in a row shares a scale, and in affine mode a bias. On disk it is mlx-lm's
block of `config.json`, whose keys beside those three are layers by their names there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import ConfigError, shown

POSSIBLE = {  # mode: bits and group sizes, the default first
    "affine": ((4, 2, 3, 5, 6, 8), (64, 32, 128)),
    "mxfp4": ((4,), (32,)),
    "nvfp4": ((4,), (16,)),
    "mxfp8": ((8,), (32,)),
}
KEYS = ("quantization", "quantization_config")  # of config.json; the second is the Hub's
Override = Mapping[str, Any] | bool
PartBits = int | Literal["same"] | None


@dataclass(frozen=True)
class Format:
    """What one layer is quantized to; None stands for the mode's default.

    >>> Format(mode="mxfp8")
    Format(bits=8, group_size=32, mode='mxfp8')
    """

    bits: int | None = None
    group_size: int | None = None
    mode: str = "affine"

    def __post_init__(self) -> None:
        if not isinstance(self.mode, str) or self.mode not in POSSIBLE:
            raise ConfigError(f"mode is {self.mode!r}; possible are {_possible()}")
        bits, sizes = POSSIBLE[self.mode]
        object.__setattr__(self, "bits", bits[0] if self.bits is None else self.bits)
        object.__setattr__(
            self, "group_size", sizes[0] if self.group_size is None else self.group_size
        )
        if not (_in(self.bits, bits) and _in(self.group_size, sizes)):
            raise ConfigError(
                f"{self.mode} with bits {self.bits!r} and group size {self.group_size!r} is "
                f"impossible; possible are {_possible()}"
            )

    @property
    def sizes(self) -> tuple[int, int]:
        """Bits and group size, as numbers."""
        assert self.bits is not None and self.group_size is not None
        return self.bits, self.group_size

    def to_dict(self) -> dict[str, Any]:
        """Group size, bits and mode, as mlx-lm's block has them and MLX's layers take them."""
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}

    def changed(self, override: Mapping[str, Any]) -> Format:
        """This format with the values of an override; the others stay unless the mode changes."""
        same = override.get("mode", self.mode) == self.mode
        return _format({**(self.to_dict() if same else {}), **override})

    def fitted(self, dims: int) -> Format | None:
        """This format for rows of `dims` numbers, its group smaller where only that divides them.

        None where no group does.
        """
        bits, wanted = self.sizes
        sizes = [size for size in POSSIBLE[self.mode][1] if size <= wanted and not dims % size]
        return Format(bits, max(sizes), self.mode) if sizes else None


@dataclass(frozen=True)
class QuantizationConfig(Format):
    """What a model is quantized to.

    overrides -- a layer or module, by its name on disk, to False, to leave it alone, or to what is
    other there: {"bits": 8}. They come before the recipe. encoder_bits, decoder_bits -- of that
    part alone; None leaves it as floats. recipe -- which layers keep more bits: "uniform", "head"
    or "mixed".

    >>> QuantizationConfig(4, overrides={"encoder": {"bits": 8}}).group_size
    64
    """

    overrides: Mapping[str, Override] = field(default_factory=dict)
    encoder_bits: PartBits = "same"
    decoder_bits: PartBits = "same"
    recipe: str = "mixed"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.overrides, Mapping) or not all(
            isinstance(name, str) for name in self.overrides
        ):
            raise ConfigError(
                f"overrides are {shown(self.overrides)}; expected an object of names on disk"
            )
        object.__setattr__(self, "overrides", dict(self.overrides))
        for part in ("encoder", "decoder"):
            self.part_format(part)
        for name, override in self.overrides.items():
            if isinstance(override, Mapping):
                self.base.changed(override)
            elif not isinstance(override, bool):
                raise ConfigError(
                    f"quantization of {name} is {override!r}; expected an object or false"
                )

    @property
    def base(self) -> Format:
        """Bits, group size and mode of all layers, without overrides or parts."""
        return Format(self.bits, self.group_size, self.mode)

    def part_format(self, part: str) -> Format | None:
        """What the layers of "encoder" or "decoder" are quantized to before recipe and overrides.

        None where that part stays floats.
        """
        bits = self.encoder_bits if part == "encoder" else self.decoder_bits
        if bits is None:
            return None
        return (
            self.base
            if isinstance(bits, str) and bits == "same"
            else Format(bits, self.group_size, self.mode)
        )

    def override(self, name: str) -> Override | None:
        """The override of a layer, or of the innermost module around it that has one, or None."""
        parts = name.split(".")
        inner = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((self.overrides[key] for key in inner if key in self.overrides), None)

    @classmethod
    def parse(cls, given: int | QuantizationConfig) -> QuantizationConfig:
        """The settings of what `quantize=` may be: a number of bits, or a QuantizationConfig."""
        if isinstance(given, cls):
            return given
        if isinstance(given, int) and not isinstance(given, bool):
            return cls(given)
        raise ConfigError(f"quantize is {given!r}; expected bits or a QuantizationConfig")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> QuantizationConfig | None:
        """The settings of the block in a parsed `config.json`; None where it has none."""
        blocks = [config[key] for key in KEYS if isinstance(config.get(key), Mapping)]
        block = next((found for found in blocks if "quant_method" not in found), None)
        if block is None:
            return None
        own = {key: block[key] for key in ("bits", "group_size", "mode") if key in block}
        rest = {key: block[key] for key in block if key not in own}
        overrides = {key: x for key, x in rest.items() if isinstance(x, (Mapping, bool))}
        return cls(**own, overrides=overrides, recipe="uniform")


def _format(values: Mapping[str, Any]) -> Format:
    unknown = values.keys() - {"bits", "group_size", "mode"}
    if unknown:
        raise ConfigError(
            f"quantization has {', '.join(sorted(unknown))}; known are bits, group_size, mode"
        )
    return Format(**values)


def _in(value: object, numbers: tuple[int, ...]) -> bool:
    return type(value) is int and value in numbers


def _possible() -> str:
    return "; ".join(
        f"{mode} with bits {_list(bits)} and group size {_list(sizes)}"
        for mode, (bits, sizes) in POSSIBLE.items()
    )


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(numbers)))
