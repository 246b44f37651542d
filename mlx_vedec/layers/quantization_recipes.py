"""Which layers of a model may be quantized, and which of them keep more bits than the others.

Linear layers and the table of tokens are quantized; norms, position tables, what biases attention
by position, and the convolution over patches never. A head that is tied is the table of tokens.

Measured with the bundled model at 4 bits in groups of 64, on the 200 lines of its validation set
(float16 scales; KL of the tokens' distributions to those of floats, whose error rate is 0.62 %):

    kept at 6 bits     bits per weight   KL (10⁻³)   lines unchanged   error rate
    nothing                       5.10        2.50            96.0 %       0.65 %
    head                          5.14        2.18            96.0 %       0.75 %
    cross                         5.33        2.28            95.5 %       0.75 %
    ends                          6.30        1.15            98.5 %       0.65 %
    head, cross, ends             6.33        0.81            98.5 %       0.58 %
    the same, at 8                7.57        0.60            98.5 %       0.58 %

So the ends matter, and 6 bits do what 8 do. Both layers of that decoder are ends; in a model of
trocr-base's shape "mixed" has 5.37 bits per weight, "uniform" 4.57.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import mlx.nn as nn

from ..errors import OptionError, check_type
from .quantization_config import Format

TABLE = "embed_tokens"
NEVER = "attn_bias"  # Swin V2's network over offsets
HEAD = "lm_head"
HEADS = (TABLE, HEAD, "head_proj")
CROSS = ("cross_attn", "enc_to_dec_proj")
Block = tuple[str, int, int]
BLOCK = re.compile(r"(.*?)(?:stages\.(\d+)\.)?layers\.(\d+)\.")


@dataclass(frozen=True)
class Recipe:
    """Which layers keep more bits, of "head", "cross" and "ends", and how many, in affine mode.

    Those are the table of tokens and the head; cross-attention and what projects the features it
    reads; the first and the last layer of the encoder and of the decoder.
    """

    kept: tuple[str, ...] = ()
    bits: int = 8

    def format(self, path: str, base: Format, ends: set[str]) -> Format:
        """What a layer is quantized to, where those that are not kept are quantized to `base`.

        ends -- as `ends` has them.
        """
        names = path.split(".")
        is_kept = {
            "head": names[-1] in HEADS,
            "cross": any(name in CROSS for name in names),
            "ends": path in ends,
        }
        if base.sizes[0] >= self.bits or not any(is_kept[part] for part in self.kept):
            return base
        return replace(affine(base), bits=self.bits)


RECIPES = {
    "uniform": Recipe(),
    "head": Recipe(("head",)),
    "mixed": Recipe(("head", "cross", "ends"), 6),
}


def quantizable_layers(model: nn.Module) -> dict[str, Any]:
    """The layers of a model that are quantized or may be, by path and in the order of paths."""
    check_type("model", model, nn.Module, "a model, as load gives it")
    found = {path: layer for path, layer in model.named_modules() if _may_be(path, layer)}
    return dict(sorted(found.items()))


def _may_be(path: str, layer: nn.Module) -> bool:
    names = path.split(".")
    if isinstance(layer, nn.Embedding | nn.QuantizedEmbedding):
        return names[-1] == TABLE
    return isinstance(layer, nn.Linear | nn.QuantizedLinear) and NEVER not in names


def recipe_named(name: str) -> Recipe:
    """The recipe of this name."""
    if name not in RECIPES:
        raise OptionError(f"recipe {name!r} is unknown; known are {', '.join(RECIPES)}")
    return RECIPES[name]


def affine(base: Format) -> Format:
    """A format in affine mode, with as many bits; its group size stays if that is its mode."""
    return base if base.mode == "affine" else Format(base.bits)


def ends(paths: Iterable[str]) -> set[str]:
    """The paths of layers in the first or the last block of the encoder or of the decoder."""
    blocks = {path: block for path in paths if (block := block_of(path))}
    stacks: dict[str, list[Block]] = {}
    for block in blocks.values():
        stacks.setdefault(block[0], []).append(block)
    outer = {block for stack in stacks.values() for block in (min(stack), max(stack))}
    return {path for path, block in blocks.items() if block in outer}


def block_of(path: str) -> Block | None:
    """The block that a layer or parameter is in, as (what is around it, stage, number)."""
    match = BLOCK.match(path)
    return match and (match[1], int(match[2] or 0), int(match[3]))


def part_of(path: str) -> str:
    """The part of the model, "encoder" or "decoder", that a layer or parameter belongs to."""
    return "encoder" if path.startswith("encoder.") else "decoder"
