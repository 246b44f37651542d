"""Tokens that data needs and a tokenizer lacks: Donut's tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..reading.new_tokens import add_tokens as add_tokens
from .samples import Sample

if TYPE_CHECKING:
    from ..reading.processor import Processor


def missing_tokens(samples: Iterable[Sample], processor: Processor) -> list[str]:
    """The tags of samples that are no tokens yet, in the order in which they come."""
    found = dict.fromkeys(tag for sample in samples for tag in sample.tags)
    has = processor.required_tokenizer.backend.token_to_id
    return [tag for tag in found if has(tag) is None]
