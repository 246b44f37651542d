"""What each layer costs at each number of bits, and the bits that cost least at a given size.

A layer's cost is measured with that layer alone quantized and all others as they are: how far the
model's distribution over the next token moves (KL divergence, nats per token), along the tokens
that it wrote itself. Costs of several layers are taken to add up.

Few tokens that the model is in doubt about make up most of that divergence, so it tells little of
other images. At temperature 2 it is spread over more of them: with the bundled model's first
edition, the costs of all layers at 3, 4 and 5 bits on 32 lines correlate with those at temperature
1 on 100 other lines (logarithms, mean of 20 draws from 200 lines) with 0.89; those at temperature 1
on the same 32 lines with 0.85. On all 200 lines the two rank alike (rank correlation 0.96).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import mlx.core as mx

from ..checkpoints.weights import parameters
from ..errors import OptionError
from ..images.image_processors import ImageSource
from ..layers.packed import is_quantized
from ..layers.quantization_config import POSSIBLE, Format, QuantizationConfig
from ..layers.quantization_recipes import quantizable_layers
from ..measuring.likelihoods import Forced, divergence, forced, logprobs, total, written
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor

CANDIDATES = (2, 3, 4, 5, 6, 8)
TEMPERATURE = 2.0
FLOAT_BITS = 16  # of what is not quantized, scales included, in most files
Change = tuple[str, int]  # a layer by our name, and its bits


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


def measure(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    images: Sequence[ImageSource],
    *,
    candidates: Sequence[int] = CANDIDATES,
    group_size: int = 64,
    max_images: int | None = 128,
    progress: Callable[[int, int], object] | None = None,
) -> Sensitivities:
    """What each layer of a model of floats costs at each of the candidates' bits.

    Every image is read once and then passed through the model for every layer and candidate, so of
    the images that are given only the first max_images are used. progress -- is called with the
    number of images done, and of all. While it runs the model's weights are exchanged: do not use
    it from another thread.
    """
    if is_quantized(model):
        raise OptionError("the model is quantized already; measure it before, or dequantize it")
    if not candidates:
        raise OptionError(
            f"there are no candidates; give bits among {sorted(POSSIBLE['affine'][0])}"
        )
    images = [*images][:max_images]
    if not images:
        raise OptionError("there are no images to measure with; give one or more")
    packed = _packed(model, candidates, group_size)
    texts = written(model, processor, images)
    sums, done = dict.fromkeys(packed, 0.0), 0
    for batch in forced(texts, processor):
        for key, cost in _costs(model, batch, packed):
            sums[key] += cost
        done += len(batch.tokens)
        if progress is not None:
            progress(done, len(texts))
    tokens = sum(len(text.tokens) for text in texts)
    found = unmeasured(model, candidates=candidates, group_size=group_size)
    paths = {model.renames.layer_on_disk(path): path for path in quantizable_layers(model)}
    layers = tuple(
        replace(layer, costs={b: sums[paths[layer.name], b] / tokens for b in layer.costs})
        for layer in found.layers
    )
    return replace(found, layers=layers, images=len(texts), tokens=tokens)


def unmeasured(
    model: VisionEncoderDecoderModel,
    *,
    candidates: Sequence[int] = CANDIDATES,
    group_size: int = 64,
) -> Sensitivities:
    """The layers, each with costs of 0: they tell which sizes are in reach before a measurement."""
    leaves = quantizable_layers(model)
    layers = tuple(
        LayerCosts(
            model.renames.layer_on_disk(path),
            leaves[path].weight.size,
            forms[0].sizes[1],  # which is the same for all bits
            {form.sizes[0]: 0.0 for form in forms},
        )
        for path, forms in _formats(model, candidates, group_size).items()
    )
    count = sum(x.size for x in parameters(model).values())
    return Sensitivities(layers, count - sum(layer.weights for layer in layers), group_size)


def _formats(
    model: VisionEncoderDecoderModel, candidates: Sequence[int], group_size: int
) -> dict[str, list[Format]]:
    """A format for each number of bits, for every layer by our name that some group divides."""
    wanted = [Format(bits, group_size) for bits in sorted(set(candidates))]
    found = {
        path: [form.fitted(leaf.weight.shape[-1]) for form in wanted]
        for path, leaf in quantizable_layers(model).items()
    }
    return {path: fitted for path, forms in found.items() if (fitted := [*filter(None, forms)])}


class Packed:
    """A layer's weight as a format leaves it, kept packed and made floats when it is wanted."""

    def __init__(self, leaf: Any, form: Format) -> None:
        self.leaf, self.own, self.dtype = leaf, form.to_dict(), leaf.weight.dtype
        self.parts = mx.quantize(leaf.weight, **self.own)
        mx.eval(self.parts)

    @property
    def weight(self) -> mx.array:
        """The weight (out, in) as floats of the layer's type."""
        return mx.dequantize(*self.parts, **self.own, dtype=self.dtype)


