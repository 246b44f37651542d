"""The flat computations of `tests/benchmarks/flat.py` with one lever pulled, for `levers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlx_vedec.layers.activations import ACTIVATIONS

from .flat import DECODERS, Layer, attend, head, heads, joined, norm

Weights = tuple[mx.array, mx.array | None]  # (out, in), and the bias


@dataclass(frozen=True)
class Levers:
    """What is done otherwise.

    fused -- q, k and v are one product. folded -- the scale is in the query's weights. transposed
    -- weights are stored (in, out). padded -- heads have so many dimensions, the rest zeros.
    gelu -- the activation is one compiled kernel. tails -- so are bias and activation, and sum and
    norm. compiled -- the whole step is, over a cache of fixed capacity under a mask.
    """

    fused: bool = False
    folded: bool = False
    transposed: bool = False
    padded: int = 0
    gelu: bool = False
    tails: bool = False
    compiled: bool = False


SIDES = {
    "flat": Levers(),
    "fused q/k/v": Levers(fused=True),
    "scale folded": Levers(folded=True),
    "weights transposed": Levers(transposed=True),
    "activation compiled": Levers(gelu=True),
    "tails compiled": Levers(tails=True),
}
STEPPING = {**SIDES, "step compiled": Levers(compiled=True)}
PADDED = {"heads padded to 64": Levers(padded=64)}


def plain(module: Any) -> Weights:
    """The weights of a linear layer."""
    return module.weight, module.get("bias")


def product(weights: Weights, levers: Levers) -> Layer:
    """A linear layer."""
    weight, bias = weights[0].T, weights[1]
    if levers.transposed:
        weight = mx.contiguous(weight)
        mx.eval(weight)
    if bias is None:
        return lambda x: x @ weight
    return lambda x: mx.addmm(bias, x, weight)


def scaled(weights: Weights, by: float) -> Weights:
    """A layer whose result is scaled."""
    return weights[0] * by, None if weights[1] is None else weights[1] * by


def padded_out(weights: Weights, count: int, to: int) -> Weights:
    """A layer into heads, each with zeros up to so many dimensions."""

    def pad(x: mx.array) -> mx.array:
        rows = x.reshape(count, -1, *x.shape[1:])
        widths = [(0, 0)] * rows.ndim
        widths[1] = (0, max(0, to - rows.shape[1]))
        return mx.pad(rows, widths).flatten(0, 1)

    return pad(weights[0]), None if weights[1] is None else pad(weights[1])


class Projections:
    """The four projections of an attention, of the inputs to heads and back."""

    def __init__(self, module: Any, levers: Levers) -> None:
        self.count, self.scale = module.num_heads, module.scale
        q, k, v, o = (plain(module[f"{name}_proj"]) for name in "qkvo")
        if levers.folded:
            q, self.scale = scaled(q, self.scale), 1.0
        if levers.padded:
            q, k, v = (padded_out(w, self.count, levers.padded) for w in (q, k, v))
            o = padded_out((o[0].T, None), self.count, levers.padded)[0].T, o[1]
        self.q, self.o = product(q, levers), product(o, levers)
        self.k, self.v = product(k, levers), product(v, levers)
        fused = levers.fused and q[0].shape == k[0].shape  # not where a memory has another width
        self.all = product(together(q, k, v), levers) if fused else None

    def queries(self, x: mx.array) -> mx.array:
        """(B, L, D) to (B, H, L, Dh)."""
        return heads(self.q(x), self.count)

    def __call__(self, x: mx.array) -> list[mx.array]:
        """Queries, keys and values, each (B, H, L, Dh)."""
        made = (
            [self.q(x), self.k(x), self.v(x)] if self.all is None else mx.split(self.all(x), 3, -1)
        )
        return [heads(part, self.count) for part in made]

    def attended(self, q: mx.array, k: mx.array, v: mx.array, mask: Any = None) -> mx.array:
        """Through attention and the projection out, (B, L, D)."""
        return self.o(joined(attend(q, k, v, scale=self.scale, mask=mask)))


def together(*layers: Weights) -> Weights:
    """Layers with the same input as one."""
    weights = mx.concatenate([weight for weight, _ in layers])
    if all(bias is None for _, bias in layers):
        mx.eval(weights)
        return weights, None
    biases = [mx.zeros(len(weight)) if bias is None else bias for weight, bias in layers]
    bias = mx.concatenate(biases)
    mx.eval(weights, bias)
    return weights, bias


def mlp(module: Any, act: str, levers: Levers) -> Layer:
    """Two linear layers with an activation between them."""
    function, second = ACTIVATIONS[act], product(plain(module.fc2), levers)
    if not levers.tails:
        first = product(plain(module.fc1), levers)
        function = mx.compile(function) if levers.gelu else function
        return lambda x: second(function(first(x)))
    weight, bias = plain(module.fc1)
    first, tail = product((weight, None), levers), mx.compile(lambda x, b: function(x + b))
    return lambda x: second(tail(first(x), bias))


def added(module: Any, levers: Levers) -> Callable[[mx.array, mx.array], mx.array]:
    """A sum, normed: of two arrays."""
    normed = norm(module)
    if not levers.tails:
        return lambda x, y: normed(x + y)
    weight, bias, eps = module.weight, module.bias, module.eps

    def tail(x: mx.array, y: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
        x = x + y
        x = x - x.mean(-1, keepdims=True)
        return x * mx.rsqrt(mx.square(x).mean(-1, keepdims=True) + eps) * weight + bias

    compiled = mx.compile(tail)
    return lambda x, y: compiled(x, y, weight, bias)


def lever_vit(encoder: Any, levers: Levers) -> Layer:
    """ViT and DeiT, whose norms come first, so that of the tails the activation is compiled."""
    config = encoder.config
    layers = [
        (
            norm(x.attn_norm),
            Projections(x.attn, levers),
            norm(x.mlp_norm),
            mlp(x.mlp, config.hidden_act, levers),
        )
        for x in encoder.layers
    ]
    patches, last = encoder.patches.projection, norm(encoder.norm)
    prefix = [encoder.cls_token]
    prefix += [encoder.distillation_token] if "distillation_token" in encoder else []

    def run(pixels: mx.array) -> mx.array:
        x = mx.conv2d(pixels, patches.weight, patches.stride) + patches.bias
        x = mx.concatenate([*prefix, x.reshape(1, -1, x.shape[-1])], axis=1)
        x = x + encoder.position_embeddings
        for attn_norm, attn, mlp_norm, hidden in layers:
            x = x + attn.attended(*attn(attn_norm(x)))
            x = x + hidden(mlp_norm(x))
        return last(x)

    return run


class LeverDecoding:
    """A decoder whose norms come last, fed token by token, its cache of fixed capacity."""

    def __init__(self, decoder: Any, memory: mx.array, capacity: int, levers: Levers) -> None:
        self.levers, self.capacity = levers, capacity
        self.layers = [self._layer(layer, memory, decoder.shape.act) for layer in decoder.layers]
        self.embed, self.head = DECODERS[type(decoder)](decoder), head(decoder, decoder.shape)
        self.fixed = mx.compile(self._fixed)
        self.restart()

    def _layer(self, layer: Any, memory: mx.array, act: str) -> dict[str, Any]:
        own, cross = (Projections(x, self.levers) for x in (layer.self_attn, layer.cross_attn))
        kept = [mx.contiguous(heads(make(memory), cross.count)) for make in (cross.k, cross.v)]
        mx.eval(kept)
        names = "self_attn", "cross_attn", "mlp"
        return {
            "own": own,
            "cross": cross,
            "memory": kept,
            "mlp": mlp(layer.mlp, act, self.levers),
            "added": [added(layer[f"{name}_norm"], self.levers) for name in names],
        }

    def restart(self) -> None:
        """Forget the tokens, and keep the image."""
        shape = list(self.layers[0]["memory"][0].shape)
        shape[2] = self.capacity
        self.length = 0
        self.cache = [[mx.zeros(shape), mx.zeros(shape)] for _ in self.layers]
        mx.eval(self.cache)

    def step(self, tokens: mx.array) -> mx.array:
        """The next token (1, 1) to logits (1, V)."""
        if self.levers.compiled:
            logits, self.cache = self.fixed(tokens, mx.array([self.length]), self.cache)
        else:
            logits = self._through(self.embed(tokens, self.length), self._grown)
        self.length += 1
        return logits

    def _fixed(self, tokens: mx.array, length: mx.array, cache: Any) -> Any:
        mask = mx.arange(self.capacity) <= length
        new: list[list[mx.array]] = []

        def held(index: int, k: mx.array, v: mx.array) -> Any:
            pair = zip(cache[index], (k, v), strict=True)
            new.append([mx.slice_update(old, x, length, (2,)) for old, x in pair])
            return *new[-1], mask

        logits = self._through(self.embed(tokens, length), held)  # pyright: ignore
        return logits, new

    def _grown(self, index: int, k: mx.array, v: mx.array) -> Any:
        keys, values = self.cache[index]
        place, end = slice(self.length, self.length + 1), self.length + 1
        keys[:, :, place], values[:, :, place] = k, v
        return keys[:, :, :end], values[:, :, :end], None

    def _through(self, x: mx.array, held: Callable[..., Any]) -> mx.array:
        for index, layer in enumerate(self.layers):
            own, cross = layer["own"], layer["cross"]
            first, second, third = layer["added"]
            q, k, v = own(x)
            x = first(x, own.attended(q, *held(index, k, v)))
            x = second(x, cross.attended(cross.queries(x), *layer["memory"]))
            x = third(x, layer["mlp"](x))
        return self.head(x[:, 0])
