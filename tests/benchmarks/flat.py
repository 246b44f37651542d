"""What MLX itself needs: the library's computations written flat, from the library's weights.

Products, biases, activations, attention, norms, residuals and the writing of the cache, and nothing
else: no checks, options, masks that are not needed, or modules. `tests/benchmarks/test_flat.py`
holds that the values are the library's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_vedec.decoders.bart import TrOCRForCausalLM
from mlx_vedec.decoders.bert import BertLMHeadModel
from mlx_vedec.encoders.windows import relative_index
from mlx_vedec.layers.activations import ACTIVATIONS

Layer = Callable[[mx.array], mx.array]
attend = mx.fast.scaled_dot_product_attention


def linear(module: Any) -> Layer:
    """A linear layer, or a table of tokens as one; quantized or not."""
    if "scales" in module:
        parts = module.weight, module.scales, module.get("biases")
        form = {"group_size": module.group_size, "bits": module.bits, "mode": module.mode}
        bias = module.get("bias")
        if bias is None:
            return lambda x: mx.quantized_matmul(x, *parts, transpose=True, **form)
        return lambda x: mx.quantized_matmul(x, *parts, transpose=True, **form) + bias
    weight = module.weight.T
    if "bias" not in module:
        return lambda x: x @ weight
    return lambda x: mx.addmm(module.bias, x, weight)


def norm(module: Any) -> Layer:
    """A layer norm."""
    weight, bias, eps = module.weight, module.bias, module.eps
    return lambda x: mx.fast.layer_norm(x, weight, bias, eps)


def mlp(module: Any, act: str) -> Layer:
    """Two linear layers with an activation between them."""
    first, second, function = linear(module.fc1), linear(module.fc2), ACTIVATIONS[act]
    return lambda x: second(function(first(x)))


def heads(x: mx.array, count: int) -> mx.array:
    """(B, L, D) to (B, H, L, Dh)."""
    rows, length, dims = x.shape
    return x.reshape(rows, length, count, dims // count).transpose(0, 2, 1, 3)


def joined(x: mx.array) -> mx.array:
    """(B, H, L, Dh) to (B, L, D)."""
    rows, count, length, dims = x.shape
    return x.transpose(0, 2, 1, 3).reshape(rows, length, count * dims)


def attention(module: Any) -> Callable[..., mx.array]:
    """Attention of a sequence over itself."""
    q, k, v, o = (linear(module[f"{name}_proj"]) for name in "qkvo")
    count, scale = module.num_heads, module.scale

    def run(x: mx.array, mask: mx.array | None = None) -> mx.array:
        queries, keys, values = heads(q(x), count), heads(k(x), count), heads(v(x), count)
        return o(joined(attend(queries, keys, values, scale=scale, mask=mask)))

    return run


def vit(encoder: Any) -> Layer:
    """ViT and DeiT: pixels (B, H, W, C) to features (B, S, D)."""
    config = encoder.config
    layers = [
        (norm(x.attn_norm), attention(x.attn), norm(x.mlp_norm), mlp(x.mlp, config.hidden_act))
        for x in encoder.layers
    ]
    patches, last = encoder.patches.projection, norm(encoder.norm)
    table = encoder.position_embeddings
    prefix = [encoder.cls_token]
    prefix += [encoder.distillation_token] if "distillation_token" in encoder else []

    def run(pixels: mx.array) -> mx.array:
        rows = len(pixels)
        x = mx.conv2d(pixels, patches.weight, patches.stride) + patches.bias
        tokens = [mx.broadcast_to(token, (rows, 1, token.shape[-1])) for token in prefix]
        x = mx.concatenate([*tokens, x.reshape(rows, -1, x.shape[-1])], axis=1) + table
        for attn_norm, attn, mlp_norm, hidden in layers:
            x = x + attn(attn_norm(x))
            x = x + hidden(mlp_norm(x))
        return last(x)

    return run


def swin(encoder: Any) -> Layer:
    """Swin and Donut-Swin, of maps that windows divide: pixels to features.

    All windows of a layer are attended at once, under a mask for each where they are shifted.
    Biases and masks are made once, since they depend on the size alone.
    """
    config = encoder.config
    patches, first = encoder.patches.projection, norm(encoder.patch_norm)
    masks: dict[Any, mx.array] = {}

    def mask(layer: Any, cut: Any, rows: int, columns: int) -> mx.array:
        key = id(layer), rows, columns
        if key not in masks:
            index = relative_index((cut.window,) * 2, (layer.window,) * 2)
            bias = layer.attn_bias.table[mx.array(index)].transpose(2, 0, 1)
            if cut.shift:
                bias = bias + mx.array(seams(rows, columns, cut.window, cut.shift))[:, None]
            masks[key] = bias
            mx.eval(bias)
        return masks[key]

    def windows(layer: Any, attn: Callable[..., mx.array], x: mx.array) -> mx.array:
        batch, rows, columns, dims = x.shape
        cut = layer.cut(rows, columns)
        side, shift = cut.window, cut.shift
        if shift:
            x = mx.roll(x, (-shift, -shift), (1, 2))
        x = x.reshape(batch, rows // side, side, columns // side, side, dims)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, side * side, dims)
        bias = mask(layer, cut, rows, columns)
        x = attn(x, mx.tile(bias, (batch, 1, 1, 1)) if shift and batch > 1 else bias)
        x = x.reshape(batch, rows // side, columns // side, side, side, dims)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, dims)
        return mx.roll(x, (shift, shift), (1, 2)) if shift else x

    def merged(merge: Any, x: mx.array) -> mx.array:
        batch, rows, columns, dims = x.shape
        x = x.reshape(batch, rows // 2, 2, columns // 2, 2, dims).transpose(0, 1, 3, 4, 2, 5)
        x = x.reshape(batch, rows // 2, columns // 2, 4 * dims)
        return norm(merge.norm)(x) @ merge.reduction.weight.T

    def run(pixels: mx.array) -> mx.array:
        x = first(mx.conv2d(pixels, patches.weight, patches.stride) + patches.bias)
        for stage in encoder.stages:
            for layer in stage.layers:
                attn = attention(layer.attn)
                x = x + windows(layer, attn, norm(layer.attn_norm)(x))
                x = x + mlp(layer.mlp, config.hidden_act)(norm(layer.mlp_norm)(x))
            x = merged(stage.merge, x) if "merge" in stage else x
        x = x.reshape(len(x), -1, x.shape[-1])
        return norm(encoder.norm)(x) if "norm" in encoder else x

    return run


def seams(rows: int, columns: int, side: int, shift: int) -> np.ndarray:
    """-100 between places of a rolled map that were not neighbours, (windows, side², side²)."""

    def regions(size: int) -> np.ndarray:
        places = np.arange(size)
        return (places >= size - side).astype(int) + (places >= size - shift)

    ids = 3 * regions(rows)[:, None] + regions(columns)
    ids = ids.reshape(rows // side, side, columns // side, side).swapaxes(1, 2)
    ids = ids.reshape(-1, side * side)
    return np.where(ids[:, :, None] == ids[:, None], 0, -100).astype(np.float32)


def flat_encoder(encoder: Any) -> Layer:
    """The encoder of any family that is written here."""
    return (swin if "stages" in encoder else vit)(encoder)


class Decoding:
    """A decoder of `DECODERS` fed token by token, its cache a buffer of fixed capacity.

    memory (B, S, D) -- the features
    """

    def __init__(self, decoder: Any, memory: mx.array, capacity: int) -> None:
        shape = decoder.shape
        self.decoder, self.heads, self.length = decoder, shape.num_heads, 0
        size = len(memory), shape.num_heads, capacity, shape.dims // shape.num_heads
        self.layers = [self._layer(layer, memory, size, shape.act) for layer in decoder.layers]
        self.embed = DECODERS[type(decoder)](decoder)
        self.head = head(decoder, shape)

    def _layer(
        self, layer: Any, memory: mx.array, size: tuple[int, ...], act: str
    ) -> dict[str, Any]:
        own, cross = layer.self_attn, layer.cross_attn
        kv = [linear(cross[f"{name}_proj"])(memory) for name in "kv"]
        return {
            "memory": [mx.contiguous(heads(x, self.heads)) for x in kv],
            "cache": [mx.zeros(size), mx.zeros(size)],
            "scale": own.scale,
            "own": [linear(own[f"{name}_proj"]) for name in "qkvo"],
            "cross": [linear(cross[f"{name}_proj"]) for name in "qo"],
            "mlp": mlp(layer.mlp, act),
            "norms": [norm(layer[f"{name}_norm"]) for name in ("self_attn", "cross_attn", "mlp")],
        }

    def step(self, tokens: mx.array) -> mx.array:
        """The next token of every row (B, 1) to logits (B, V)."""
        x = self.embed(tokens, self.length)
        for layer in self.layers:
            first, second, third = layer["norms"]
            x = first(x + self._own(layer, x))
            x = second(x + self._cross(layer, x))
            x = third(x + layer["mlp"](x))
        self.length += 1
        return self.head(x[:, 0])

    def _own(self, layer: dict[str, Any], x: mx.array) -> mx.array:
        q, k, v, o = layer["own"]
        keys, values = layer["cache"]
        place = slice(self.length, self.length + 1)
        keys[:, :, place], values[:, :, place] = heads(k(x), self.heads), heads(v(x), self.heads)
        seen = keys[:, :, : self.length + 1], values[:, :, : self.length + 1]
        return o(joined(attend(heads(q(x), self.heads), *seen, scale=layer["scale"])))

    def _cross(self, layer: dict[str, Any], x: mx.array) -> mx.array:
        q, o = layer["cross"]
        return o(joined(attend(heads(q(x), self.heads), *layer["memory"], scale=layer["scale"])))


def rows_of(table: Any) -> Layer:
    """The rows of a table of tokens or positions, quantized or not."""
    if "scales" not in table:
        return lambda ids: table.weight[ids]
    form = {"group_size": table.group_size, "bits": table.bits, "mode": table.mode}
    return lambda ids: mx.dequantize(
        table.weight[ids], table.scales[ids], table.biases[ids], **form
    )


def bart_embedding(decoder: Any) -> Callable[[mx.array, int], mx.array]:
    """Scaled tokens and learned positions, normed or not."""
    rows, positions = rows_of(decoder.embed_tokens), decoder.embed_positions
    scale = decoder.embed_scale
    last = norm(decoder.embed_norm) if "embed_norm" in decoder else lambda x: x

    def run(tokens: mx.array, place: int) -> mx.array:
        x = rows(tokens) if scale == 1 else rows(tokens) * scale
        return last(x + positions.weight[place + positions.offset])

    return run


def bert_embedding(decoder: Any) -> Callable[[mx.array, int], mx.array]:
    """Tokens, the first type and learned positions, normed."""
    rows, last = rows_of(decoder.embed_tokens), norm(decoder.embed_norm)
    kind, positions = decoder.embed_types.weight[0], decoder.embed_positions.weight
    return lambda tokens, place: last(rows(tokens) + kind + positions[place])


DECODERS = {TrOCRForCausalLM: bart_embedding, BertLMHeadModel: bert_embedding}


def head(decoder: Any, shape: Any) -> Layer:
    """Hidden states (B, D) to logits (B, V): the table of tokens, after a transform or not."""
    score = linear(decoder.lm_head if "lm_head" in decoder else decoder.embed_tokens)
    if "head_proj" not in decoder:
        return score
    first, last = linear(decoder.head_proj), norm(decoder.head_norm)
    act, bias = ACTIVATIONS[shape.head_act], decoder.head_bias
    return lambda x: score(last(act(first(x)))) + bias
