"""`read_lines`: a page's lines, found, read as one batch, and put together again."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

from ..images.image_processors import ImageSource
from ..images.line_images import cut_line, line_image, line_origin
from ..images.lines import Box, find_lines
from ..images.loading import load_image
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from .generate import batch_generate
from .processor import Processor
from .results import GenerationResult


def read_lines(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: ImageSource,
    *,
    batch_size: int = 16,
    **options: Any,
) -> list[GenerationResult]:
    """The lines of a clean printed page, top to bottom, each with its `box`.

    Where the checkpoint names the aspect of the lines it was trained for, wider lines are cut at
    word gaps and their texts joined by a space.
    """
    page = load_image(image)
    aspect = processor.line_aspect_ratio
    lines = find_lines(page)
    pieces = [[line] if aspect is None else cut_line(page, line, aspect) for line in lines]
    flat = [box for line in pieces for box in line]
    if not flat:
        return []
    crops = [page.crop(box) if aspect is None else line_image(page, box, aspect) for box in flat]
    origins = [box[:2] if aspect is None else line_origin(page, box, aspect) for box in flat]
    results = batch_generate(model, processor, crops, batch_size=batch_size, **options)
    placed = (
        replace(result, boxes=tuple(word.moved(*origin, box) for word in result.boxes), box=box)
        for result, origin, box in zip(results, origins, flat, strict=True)
    )
    return [
        _join(list(islice(placed, len(boxes))), box)
        for box, boxes in zip(lines, pieces, strict=True)
    ]


def _join(parts: list[GenerationResult], box: Box) -> GenerationResult:
    """One line's result from those of its pieces."""
    logprobs = tuple(value for part in parts for value in part.token_logprobs)
    return replace(
        parts[0],
        text=" ".join(part.text for part in parts),
        tokens=tuple(token for part in parts for token in part.tokens),
        token_logprobs=logprobs,
        score=parts[0].score if len(parts) == 1 else sum(logprobs) / max(len(logprobs), 1),
        alternatives=parts[0].alternatives if len(parts) == 1 else (),
        finish_reason=next((p.finish_reason for p in parts if p.finish_reason != "stop"), "stop"),
        box=box,
        boxes=tuple(word for part in parts for word in part.boxes),
    )
