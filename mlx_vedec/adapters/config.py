"""What to fine-tune and how, as options: which layers get adapters, and what is trained itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..checkpoints.config import check_options, option
from ..errors import OptionError

if TYPE_CHECKING:
    from ..layers.lora import AdapterSettings

TYPES = ("lora", "dora", "full")
PARTS = ("encoder", "decoder")
KINDS = ("attention", "cross", "mlp", "all")
FREEZABLE = (*PARTS, "attention", "cross", "mlp", "embeddings", "norms", "head")
DEFAULT_SCALE = 2.0


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

    freeze -- names of `FREEZABLE`, and globs: each of them stays as it is, whatever the targets
    choose. "embeddings" are the tables of tokens and positions, the patches and special tokens.

    >>> LoraConfig(rank=16, alpha=16).multiplier
    1.0
    """

    fine_tune_type: Literal["lora", "dora", "full"] = option(
        "lora", "What is trained: adapters, or with full what the targets name.", choices=TYPES
    )
    rank: int = option(8, "The rank of adapters.", least=1)
    scale: float | None = option(
        None,
        "What the product of an adapter is multiplied with.",
        above=0,
        unset=str(DEFAULT_SCALE),
    )
    alpha: float | None = option(
        None, "The scale times the rank, as PEFT has it, instead of it.", above=0
    )
    rslora: bool = option(False, "Divide alpha by the rank's root, not by the rank.")
    dropout: float = option(
        0.0, "The part of what adapters read that is dropped in training.", below=1
    )
    num_layers: int = option(
        -1, "The last blocks of encoder and decoder that are trained; -1 is all.", least=1, also=-1
    )
    targets: tuple[str, ...] = option(
        ("all",),
        "The layers: encoder, decoder, attention, cross, mlp, all, or globs of their names.",
        expected="names",
    )
    embeddings: bool = option(
        False, "An adapter for the table of tokens too, which a tied head shares."
    )
    train_biases: bool = option(False, "Train the biases of layers with adapters.")
    train_norms: bool = option(
        False, "Train the norms of the encoder or decoder, and of blocks, with adapters."
    )
    train_modules: tuple[str, ...] = option(
        (),
        "Globs of modules that are trained themselves, such as enc_to_dec_proj.",
        expected="names",
    )
    freeze: tuple[str, ...] = option(
        (),
        "What stays as it is, of all that is chosen: encoder, decoder, attention, cross, mlp, "
        "embeddings, norms, head, or globs of names.",
        expected="names",
    )

    def __post_init__(self) -> None:
        for name in ("targets", "train_modules", "freeze"):
            value = getattr(self, name)
            several = isinstance(value, Iterable) and not isinstance(value, str)
            value = tuple(value) if several else (value,)
            object.__setattr__(self, name, value)
        check_options(self, OptionError)
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
