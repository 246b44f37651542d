"""What a call gives a text decoder: checked, and made arrays of MLX."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from ..errors import OptionError, TokenError, spelt
from ..layers.decoder_cache import DecoderCache
from ..layers.token_ids import as_array, as_ids, check_ids


def given_input(tokens: Any, inputs_embeds: Any) -> Any:
    """The token ids or the embeddings, whichever a call gave."""
    if tokens is not None and inputs_embeds is None:
        return tokens
    if inputs_embeds is not None and tokens is None:
        return inputs_embeds
    raise TokenError("give exactly one of decoder_input_ids and decoder_inputs_embeds")


def checked_input(
    tokens: Any, inputs_embeds: Any, vocab_size: int, width: int
) -> dict[str, mx.array | None]:
    """Token ids (B, L) inside the vocabulary, or embeddings (B, L, width), as arrays."""
    if given_input(tokens, inputs_embeds) is inputs_embeds:
        embedded = as_array(inputs_embeds, "decoder_inputs_embeds", f"(batch, length, {width})")
        return {"tokens": None, "inputs_embeds": embedded}
    ids = as_ids(tokens, "decoder_input_ids")
    check_ids(ids, vocab_size, "decoder_input_ids")
    return {"tokens": ids, "inputs_embeds": None}


def checked_memory(memory: Any, rows: int, width: int | None) -> mx.array | None:
    """Features (B, S, width) of as many images as there are rows of tokens, or of a divisor."""
    if memory is None:
        return None
    features = as_array(memory, "encoder_hidden_states", f"(batch, features, {width})")
    if not len(features) or rows % len(features):
        raise TokenError(
            f"decoder_input_ids have {rows} rows for {len(features)} images; expected as many, or "
            "the same number for each"
        )
    return features


def checked_mask(mask: Any, name: str, shape: str) -> mx.array | None:
    """A mask over tokens, or over features, of this shape."""
    return None if mask is None else as_array(mask, name, shape)


def checked_positions(position_ids: Any, rows: int, length: int) -> mx.array | None:
    """Position ids (B, L), or (1, L) for all rows."""
    if position_ids is None:
        return None
    ids = as_ids(position_ids, "position_ids", f"(batch, {length})")
    if len(ids) not in (1, rows):
        raise TokenError(f"position_ids have {len(ids)} rows; expected {rows}, or 1 for all")
    return ids


def check_cache(cache: Any, rows: int) -> None:
    """Raise `OptionError` unless `past_key_values`, if given, have as many rows as the tokens."""
    if cache is not None and (not isinstance(cache, DecoderCache) or cache.rows != rows):
        found = f"of {cache.rows} rows" if isinstance(cache, DecoderCache) else spelt(cache)
        raise OptionError(
            f"past_key_values are {found}; expected those of {rows} rows that a call with "
            "use_cache=True, or make_cache, gave"
        )