def _packed(
    model: VisionEncoderDecoderModel, candidates: Sequence[int], group_size: int
) -> dict[Change, Packed]:
    """Every layer's weight with each of the candidates' bits; together as large as in float32."""
    leaves = quantizable_layers(model)
    return {
        (path, form.sizes[0]): Packed(leaves[path], form)
        for path, forms in _formats(model, candidates, group_size).items()
        for form in forms
    }


def _costs(
    model: VisionEncoderDecoderModel, batch: Forced, packed: Mapping[Change, Packed]
) -> Iterator[tuple[Change, float]]:
    """The divergence of each single change, summed over a batch's tokens."""
    features = model.features(batch.pixels)
    teacher = [*logprobs(model, features, batch, TEMPERATURE)]
    mx.eval(features, teacher)
    for key, change in packed.items():
        kept = change.leaf.weight
        change.leaf.weight = change.weight
        try:
            is_ahead = key[0].startswith("encoder.")
            seen = model.features(batch.pixels) if is_ahead else features
            pairs = zip(teacher, logprobs(model, seen, batch, TEMPERATURE), strict=True)
            cost = total(divergence(a, b) for a, b in pairs)
        finally:
            change.leaf.weight = kept
        yield key, cost


def choose(found: Sensitivities, bits_per_weight: float) -> QuantizationConfig:
    """The bits of each layer that cost least where a model may have so many bits per weight.

    Those are of all parameters, what stays floats and the scales counted as half precision. Bits
    are taken away where the cost grows least for each bit of memory, until the size is reached.

    >>> head = LayerCosts("head", 6400, 64, {2: 0.5, 4: 0.1, 8: 0.0})
    >>> body = LayerCosts("body", 6400, 64, {2: 0.2, 4: 0.0, 8: 0.0})
    >>> choose(Sensitivities((head, body), 0, 64, 1, 1), 6.5).overrides
    {'head': {'bits': 8}}
    """
    bits = {layer.name: max(layer.costs) for layer in found.layers}
    least = found.bits_per_weight({x.name: min(x.costs) for x in found.layers})
    most = found.bits_per_weight(bits)
    if not least <= bits_per_weight <= most:
        raise OptionError(
            f"{bits_per_weight} bits per weight are out of reach: with the bits that were measured "
            f"{least:.2f} are the least and {most:.2f} the most that are possible"
        )
    moves = [move for layer in found.layers for move in layer.moves()]
    for move in sorted(moves, key=lambda move: (move.slope, move.name)):
        if found.bits_per_weight(bits) <= bits_per_weight:
            break
        bits[move.name] = move.bits
    base = min(bits.values())
    overrides = {name: {"bits": own} for name, own in sorted(bits.items()) if own != base}
    return QuantizationConfig(base, found.group_size, overrides=overrides, recipe="uniform")
