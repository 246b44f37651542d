"""What layers of a model cost at each number of bits, as data: `sensitivity` measures it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

FLOAT_BITS = 16  # of what is not quantized, scales included, in most files


class Move(NamedTuple):
    """Fewer bits for a layer: what the model's cost grows by for each bit of memory saved."""

    slope: float
    name: str
    bits: int
    saved: int  # bits of memory


@dataclass(frozen=True)
class LayerCosts:
    """A layer: its name on disk, its number of weights, and what it costs at each number of bits.

    costs -- how far the model's distribution over the next token moves, in nats per token.
    """

    name: str
    weights: int
    group_size: int
    costs: Mapping[int, float]

    def size(self, bits: int) -> int:
        """Bits of memory of the whole layer: its weights, a scale and an offset for each group."""
        return self.weights * bits + 2 * FLOAT_BITS * self.weights // self.group_size

    @property
    def rising(self) -> dict[int, float]:
        """The costs, the most bits first, each at least what more bits cost.

        Below what can be told from noise, more bits may have been measured to cost more.
        """
        found: dict[int, float] = {}
        for bits in sorted(self.costs, reverse=True):
            found[bits] = max([self.costs[bits], *found.values()])
        return found

    def moves(self) -> Iterator[Move]:
        """The steps from the most bits to the fewest; their slopes rise.

        Numbers of bits that lie above the lower hull of cost over size are passed over.
        """
        costs = self.rising
        bits, slope = max(costs), 0.0
        while bits > min(costs):
            move = min(self._move(bits, fewer, costs) for fewer in costs if fewer < bits)
            bits, slope = move.bits, max(slope, move.slope)  # rounding may have lowered it
            yield move._replace(slope=slope)

    def _move(self, bits: int, fewer: int, costs: Mapping[int, float]) -> Move:
        saved = self.size(bits) - self.size(fewer)
        return Move((costs[fewer] - costs[bits]) / saved, self.name, fewer, saved)


@dataclass(frozen=True)
class Sensitivities:
    """What was measured: the costs of `layers`, in a model that has `others` more weights.

    images, tokens -- how many the costs are means of
    """

    layers: tuple[LayerCosts, ...]
    others: int
    group_size: int
    images: int = 0
    tokens: int = 0

    def bits_per_weight(self, bits: Mapping[str, int]) -> float:
        """The model's, with these bits for each layer by name, and all else in half precision."""
        size = sum(layer.size(bits[layer.name]) for layer in self.layers)
        weights = sum(layer.weights for layer in self.layers) + self.others
        return (size + self.others * FLOAT_BITS) / weights
