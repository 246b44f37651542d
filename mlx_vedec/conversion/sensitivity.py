"""What each layer costs at each number of bits, and the bits that cost least at a given size.

A layer's cost is measured with that layer alone quantized and all others as they are: how far the
model's distribution over the next token moves (KL divergence, nats per token), along the tokens
that it wrote itself. Costs of several layers are taken to add up.

Few tokens that the model is in doubt about make up most of that divergence, so it tells little of
other images. At temperature 2 it is spread over more of them: with the bundled model, the costs of
all layers at 3, 4 and 5 bits on 32 lines correlate with those at temperature 1 on 100 other lines
(logarithms, mean of 20 draws from 200 lines) with 0.89; those at temperature 1 on the same 32 lines
with 0.85. On all 200 lines the two rank alike (rank correlation 0.96).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx

from ..checkpoints.quantizing import is_quantized, layers_of, names_of
from ..checkpoints.weights import parameters
from ..errors import OptionError
from ..images.image_processors import ImageSource as Source
from ..layers.quantization import POSSIBLE, Format, QuantizationConfig
from ..measuring.teacher import Forced, divergence, forced, logprobs, total, written
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from .layer_costs import FLOAT_BITS, LayerCosts, Sensitivities

CANDIDATES = (2, 3, 4, 5, 6, 8)
TEMPERATURE = 2.0
Change = tuple[str, int]  # a layer by our name, and its bits


def measure(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    images: Sequence[Source],
    *,
    candidates: Sequence[int] = CANDIDATES,
    group_size: int = 64,
    max_images: int | None = 128,
    prompt: str | None = None,
    batch_size: int = 16,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> Sensitivities:
    """What each layer of a model of floats costs at each of the candidates' bits.

    Every image is read once and then passed through the model for every layer and candidate, so a
    larger model is measured on fewer images: of those given the first max_images are. While it runs
    the model's weights are exchanged: do not use it from another thread.
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
    packed = _packed(model, sorted(set(candidates)), group_size)
    given = {"prompt": prompt, "batch_size": batch_size, **options}
    texts = written(model, processor, images, **given)
    sums, done = dict.fromkeys(packed, 0.0), 0
    for batch in forced(texts, processor, batch_size):
        for key, cost in _costs(model, batch, packed):
            sums[key] += cost
        done += len(batch.tokens)
        if progress is not None:
            progress(done, len(texts))
    tokens = sum(len(text.tokens) for text in texts)
    found = unmeasured(model, candidates=sorted(set(candidates)), group_size=group_size)
    paths = {name: path for path, name in names_of(model).items()}
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
    """The same without costs, for which nothing is computed: it says which sizes are in reach."""
    names, layers = names_of(model), []
    for path, leaf in layers_of(model).items():
        forms = {
            bits: Format(bits, group_size).fitted(leaf.weight.shape[-1]) for bits in candidates
        }
        fitted = {bits: form for bits, form in forms.items() if form is not None}
        if fitted:
            size = fitted[min(fitted)].sizes[1]
            layers.append(
                LayerCosts(names[path], leaf.weight.size, size, dict.fromkeys(fitted, 0.0))
            )
    count = sum(x.size for x in parameters(model).values())
    others = count - sum(layer.weights for layer in layers)
    return Sensitivities(tuple(layers), others, group_size, 0, 0)


class Packed:
    """A layer's weight as a format leaves it, kept packed and made floats when it is wanted."""

    def __init__(self, leaf: Any, form: Format) -> None:
        self.leaf, self.own, self.dtype = leaf, form.to_dict(), leaf.weight.dtype
        self.parts = mx.quantize(leaf.weight, **self.own)
        mx.eval(self.parts)

    @property
    def weight(self) -> mx.array:
        """(out, in), of the layer's type."""
        return mx.dequantize(*self.parts, **self.own, dtype=self.dtype)


def _packed(
    model: VisionEncoderDecoderModel, candidates: Sequence[int], group_size: int
) -> dict[Change, Packed]:
    """Every layer that some group divides, with all candidates; together as large as float32."""
    packed = {}
    for path, leaf in layers_of(model).items():
        for bits in candidates:
            form = Format(bits, group_size).fitted(leaf.weight.shape[-1])
            if form is not None:
                packed[path, bits] = Packed(leaf, form)
    return packed


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


def choose(
    found: Sensitivities, bits_per_weight: float, *, float_bits: int = FLOAT_BITS
) -> QuantizationConfig:
    """The bits of each layer that cost least where a model may have so many bits per weight.

    That is all parameters, those that stay floats and the scales counted with `float_bits`. Bits
    are taken away where the cost grows least for each bit of memory, until the size is reached.

    >>> head = LayerCosts("head", 6400, 64, {2: 0.5, 4: 0.1, 8: 0.0})
    >>> body = LayerCosts("body", 6400, 64, {2: 0.2, 4: 0.0, 8: 0.0})
    >>> choose(Sensitivities((head, body), 0, 64, 1, 1), 6.5).overrides
    {'head': {'bits': 8}}
    """
    bits = {layer.name: max(layer.costs) for layer in found.layers}
    least = found.bits_per_weight(
        {x.name: min(x.costs) for x in found.layers}, float_bits=float_bits
    )
    most = found.bits_per_weight(bits, float_bits=float_bits)
    if not least <= bits_per_weight <= most:
        raise OptionError(
            f"{bits_per_weight} bits per weight are out of reach: with the bits that were measured "
            f"{least:.2f} are the least and {most:.2f} the most that are possible"
        )
    moves = [move for layer in found.layers for move in layer.moves()]
    for move in sorted(moves, key=lambda move: (move.slope, move.name)):
        if found.bits_per_weight(bits, float_bits=float_bits) <= bits_per_weight:
            break
        bits[move.name] = move.bits
    base = min(bits.values())
    overrides = {name: {"bits": own} for name, own in sorted(bits.items()) if own != base}
    return QuantizationConfig(base, found.group_size, overrides=overrides, recipe="uniform")
