"""Tokens that data needs and a tokenizer lacks: Donut's tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import tokenizers

from ..errors import TokenError
from ..text import Tokenizer
from .samples import Sample

if TYPE_CHECKING:
    from ..model import VisionEncoderDecoderModel
    from ..processor import Processor


def missing_tokens(samples: Iterable[Sample], processor: Processor) -> list[str]:
    """The tags of samples that are no tokens yet, in the order in which they come."""
    found = dict.fromkeys(tag for sample in samples for tag in sample.tags)
    has = processor.reader.backend.token_to_id
    return [tag for tag in found if has(tag) is None]


def add_tokens(
    model: VisionEncoderDecoderModel, processor: Processor, tokens: Iterable[str]
) -> list[int]:
    """Give a tokenizer and its model new tokens; the ids of all that were asked for.

    Rows for them are drawn at random where the model's vocabulary has no room, so they have to be
    trained: an adapter that leaves the embedding as it is cannot learn them.
    """
    tokens = [*tokens]
    if not all(token.strip() == token != "" for token in tokens):
        raise TokenError(f"tokens are {tokens}; expected texts without spaces around them")
    reader = processor.reader
    backend = tokenizers.Tokenizer.from_buffer(reader.content)
    backend.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in tokens])
    extended = Tokenizer(backend.to_str().encode(), reader.config)
    processor.tokenizer = extended
    size = backend.get_vocab_size(with_added_tokens=True)
    if size > model.config.decoder.vocab_size:
        model.resize_token_embeddings(size)
    return [backend.token_to_id(token) for token in tokens]  # pyright: ignore[reportReturnType]
