"""What to fine-tune and how, as options: which layers get adapters, and what is trained itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..errors import OptionError
from ..layers.lora import AdapterSettings

TYPES = ("lora", "dora", "full")
PARTS = ("encoder", "decoder")
KINDS = ("attention", "cross", "mlp", "all")
DEFAULT_SCALE = 2.0


@dataclass(frozen=True)
class LoraConfig:
    """What is trained of a model.

    fine_tune_type -- "lora", "dora", or "full": what the targets name is trained itself. rank -- of
    the change. scale -- what its product is multiplied with (2.0), or alpha, which is scale · rank,
    with rslora scale · √rank (arXiv:2312.03732). dropout -- of what an adapter reads, in training.
    num_layers -- the last blocks of the encoder and of the decoder; -1 is all, and what is in no
    block.

    targets -- presets, and globs. Presets of parts ("encoder", "decoder") and of kinds of layers
    ("attention", "cross", "mlp", "all") narrow each other: ("decoder", "attention") is the
    decoder's attention. Two of one sort add up, and a sort that is not named is everything.
    "attention" is all attention, "cross" only that which reads the image, with the projection
    before it; "all" is every linear layer but the head. A glob matches whole words of a layer's
    name, ours or that on disk: "q_proj", "layers.11", "decoder.*.fc?"; what globs match is added.

    embeddings -- an adapter for the table of tokens too, which a tied head shares. train_biases --
    those of layers with adapters. train_norms -- those of the parts and blocks with adapters.
    train_modules -- globs of modules that are trained themselves, such as "enc_to_dec_proj".

    >>> LoraConfig(rank=16, alpha=16).multiplier
    1.0
    """

    fine_tune_type: Literal["lora", "dora", "full"] = "lora"
    rank: int = 8
    scale: float | None = None
    alpha: float | None = None
    rslora: bool = False
    dropout: float = 0.0
    num_layers: int = -1
    targets: tuple[str, ...] = ("all",)
    embeddings: bool = False
    train_biases: bool = False
    train_norms: bool = False
    train_modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("targets", "train_modules"):
            value = getattr(self, name)
            value = (value,) if isinstance(value, str) else tuple(value)
            _check(name, value, all(isinstance(item, str) for item in value), "names")
            object.__setattr__(self, name, value)
        if self.fine_tune_type not in TYPES:
            raise OptionError(
                f"fine_tune_type is {self.fine_tune_type!r}; expected one of {', '.join(TYPES)}"
            )
        _check("rank", self.rank, type(self.rank) is int and self.rank > 0, "1 or more")
        sane = _is_number(self.dropout) and 0 <= self.dropout < 1
        _check("dropout", self.dropout, sane, "0 or more and less than 1")
        whole = type(self.num_layers) is int and (self.num_layers == -1 or self.num_layers > 0)
        _check("num_layers", self.num_layers, whole, "1 or more, or -1 for all")
        for name in ("scale", "alpha"):
            value = getattr(self, name)
            usable = value is None or (_is_number(value) and 0 < value < math.inf)
            _check(name, value, usable, "a number above 0")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.scale is not None and self.alpha is not None:
            raise OptionError("scale and alpha are both given; expected one: alpha / rank is scale")
        if self.rslora and self.alpha is None:
            raise OptionError("rslora is given without alpha, which it divides by the rank's root")
        if not self.targets and not (self.embeddings or self.train_modules):
            raise OptionError("there are no targets, and nothing else to train; name some")

    @property
    def multiplier(self) -> float:
        """What the product of an adapter is multiplied with."""
        if self.alpha is None:
            return DEFAULT_SCALE if self.scale is None else self.scale
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @property
    def settings(self) -> AdapterSettings:
        """The adapter that each layer gets."""
        return AdapterSettings(
            self.rank, self.multiplier, self.dropout, self.fine_tune_type == "dora"
        )

    @property
    def presets(self) -> tuple[set[str], set[str]]:
        """The parts and the kinds of layers that presets choose; none where there is no preset."""
        parts, kinds = {*self.targets} & {*PARTS}, {*self.targets} & {*KINDS}
        if not parts and not kinds:
            return set(), set()
        return parts or {*PARTS}, kinds or {"all"}

    @property
    def globs(self) -> tuple[str, ...]:
        """The targets that are no presets."""
        return tuple(name for name in self.targets if name not in (*PARTS, *KINDS))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise OptionError(f"{name} is {value!r}; expected {expected}")
