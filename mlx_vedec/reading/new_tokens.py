"""New tokens for a vocabulary: those that data needs and a tokenizer lacks, such as Donut's tags.

Adapters that were trained with new tokens have `added_tokens.json` beside them, each token with its
id, so that a base is given the same ones before the adapters are put on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers

from ..checkpoints.config import read_json
from ..errors import TokenError
from ..files import write_json
from ..text.inputs import has_half_character
from ..text.tokenizer import Tokenizer
from .generate import check_reader

if TYPE_CHECKING:
    from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
    from .processor import Processor

ADDED = "added_tokens.json"


def add_tokens(
    model: VisionEncoderDecoderModel, processor: Processor, tokens: Iterable[str]
) -> list[int]:
    """Give a tokenizer and its model new tokens; the ids of all that were asked for.

    Rows for them are drawn at random where the model's vocabulary has no room, so they have to be
    trained: an adapter that leaves the embedding as it is cannot learn them.
    """
    check_reader(model, processor)
    tokens = [*tokens] if isinstance(tokens, Iterable) and not isinstance(tokens, str) else [tokens]
    if not all(map(_is_token, tokens)):
        raise TokenError(
            f"tokens are {repr(tokens)[:99]}; expected texts without spaces around them"
        )
    reader = processor.required_tokenizer
    backend = tokenizers.Tokenizer.from_buffer(reader.content)
    backend.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in tokens])
    extended = Tokenizer(backend.to_str().encode(), reader.config)
    processor.tokenizer = extended
    size = backend.get_vocab_size(with_added_tokens=True)
    if size > model.config.decoder.vocab_size:
        model.resize_token_embeddings(size)
    return [backend.token_to_id(token) for token in tokens]  # pyright: ignore[reportReturnType]


def _is_token(token: object) -> bool:
    """Whether a text can be a token: no spaces around it, and no half of a character in it."""
    if not isinstance(token, str) or not token.strip() == token != "":
        return False
    return not has_half_character(token)


def tables(model: VisionEncoderDecoderModel) -> tuple[str, ...]:
    """Names of modules with a row for each token: the embedding, and the head where untied."""
    own = (name for name in ("embed_tokens", "lm_head", "head_bias") if name in model.decoder)
    return tuple(f"decoder.{name}" for name in own)


def save_added(processor: Processor, tokens: Iterable[str], folder: Path) -> None:
    """Write the tokens that were added, if there are any, beside adapters."""
    ids = {token: processor.required_tokenizer.backend.token_to_id(token) for token in tokens}
    if ids:
        write_json(folder / ADDED, ids)


def restore_added(
    model: VisionEncoderDecoderModel, processor: Processor, folder: str | Path
) -> list[str]:
    """Add the tokens that a folder of adapters names, and return them; none if it names none."""
    path = Path(folder) / ADDED
    if not path.is_file():
        return []
    expected = read_json(path)
    tokens = sorted(expected, key=lambda token: expected[token])
    found = dict(zip(tokens, add_tokens(model, processor, tokens), strict=True))
    if found != expected:
        token = next(token for token in tokens if found[token] != expected[token])
        raise TokenError(
            f"{path} gives {token} the id {expected[token]}, but here it becomes {found[token]}; "
            "expected the tokenizer that the adapters were trained with"
        )
    return tokens
