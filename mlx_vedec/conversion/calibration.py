"""A quantized model brought nearer to the floats that it came from, by what both make of images.

No labels are needed. The model of floats, the teacher, writes a text for each image. The weights of
the quantized model are then rounded anew such that the outputs of its layers change least on those
texts (`rounding`). Some images are held out, to judge the model: along their texts both models say
how likely each token of the vocabulary is, and measured is how far these distributions are apart.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from ..checkpoints.quantizing import dequantize
from ..errors import OptionError, check_function, check_type, check_whole
from ..images.image_processors import ImageSource
from ..layers.packed import Quantized
from ..layers.quantization_recipes import quantizable_layers
from ..measuring.likelihoods import Written, divergence, forced, logprobs, total, written
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from .rounding import round_weights


@dataclass(frozen=True)
class Calibration:
    """What calibration did to a model.

    before, rounded  -- mean KL divergence from the teacher on the images held out, in nats per
                        token, before the weights were rounded anew and with them rounded anew
    after            -- the same of the model as it is now: the smaller of the two
    images, held_out -- how many images it was calibrated on, and how many others judged it
    """

    before: float
    rounded: float
    after: float
    images: int
    held_out: int


def calibrate(
    model: VisionEncoderDecoderModel,
    teacher: VisionEncoderDecoderModel,
    processor: Processor,
    images: Sequence[ImageSource],
    *,
    prompt: str | None = None,
    batch_size: int = 16,
    held_out: float = 0.125,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Calibration:
    """Bring a quantized model nearer to its teacher, in place.

    teacher -- the model before it was quantized. images -- such as the model is to read, a hundred
    or more. prompt -- the decoder's prompt, the same for all images. held_out -- the part of the
    images that judges the model and that it is not calibrated on. seed -- of the draw of those.
    progress -- is called after each layer with the number of layers done, and of all.

    Only layers in affine mode are rounded anew; those in mxfp4, nvfp4 and mxfp8 stay as they are.
    Where the model does not come nearer on the images held out, or anything fails, it is as it was.
    Meanwhile the layers of both models are exchanged: do not use them from another thread.
    """
    check_whole("batch_size", batch_size, 1)
    check_whole("seed", seed, 0)
    check_function("progress", progress)
    check_type("held_out", held_out, (int, float), "a part between 0 and 1")
    if not 0 < held_out < 1:
        raise OptionError(f"held_out is {held_out}; expected a part between 0 and 1")
    _check(model, teacher, images)
    texts = written(
        teacher,
        processor,
        images,
        prompt=prompt,
        batch_size=batch_size,
        num_beams=1,
        num_return_sequences=1,
    )
    random.Random(seed).shuffle(texts)
    apart = min(max(1, round(held_out * len(texts))), len(texts) - 1)
    held, texts = texts[:apart], texts[apart:]
    before = _divergence(model, teacher, processor, held, batch_size)
    if not math.isfinite(before):
        raise OptionError(f"the model's divergence from its teacher is {before}; expected a number")
    own, rounded = tree_flatten(model.parameters()), math.inf
    try:
        round_weights(model, teacher, processor, texts, batch_size=batch_size, progress=progress)
        rounded = _divergence(model, teacher, processor, held, batch_size)
    finally:
        if not rounded < before:
            model.update(tree_unflatten(own))  # pyright: ignore[reportArgumentType]
    return Calibration(before, rounded, min(before, rounded), len(texts), apart)


def _divergence(
    model: VisionEncoderDecoderModel,
    teacher: VisionEncoderDecoderModel,
    processor: Processor,
    texts: Sequence[Written],
    batch_size: int,
) -> float:
    """The mean KL divergence of the model from its teacher along texts, in nats per token."""
    found = 0.0
    with _floats(model):
        for batch in forced(texts, processor, batch_size):
            exact, own = (
                logprobs(one, one.features(batch.pixels), batch) for one in (teacher, model)
            )
            found += total(divergence(a, b) for a, b in zip(exact, own, strict=True))
    return found / sum(len(text.tokens) for text in texts)


@contextmanager
def _floats(model: VisionEncoderDecoderModel) -> Iterator[None]:
    """Within it the quantized model computes the same in float32, which is fast on a CPU."""
    own, training = tree_flatten(model.parameters()), model.training
    layers = {path: x for path, x in quantizable_layers(model).items() if isinstance(x, Quantized)}
    try:
        model.set_dtype(mx.float32)
        dequantize(model)
        model.eval()
        yield
    finally:
        model.update_modules(tree_unflatten(list(layers.items())))
        model.update(tree_unflatten(own))  # pyright: ignore[reportArgumentType]
        model.train(training)


def _check(
    model: VisionEncoderDecoderModel,
    teacher: VisionEncoderDecoderModel,
    images: Sequence[ImageSource],
) -> None:
    modes = {x.mode for x in quantizable_layers(model).values() if isinstance(x, Quantized)}
    if not modes:
        raise OptionError("the model is not quantized; quantize it, then calibrate it")
    if "affine" not in modes:
        raise OptionError(
            f"all quantized layers are in mode {', '.join(sorted(modes))}, which cannot be "
            "calibrated; expected affine"
        )
    if model is teacher:
        raise OptionError("the model is its own teacher; load it a second time, not quantized")
    for what, own, other in (
        ("tokens", model.config.decoder.vocab_size, teacher.config.decoder.vocab_size),
        ("features", model.config.encoder.feature_dims, teacher.config.encoder.feature_dims),
    ):
        if own != other:
            raise OptionError(
                f"the model has {own} {what}, and the teacher {other}; expected as the teacher "
                "the model that was quantized"
            )
    if len(images) < 2:
        raise OptionError(
            f"the images are {len(images)}; expected a hundred or more, and at least 2, as the "
            "model is judged by some that it is not calibrated on"
        )
