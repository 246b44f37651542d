"""Layers with a low-rank change beside their weights: LoRA (arXiv:2106.09685), DoRA (2402.09353).

A layer with an adapter is the layer that it was, with more parameters: its path in the model, its
weights and what reads them stay. The change is computed in the type of what the layer gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..errors import OptionError
from .dropout import Dropout
from .packed import ADAPTER, weight_of, weight_shape


@dataclass(frozen=True)
class AdapterSettings:
    """How a LoRA layer is made: rank, scale, dropout.

    rank -- of the change. scale -- what the change is multiplied with. dropout -- of what the
    adapter reads, in training. dora -- whether it is DoRA, and so has the norms of the weight too.
    """

    rank: int
    scale: float
    dropout: float = 0.0
    dora: bool = False

    def shapes(self, layer: nn.Module) -> dict[str, tuple[int, ...]]:
        """The shapes of the arrays that the adapter adds to a layer, by name."""
        rows, columns = weight_shape(layer)
        table = isinstance(layer, nn.Embedding | nn.QuantizedEmbedding)
        inputs, outputs = (rows, columns) if table else (columns, rows)
        norms = ((outputs,),) if self.dora else ()
        return dict(zip(ADAPTER, ((inputs, self.rank), (self.rank, outputs), *norms), strict=False))


class Adapted(nn.Module):
    """Base of adapted layers: lora_a (inputs, r), lora_b (r, outputs), and DoRA's m (outputs,)."""

    settings: AdapterSettings
    lora_a: mx.array
    lora_b: mx.array
    m: mx.array
    lora_dropout: Dropout

    def change(self) -> mx.array:
        """What LoRA adds to the weight, in the weight's layout and in float32."""
        product = self.lora_a.astype(mx.float32) @ self.lora_b.astype(mx.float32)
        return self._turned(self.settings.scale * product)

    def merged(self) -> mx.array:
        """The weight that the layer and its adapter are together, in float32."""
        weight = weight_of(self) + self.change()
        return weight * self._spread(self.m / self._norm(weight)) if "m" in self else weight

    def magnitude(self) -> mx.array:
        """The norms (outputs,) of the changed weight, in float32."""
        return self._norm(weight_of(self) + self.change())

    def _low_rank(self, x: mx.array) -> mx.array:
        product = self.lora_dropout(x) @ self.lora_a.astype(x.dtype) @ self.lora_b.astype(x.dtype)
        return self.settings.scale * product

    def _ratio(self) -> mx.array:
        """DoRA's factor (outputs,); as in the paper's section 4.3, norms have no gradient."""
        return self.m.astype(mx.float32) / mx.stop_gradient(self.magnitude())

    def _scaled(self, base: mx.array, change: mx.array, bias: mx.array | None) -> mx.array:
        """What the layer gives, of its own output and the change; its own exactly at the start."""
        if "m" not in self:
            return base + change
        ratio = self._ratio()
        product = base if bias is None else base - bias
        less = (ratio - 1).astype(base.dtype)
        return base + less * product + ratio.astype(base.dtype) * change

    def _turned(self, product: mx.array) -> mx.array:
        raise NotImplementedError

    def _norm(self, weight: mx.array) -> mx.array:
        raise NotImplementedError

    def _spread(self, factors: mx.array) -> mx.array:
        raise NotImplementedError


class _Linear(Adapted):
    def __call__(self, x: mx.array) -> mx.array:
        """(…, inputs) to (…, outputs)."""
        return self._scaled(super().__call__(x), self._low_rank(x), self.get("bias"))

    def _turned(self, product: mx.array) -> mx.array:
        return product.T

    def _norm(self, weight: mx.array) -> mx.array:
        return mx.linalg.norm(weight, axis=1)

    def _spread(self, factors: mx.array) -> mx.array:
        return factors[:, None]


class _Table(Adapted):
    """A table is a linear layer whose input is one of its rows; as a head it is read backwards."""

    def __call__(self, tokens: mx.array) -> mx.array:
        """Tokens (…) to (…, D)."""
        base = super().__call__(tokens)
        change = self.lora_a[tokens].astype(base.dtype) @ self.lora_b.astype(base.dtype)
        return self._scaled(base, self.settings.scale * change, None)

    def as_linear(self, x: mx.array) -> mx.array:
        """(…, D) to scores of all rows (…, V)."""
        if "m" in self:
            x = x * self._ratio().astype(x.dtype)
        back = self.lora_dropout(x) @ self.lora_b.T.astype(x.dtype) @ self.lora_a.T.astype(x.dtype)
        return super().as_linear(x) + self.settings.scale * back  # pyright: ignore

    def _turned(self, product: mx.array) -> mx.array:
        return product

    def _norm(self, weight: mx.array) -> mx.array:
        return mx.linalg.norm(weight, axis=0)

    def _spread(self, factors: mx.array) -> mx.array:
        return factors


class AdaptedLinear(_Linear, nn.Linear):
    """`nn.Linear` with an adapter."""


class AdaptedQuantizedLinear(_Linear, nn.QuantizedLinear):
    """`nn.QuantizedLinear` with an adapter."""


class AdaptedEmbedding(_Table, nn.Embedding):
    """`nn.Embedding` with an adapter, as a tied head too."""


class AdaptedQuantizedEmbedding(_Table, nn.QuantizedEmbedding):
    """`nn.QuantizedEmbedding` with an adapter, as a tied head too."""


CLASSES: dict[type[nn.Module], type[Adapted]] = {
    nn.Linear: AdaptedLinear,
    nn.QuantizedLinear: AdaptedQuantizedLinear,
    nn.Embedding: AdaptedEmbedding,
    nn.QuantizedEmbedding: AdaptedQuantizedEmbedding,
}


def adapted(layer: nn.Module, settings: AdapterSettings) -> Adapted:
    """The layer with a new adapter, float32, which changes nothing yet."""
    new: Any = _as(layer, CLASSES[type(layer)])
    shapes = settings.shapes(layer)
    # the bound of a linear layer's weights; a table's input is one number, not `inputs` of them
    bound = 1.0 if isinstance(new, _Table) else 1 / math.sqrt(shapes["lora_a"][0])
    new.settings, new.lora_dropout = settings, Dropout(settings.dropout)
    new.lora_a = mx.random.uniform(-bound, bound, shapes["lora_a"])
    new.lora_b = mx.zeros(shapes["lora_b"])
    if settings.dora:
        new.m = new.magnitude()
    return new


def bare(layer: Adapted) -> Any:
    """The layer without its adapter."""
    new = _as(layer, next(plain for plain, ours in CLASSES.items() if type(layer) is ours))
    for name in (*ADAPTER, "lora_dropout"):
        dict.pop(new, name, None)
    vars(new).pop("settings")
    return new


def _as(layer: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """A layer of another class with the parameters and settings of this one."""
    new = kind.__new__(kind)
    nn.Module.__init__(new)
    vars(new).update({**vars(layer), "_no_grad": {*layer._no_grad}})
    dict.update(new, layer)
    return new


def adapted_layers(model: nn.Module) -> dict[str, Adapted]:
    """The layers of a model that have adapters, by path."""
    found = {path: layer for path, layer in model.named_modules() if isinstance(layer, Adapted)}
    return dict(sorted(found.items()))


def check_no_adapters(model: nn.Module, then: str) -> None:
    """Raise `OptionError` for a model with adapters, which have to go before what happens then."""
    if any(isinstance(module, Adapted) for module in model.modules()):
        raise OptionError(f"the model has adapters; fuse them, or remove_adapters, before {then}")
