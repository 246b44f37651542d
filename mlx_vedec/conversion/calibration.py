"""Quantized models brought nearer to the floats that they came from, by what both make of images.

No labels are needed: along the tokens that the model of floats, the teacher, writes for each image,
both say how likely each token of the vocabulary is. First the weights are rounded anew, such that
the outputs of layers change least (`rounding`); then scales and offsets may be tuned such that the
divergence of the two models gets small, while the packed integers stay. Layers in mxfp4, nvfp4 and
mxfp8 stay as they are: their scales have too few values to be moved in small steps.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from mlx.utils import tree_flatten, tree_unflatten

from ..checkpoints.quantizing import Quantized, layers_of
from ..errors import OptionError
from ..images.image_processors import ImageSource as Source
from ..measuring.teacher import written
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from .calibration_data import example
from .rounding import affine_layers, round_weights
from .tuning import CalibrationConfig, History, Tuning


@dataclass(frozen=True)
class Calibration:
    """What calibration did to a model.

    before, rounded, after -- mean KL divergence from the teacher on the images held out, nats per
                        token: at first, with the weights rounded anew, and at the end
    iteration        -- whose scales were kept; 0 where none were better than those before
    images, held_out -- how many it was calibrated on, and judged by
    history          -- (iteration, divergence) of each look at those held out while it was tuned
    """

    before: float
    rounded: float | None
    after: float
    iteration: int
    images: int
    held_out: int
    history: History


def calibrate(
    model: VisionEncoderDecoderModel,
    teacher: VisionEncoderDecoderModel,
    processor: Processor,
    images: Sequence[Source],
    *,
    prompt: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> Calibration:
    """Bring a quantized model nearer to its teacher, in place.

    teacher -- the model before it was quantized. images -- such as the model is to read, a hundred
    or more. prompt -- for all of them. progress -- is called with the steps that are done, and of
    how many: a step is a layer, or an iteration. options -- those of `CalibrationConfig`.

    What is best on the images held out is kept, in the types that the model has; where nothing is
    better, or numbers run out of range, the model is as it was. It is computed in float32, and
    meanwhile the layers of both models are exchanged: do not use them from another thread.
    """
    config = CalibrationConfig(**options)
    _check(model, teacher, images)
    order = random.Random(config.seed)
    greedy: dict[str, Any] = {"num_beams": 1, "num_return_sequences": 1}
    greedy["batch_size"] = config.batch_size
    texts = written(teacher, processor, images, prompt=prompt, **greedy)
    order.shuffle(texts)
    apart = min(max(1, round(config.held_out * len(texts))), len(texts) - 1)
    held = [example(teacher, processor, text) for text in texts[:apart]]
    texts = texts[apart:]
    step = _counter(progress, config.rounding * len(affine_layers(model)) + config.iters)
    work = Tuning(model, teacher.decoder.head, processor, config, held)
    before = after = work.divergence()
    if not math.isfinite(before):
        raise OptionError(f"the model's divergence from its teacher is {before}; expected a number")
    rounded, iteration, history = None, 0, ()
    if config.rounding:
        own = tree_flatten(model.parameters())
        round_weights(model, teacher, processor, texts, batch_size=config.batch_size, step=step)
        rounded = work.divergence()
        if not rounded < before:
            model.update(tree_unflatten(own))  # pyright: ignore[reportArgumentType]
        after = min(before, rounded)
    if config.iters:
        tuned = [example(teacher, processor, text) for text in texts]
        history = work.run(tuned, order, step)
        after, iteration = min((found, number) for number, found in history)
    return Calibration(before, rounded, after, iteration, len(texts), apart, history)


def _check(
    model: VisionEncoderDecoderModel, teacher: VisionEncoderDecoderModel, images: Sequence[Source]
) -> None:
    modes = {x.mode for x in layers_of(model).values() if isinstance(x, Quantized)}
    if not modes:
        raise OptionError("the model is not quantized; quantize it, then calibrate it")
    if "affine" not in modes:
        raise OptionError(
            f"all quantized layers are in mode {', '.join(sorted(modes))}, which cannot be "
            "calibrated; expected affine"
        )
    if model is teacher:
        raise OptionError("the model is its own teacher; load it a second time, not quantized")
    for what, sizes in _sizes(model, teacher).items():
        if sizes[0] != sizes[1]:
            raise OptionError(
                f"the model has {sizes[0]} {what}, and the teacher {sizes[1]}; expected as the "
                "teacher the model that was quantized"
            )
    if len(images) < 2:
        raise OptionError(
            f"the images are {len(images)}; expected a hundred or more, and at least 2, as the "
            "model is judged by some that it is not calibrated on"
        )


def _sizes(*models: VisionEncoderDecoderModel) -> dict[str, list[int]]:
    return {
        "tokens": [model.config.decoder.vocab_size for model in models],
        "features": [model.config.encoder.feature_dims for model in models],
    }


def _counter(progress: Callable[[int, int], object] | None, total: int) -> Callable[[], object]:
    done = count(1)
    return (lambda: progress(next(done), total)) if progress else (lambda: None)
