"""What to fine-tune and how, as options: which layers get adapters, and what is trained itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..errors import OptionError

if TYPE_CHECKING:
    from ..layers.lora import AdapterSettings

TYPES = ("lora", "dora", "full")
PARTS = ("encoder", "decoder")
KINDS = ("attention", "cross", "mlp", "all")
DEFAULT_SCALE = 2.0


def _option(default: Any, help: str, **said: Any) -> Any:
    """A field with what its flag needs to know."""
    return field(default=default, metadata={"help": help, **said})


@dataclass(frozen=True)
class LoraConfig:
    """What is trained; what each option does stands beside it, in its metadata's `help`.

    The product of an adapter is multiplied with `scale`, or with `alpha` / rank, under `rslora`
    with alpha / √rank (arXiv:2312.03732).

    targets -- presets, and globs. Presets of parts ("encoder", "decoder") and of kinds of layers
    ("attention", "cross", "mlp", "all") narrow each other: ("decoder", "attention") is the
    decoder's attention. Two of one sort add up, and a sort that is not named is everything.
    "attention" is all attention, "cross" only that which reads the image, with the projection
    before it; "all" is every linear layer but the head. A glob matches whole words of a layer's
    name, ours or that on disk: "q_proj", "layers.11", "decoder.*.fc?"; what globs match is added.

    >>> LoraConfig(rank=16, alpha=16).multiplier
    1.0
    """

    fine_tune_type: Literal["lora", "dora", "full"] = _option(
        "lora", "What is trained: adapters, or with full what the targets name.", choices=TYPES
    )
    rank: int = _option(8, "The rank of adapters.")
    scale: float | None = _option(
        None, "What the product of an adapter is multiplied with.", unset=str(DEFAULT_SCALE)
    )
    alpha: float | None = _option(None, "The scale times the rank, as PEFT has it, instead of it.")
    rslora: bool = _option(False, "Divide alpha by the rank's root, not by the rank.")
    dropout: float = _option(0.0, "The part of what adapters read that is dropped in training.")
    num_layers: int = _option(
        -1, "The last blocks of encoder and decoder that are trained; -1 is all."
    )
    targets: tuple[str, ...] = _option(
        ("all",),
        "The layers: encoder, decoder, attention, cross, mlp, all, or globs of their names.",
    )
    embeddings: bool = _option(
        False, "An adapter for the table of tokens too, which a tied head shares."
    )
    train_biases: bool = _option(False, "Train the biases of layers with adapters.")
    train_norms: bool = _option(
        False, "Train the norms of the encoder or decoder, and of blocks, with adapters."
    )
    train_modules: tuple[str, ...] = _option(
        (), "Globs of modules that are trained themselves, such as enc_to_dec_proj."
    )

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
        from ..layers.lora import AdapterSettings

        dora = self.fine_tune_type == "dora"
        return AdapterSettings(self.rank, self.multiplier, self.dropout, dora)

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
