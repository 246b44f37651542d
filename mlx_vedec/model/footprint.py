"""Bytes that reading images takes at most, by arithmetic: nothing is allocated to know them.

The terms are bounds that the tests hold against MLX's own count on its CPU, where up to ten
operations are under way at once and attention holds its weights; Metal has not been measured.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.pretrained import parse_dtype
from ..checkpoints.quantizing import quantize as quantize_model
from ..checkpoints.weights import parameters
from ..encoders.encoder import Encoder
from ..encoders.hiera import HieraModel
from ..encoders.patches import Pair, grid_of, pair
from ..encoders.windows import PIECE
from ..errors import OptionError
from ..generation.options import OPTIONS
from ..generation.values import at_least
from ..layers.cpu import held_at_once, on_cpu
from ..layers.kv_cache import STEP, bucket
from ..layers.kv_quantization import kv_group_size
from ..layers.packed import float_type, is_quantized
from ..layers.quantization_config import QuantizationConfig
from .config import VisionEncoderDecoderConfig
from .vision_encoder_decoder import VisionEncoderDecoderModel

Subject = VisionEncoderDecoderModel | VisionEncoderDecoderConfig
LARGEST = 64  # images of a batch, where nobody says how many;
USUAL = 16  # of large models, with which more gain little:
SPARE = 256_000_000  # bytes beside the weights that more images than the usual number may take
MAPS = 9  # of a stage of Swin that is worked on in pieces, alive at once beside a piece
LINEAR = nn.Linear | nn.QuantizedLinear
LOGITS = {False: 8, True: 14}  # arrays of their size that a search without or with beams holds


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of each kind, the most that there is of it at a time.

    encoder -- while images are encoded: pixels, activations, features
    image_cache -- keys and values of the images; own_cache -- of the texts, at their full length
    search -- logits, and what copies of the caches there are when rows come, go or change places

    >>> print(MemoryEstimate(10**9, 5 * 10**8, 10**8, 10**8, 3 * 10**8))
    2,000 MB: weights 1,000, encoder 500, image_cache 100, own_cache 100, search 300
    """

    weights: int
    encoder: int
    image_cache: int
    own_cache: int
    search: int

    @property
    def decoding(self) -> int:
        """Bytes without the encoder's, which are free when the last images have been encoded."""
        return self.total - self.encoder

    @property
    def total(self) -> int:
        """Bytes of all kinds at once, as when images join others that are being decoded."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        parts = (f"{f.name} {getattr(self, f.name) / 1e6:,.0f}" for f in fields(self))
        return f"{self.total / 1e6:,.0f} MB: {', '.join(parts)}"


def estimate_memory(
    model_or_config: Subject,
    *,
    batch_size: int = 1,
    image_size: int | Pair | None = None,
    max_length: int | None = None,
    num_beams: int = 1,
    dtype: str | mx.Dtype | None = None,
    quantize: int | QuantizationConfig | None = None,
    kv_bits: int | None = None,
    max_kv_size: int | None = None,
) -> MemoryEstimate:
    """Bytes that reading a batch of images takes at most.

    image_size -- in pixels, one number or (height, width); by default the config's. max_length --
    tokens of a text; by default as many as there are positions. dtype, quantize -- of the weights
    as `load` takes them; by default a model's own, or those that `load` would give a config.

    >>> from mlx_vedec.measuring.shapes import shape_config
    >>> found = estimate_memory(shape_config("trocr-base"), dtype="float16", max_length=64)
    >>> print(f"{found.weights / 1e6:,.0f} MB of weights")
    667 MB of weights
    """
    _check_asked(batch_size, max_length, num_beams, kv_bits, max_kv_size)
    model = _as_loaded(model_or_config, parse_dtype(dtype), quantize)
    decoder, width = model.decoder, float_type(model).size
    shape, rows = decoder.config.shape, batch_size * num_beams
    size = getattr(model.config.encoder, "image_size", None) if image_size is None else image_size
    if size is None:
        raise OptionError("the encoder is built for no size of images; give image_size")
    features = _features(model.encoder, pair(size))
    number = width if kv_bits is None else _packed(kv_bits, shape.dims // shape.num_heads, width)
    layer = 2 * shape.dims * number  # keys and values of one token
    reads = sum(layer.reads for layer in decoder.layers)
    whole = reads * batch_size * features * 2 * shape.dims * width
    own = len(decoder.layers) * rows * _capacity(model, max_length, max_kv_size) * layer
    logits = rows * decoder.config.vocab_size * 4
    return MemoryEstimate(
        weights=sum(x.nbytes for x in (parameters(model) | model._carried).values()),
        encoder=_encoder(model.encoder, batch_size, pair(size), width),
        image_cache=int(whole * number / width),
        own_cache=int(own),
        search=int(LOGITS[num_beams > 1] * logits + whole + (1 + (num_beams > 1)) * own),
    )


def _check_asked(
    batch_size: Any, max_length: Any, num_beams: Any, kv_bits: Any, max_kv_size: Any
) -> None:
    """Raise `OptionError` for what is no number of images, tokens, beams or bits."""
    for name, value in (("batch_size", batch_size), ("num_beams", num_beams)):
        at_least(1).check(name, value)
    for name, value in (("max_length", max_length), ("max_kv_size", max_kv_size)):
        at_least(1).check(name, 1 if value is None else value)
    OPTIONS["kv_bits"].value.check("kv_bits", 8 if kv_bits is None else kv_bits)


def check_fits(estimate: MemoryEstimate) -> None:
    """Raise `OptionError` where an estimate is more than the device has."""
    there = device_memory()
    if estimate.total > there:
        raise OptionError(
            f"this takes up to {estimate}; the device has {there / 1e6:,.0f} MB; take fewer "
            "images or beams, shorter texts, smaller images, or quantized weights"
        )


def fitting_batch_size(
    model: VisionEncoderDecoderModel, largest: int = LARGEST, **shape: Any
) -> int:
    """The largest power of two, up to `largest`, that fits; `OptionError` where one does not.

    More images than `USUAL` have to fit into `SPARE`. shape -- what else `estimate_memory` takes
    """
    size = 1 << (largest.bit_length() - 1)
    while size > 1 and not _fits(estimate_memory(model, batch_size=size, **shape), size):
        size //= 2
    if size == 1:
        check_fits(estimate_memory(model, batch_size=1, **shape))
    return size


def _fits(estimate: MemoryEstimate, size: int) -> bool:
    return estimate.total <= device_memory() and (
        size <= USUAL or estimate.total - estimate.weights <= SPARE
    )


def device_memory() -> int:
    """Bytes that a GPU recommends to use, or that the machine has."""
    found = mx.device_info().get("max_recommended_working_set_size")
    if found:
        return int(found)
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return mx.get_memory_limit()


def _as_loaded(
    subject: Subject, dtype: mx.Dtype | None, quantize: int | QuantizationConfig | None
) -> VisionEncoderDecoderModel:
    """A model with the sizes that `load` would give it; its weights are not computed."""
    if isinstance(subject, VisionEncoderDecoderModel):
        if dtype is None and quantize is None:
            return subject
        if is_quantized(subject):
            raise OptionError("the model is quantized, which stays; leave out dtype and quantize")
        dtype, config = dtype or float_type(subject), subject.config
    else:
        config = subject
    model = VisionEncoderDecoderModel(config)
    stored = config.extra.get("dtype", config.extra.get("torch_dtype"))
    model.astype(dtype or parse_dtype(None if on_cpu() else stored) or mx.float32)
    if quantize is not None:
        quantize_model(model, quantize)
    return model


def _packed(bits: int, head_dim: int, width: int) -> float:
    """Bytes of a number in a quantized cache, its share of scale and bias included."""
    return bits / 8 + 2 * width / kv_group_size(head_dim)


def _capacity(
    model: VisionEncoderDecoderModel, max_length: int | None, max_kv_size: int | None
) -> int:
    """Slots of a row's buffers in the cache, which grow in steps."""
    limit = model.decoder.max_positions or model.decoder.config.shape.positions
    return min(bucket(max_length or limit, STEP), limit, max_kv_size or limit)


