"""Small models of every family whose weights are the same on every machine, and what they answer.

Weights are drawn by numpy's PCG64 from the name of each parameter on disk: numpy promises its bits,
while those of MLX's generator may differ by device. They keep the size of what goes through them,
heads have 64 dimensions (Swin's 32) as in published checkpoints, and rows are whole groups of 64.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import fields
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten

from ..checkpoints.pretrained import Pretrained
from ..checkpoints.weights import parameters
from ..decoders import DECODERS
from ..encoders import ENCODERS

FAMILIES: dict[str, Any] = {**ENCODERS, **DECODERS}
WIDTH, HIDDEN, LAYERS, HEADS = 128, 192, 2, 2
ROWS, FEATURES, TOKENS = 2, 50, 8
PROMPT = 4  # tokens fed at once before single ones
SIZES: dict[str, Any] = {  # of these, a config gets those that are its fields
    # images
    "image_size": 32,
    "patch_size": 4,
    "num_register_tokens": 4,
    "use_relative_position_bias": True,
    # Swin
    "embed_dim": 64,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "window_size": 4,
    "pretrained_window_sizes": (0, 0),
    # Hiera
    "patch_padding": 0,
    "num_query_pool": 1,
    "masked_unit_size": 2,
    "masked_unit_attention": (True, False),
    # texts
    "vocab_size": 320,
    "embedding_size": 64,
    "input_embedding_size": 64,
    "output_embedding_size": 192,
    "use_task_id": True,
    "default_language": "en_XX",
    **dict.fromkeys(("shape_embed_dim", "shape_vocab_size"), 64),
    **dict.fromkeys(("pronunciation_embed_dim", "pronunciation_vocab_size"), 64),
    "pad_token_id": 1,
    "add_cross_attention": True,
    "is_decoder": True,
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim"), WIDTH),
    **dict.fromkeys(("intermediate_size", "decoder_ffn_dim", "ffn_dim", "hidden_dim"), HIDDEN),
    **dict.fromkeys(("num_hidden_layers", "decoder_layers", "num_layers"), LAYERS),
    **dict.fromkeys(("n_layer", "n_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("attention_heads", "n_head", "n_heads"), HEADS),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 32),
}


def small_model(family: str) -> Any:
    """The encoder or decoder of a model type, in `eval()` mode and not computed yet."""
    kind = FAMILIES[family]
    known = {field.name for field in fields(kind.config_class)}
    model = kind(kind.config_class(**{k: v for k, v in SIZES.items() if k in known}))
    drawn = [(name, _weight(model, name, x)) for name, x in parameters(model).items()]
    model.update(tree_unflatten(drawn))
    model.eval()
    return model


def _weight(model: Pretrained, name: str, like: mx.array) -> mx.array:
    values = uniform(model.renames.on_disk(name), like.shape)
    if like.ndim == 1:
        return 0.1 * values + (1 if name.endswith("weight") else 0)  # a norm's weight, or a bias
    return values * math.sqrt(3 / math.prod(like.shape[1:]))


def uniform(name: str, shape: tuple[int, ...]) -> mx.array:
    """Numbers from -1 to 1 that depend on the name alone."""
    bits = np.random.PCG64(zlib.crc32(name.encode())).random_raw(math.prod(shape))
    values = (np.asarray(bits) >> np.uint64(11)) * 2.0**-52 - 1
    return mx.array(values.astype(np.float32).reshape(shape))


def given(family: str) -> mx.array:
    """The input of an encoder, pixels (B, H, W, C), or of a decoder, features (B, S, D)."""
    if family in ENCODERS:
        return uniform("pixels", (ROWS, SIZES["image_size"], SIZES["image_size"], 3))
    return uniform("features", (ROWS, FEATURES, WIDTH))


def tokens() -> mx.array:
    """Token ids (B, L), none of them special."""
    return mx.array(3 + np.arange(ROWS * TOKENS).reshape(ROWS, TOKENS) * 37 % 317, mx.int32)


def answers(family: str, model: Any, dtype: mx.Dtype) -> dict[str, mx.array]:
    """An encoder's features, or a decoder's logits of all tokens at once and token by token."""
    x = given(family).astype(dtype)
    if family in ENCODERS:
        return {"features": model(x).last_hidden_state}
    return {"logits": model(tokens(), None, x).logits, "logits by token": _by_token(model, x)}


def _by_token(model: Any, memory: mx.array) -> mx.array:
    """Logits (B, L, V) of a prompt and then of one token after another, through a cache."""
    ids, cache = tokens(), model.make_cache(memory)
    pieces = [ids[:, :PROMPT], *mx.split(ids[:, PROMPT:], TOKENS - PROMPT, axis=1)]
    return mx.concatenate([model(piece, past_key_values=cache).logits for piece in pieces], axis=1)
