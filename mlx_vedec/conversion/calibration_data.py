"""Images with what the teacher makes of them, once, in batches to tune another model on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import mlx.core as mx

from ..images.image_processors import ImageSource as Source
from ..measuring.teacher import Written
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor


class Example(NamedTuple):
    """An image and its text by the teacher.

    fed -- what the decoder is given, its last n ids before the n that the teacher wrote. states
    (n, D) -- what the teacher's head makes its logits of there, which are many times as large.
    features (S, D) -- of its encoder. shape -- of the image's pixels
    """

    image: Source
    fed: tuple[int, ...]
    states: mx.array
    features: mx.array
    shape: tuple[int, ...]


class Batch(NamedTuple):
    """Examples of one size: pixels (B, H, W, C), fed (B, L), states (B, N, D), features (B, S, D).

    counted (B, N) -- 1 where a row has a token, 0 in the padding on the right
    """

    pixels: mx.array
    fed: mx.array
    states: mx.array
    features: mx.array
    counted: mx.array


def example(teacher: VisionEncoderDecoderModel, processor: Processor, text: Written) -> Example:
    """What the teacher had in mind when it wrote a text."""
    pixels = processor.pixels([text.image])
    fed = text.prompt + text.tokens[:-1]
    features = teacher.features(pixels)
    states = teacher.decoder.decode(mx.array([fed]), teacher.memory(features))
    states = states[0, len(text.prompt) - 1 :]
    mx.eval(states, features)
    return Example(text.image, fed, states, features[0], tuple(pixels.shape[1:]))


def batches(
    found: Sequence[Example],
    processor: Processor,
    batch_size: int,
    order: random.Random | None = None,
) -> Iterator[Batch]:
    """Every example once; with an order, drawn from it."""
    drawn = [*found]
    if order is not None:
        order.shuffle(drawn)
    waiting: dict[tuple[int, ...], list[Example]] = {}
    for example in drawn:
        same = waiting.setdefault(example.shape, [])
        same.append(example)
        if len(same) == batch_size:
            yield _batch(waiting.pop(example.shape), processor)
    yield from (_batch(same, processor) for same in waiting.values())


def _batch(same: list[Example], processor: Processor) -> Batch:
    length = max(len(example.fed) for example in same)
    width = max(len(example.states) for example in same)
    return Batch(
        processor.pixels([example.image for example in same]),
        mx.array([[*x.fed, *[0] * (length - len(x.fed))] for x in same], mx.int32),
        mx.stack([mx.pad(x.states, [(0, width - len(x.states)), (0, 0)]) for x in same]),
        mx.stack([example.features for example in same]),
        mx.array([[1.0] * len(x.states) + [0.0] * (width - len(x.states)) for x in same]),
    )