def _encoder(encoder: Encoder[Any], images: int, size: Pair, width: int) -> int:
    """Bytes of an encoder at its peak: pixels, their patches, and the layer that takes most."""
    pixels = images * size[0] * size[1] * encoder.config.num_channels * width
    if isinstance(encoder, HieraModel):
        return 2 * pixels + max(_hiera(encoder, images, size, width))
    if "stages" in encoder:
        return 2 * pixels + max(_stages(encoder, images, size, width))
    features = _features(encoder, size)
    return 2 * pixels + _layer(encoder.layers[0], images * features, features, width)


def _features(encoder: Encoder[Any], size: Pair) -> int:
    """How many features an image has, also where they are in no grid."""
    if isinstance(encoder, HieraModel):
        return encoder.count(*size)
    return encoder.grid(*size).features


def _stages(encoder: Any, images: int, size: Pair, width: int) -> list[int]:
    """Bytes of each stage of Swin: maps of all its places, and a layer's work on a piece."""
    found, (high, wide) = [], encoder.patches.patch
    rows, columns = -(-size[0] // high), -(-size[1] // wide)
    for stage in encoder.stages:
        layer = stage.layers[0]
        side = layer.cut(rows, columns).window
        rows, columns = (-(-length // side) * side for length in (rows, columns))
        places = images * rows * columns
        share = width * encoder.config.dims(len(found))
        piece = min(places, max(PIECE // share, images * side * columns))
        found.append(MAPS * (places - piece) * share + _layer(layer, piece, side * side, width))
        rows, columns = -(-rows // 2), -(-columns // 2)
    return found


def _hiera(encoder: HieraModel, images: int, size: Pair, width: int) -> list[int]:
    """Bytes of the first layer of each stage of Hiera, with what it projects before it pools."""
    rows, columns = grid_of(size, pair(encoder.config.patch_stride))
    places, found = rows * columns, []
    patches = 2 * encoder.config.embed_dim * images * places * width  # before and after ordering
    for stage in encoder.stages:
        layer, seen = stage.layers[0], stage.layers[0].attn.window or places
        projected = len(layer.attn.qkv_proj.weight) * images * places * width
        places //= layer.attn.stride
        pooled = 2 * projected if layer.attn.stride > 1 else 0
        found.append(patches + _layer(layer, images * places, seen, width) + pooled)
    return found


def _layer(layer: Any, tokens: int, seen: int, width: int) -> int:
    """Bytes of a layer's activations, for so many tokens, each of which attends to `seen`.

    Attention holds its weights twice, or once beside the hidden values of the MLP and what its
    activation makes of them; arrays as wide as the tokens come on top. On a CPU it is a piece of
    these that is held, more often, since the formulas have more steps.
    """
    linears = [m for _, m in layer.mlp.named_modules() if isinstance(m, LINEAR)]
    hidden = held_at_once(max(len(leaf.weight) for leaf in linears) * tokens) * width
    weights = held_at_once(layer.attn.num_heads * seen * tokens) * width
    wide = len(layer.attn.o_proj.weight) * tokens * width
    copies, arrays = (7, 7) if on_cpu() else (2, 4)
    arrays += 2 * ("gate_proj" in layer.mlp)  # a gate is as wide, and so is its activation
    return max(copies * weights, weights + arrays * hidden) + 15 * wide
