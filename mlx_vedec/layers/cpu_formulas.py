"""Activations, attention and log-probabilities as a CPU computes them, of sums and products.

On x86 and on Arm outside macOS, MLX takes 12 ns for each `exp` and 26 for each `erf`, number by
number, but 0.2 for sums and products, which compilers vectorize.

These are chosen by the default device, for float32 and for arrays large enough to gain; on a GPU,
in training, and in `cpu.plain()` everything is MLX's own. So are derivatives (of `mx.grad`, not of
`mx.jvp`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx

from .cpu import Function, in_pieces, on_cpu

SMALL = 1 << 13  # numbers up to which one slow operation is as fast as many quick ones


def _gains(x: mx.array, numbers: int) -> bool:
    """Whether formulas of sums and products are faster than MLX's own operations."""
    return numbers >= SMALL and x.dtype == mx.float32 and on_cpu() and sys.platform != "darwin"


def activate(name: str, own: Function, x: mx.array) -> mx.array:
    """An activation by its name in Hugging Face's configs; own -- the same, of MLX's operations."""
    formula = FORMULAS.get(name)
    return own(x) if formula is None or not _gains(x, x.size) else _alike(formula, own)(x)


def attend(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *,
    scale: float,
    mask: mx.array | str | None,
) -> mx.array:
    """Attention of queries (B, H, L, Dh) to keys and values (B, H, T, Dh): `mx.fast`'s, or ours.

    mask -- as `mx.fast.scaled_dot_product_attention` takes it
    """

    def own(q: mx.array, k: mx.array, v: mx.array, *masks: mx.array) -> mx.array:
        given = masks[0] if masks else mask
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=given)

    numbers = queries.shape[0] * queries.shape[1] * queries.shape[2] * keys.shape[2]
    grouped = queries.shape[:2] != keys.shape[:2]
    if isinstance(mask, str) or grouped or not _gains(queries, numbers):
        return own(queries, keys, values)
    masks = () if mask is None else (mask,)
    return _alike(lambda *arrays: _attend(scale, *arrays), own)(queries, keys, values, *masks)


def _attend(
    scale: float, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None = None
) -> mx.array:
    """Attention in pieces: some images, some heads of one, or some queries of a head.

    Few large products are made, as callers of OpenBLAS wait for each other. Weights are powers
    of 2, divided by their sum at the end, when there are fewer numbers.
    """
    keys, values = mx.contiguous(keys).swapaxes(-1, -2), mx.contiguous(values)
    added = None if mask is None else _exponents(mask)
    total = keys.shape[-1]
    ones = mx.ones((total, 1))  # a product with them is quicker than MLX's sum

    def attended(block: mx.array, images: slice, heads: slice, places: slice) -> mx.array:
        scores = block @ keys[images, heads]
        if added is None:
            weights = _powers(scores)
        else:
            scores = scores + _part(_part(_part(added, 0, images), 1, heads), 2, places)
            weights = exp2(scores - scores.max(axis=-1, keepdims=True))
        return (weights @ values[images, heads]) / (weights @ ones)

    return _cut_up(attended, total, queries * (scale * math.log2(math.e)))


def _powers(scores: mx.array) -> mx.array:
    """`exp2` of scores (…, T) up to a constant for each row, in fewer operations.

    What is taken from a row, its largest score rounded up, is a whole number, so that taking it
    and rounding are one sum. The polynomial is `EXP2`'s divided by its last coefficient. Scores
    are below 2²², as those that a mask has made less need not be.
    """
    top = mx.ceil(scores.max(axis=-1, keepdims=True))
    rounding = ROUNDING - top
    scores = mx.maximum(scores, top - 126.0)
    rounded = scores + rounding
    return _scaled(mx.square(_polynomial(MONIC, scores - (rounded - rounding))), rounded)


def _cut_up(
    function: Callable[..., mx.array], total: int, block: mx.array, *cut: slice
) -> mx.array:
    """What a function makes of pieces of (B, H, L, Dh), whose places along B, H and L it is told.

    Outside `_attend`: a function in it that calls itself would keep its arrays alive.
    """
    axis = len(cut)
    if axis == 3:
        return function(block, *cut)
    numbers = math.prod(block.shape[:3]) // block.shape[axis] * total
    return in_pieces(
        lambda x, i: _cut_up(function, total, x, *cut, i), block, axis=axis, numbers=numbers
    )


def _exponents(mask: mx.array) -> mx.array:
    """What a mask adds to scores that are powers of 2, in four dimensions."""
    mask = mask.reshape(*[1] * (4 - mask.ndim), *mask.shape)
    if mask.dtype == mx.bool_:
        return mx.where(mask, 0.0, -1e30)
    return mx.maximum(mask * math.log2(math.e), -1e30)


def _part(x: mx.array, axis: int, place: slice) -> mx.array:
    """Places along an axis, unless all are one."""
    return x if x.shape[axis] == 1 else x[(slice(None),) * axis + (place,)]


def log_sum_exp(x: mx.array) -> mx.array:
    """`mx.logsumexp` over the last axis, which is kept as 1."""
    numbers, found = x.shape[-1], partial(mx.logsumexp, axis=-1, keepdims=True)
    return _alike(_log_sum_exp, found)(x) if numbers and _gains(x, x.size) else found(x)


def _log_sum_exp(x: mx.array) -> mx.array:
    def of_rows(rows: mx.array, _: slice) -> mx.array:
        top = mx.maximum(rows.max(axis=-1, keepdims=True), mx.finfo(mx.float32).min)
        powers = exp2((rows - top) * math.log2(math.e))
        return top + mx.log(powers.sum(axis=-1, keepdims=True))

    rows = x.reshape(-1, x.shape[-1])
    found = in_pieces(of_rows, rows, axis=0, numbers=x.shape[-1])
    return found.reshape(*x.shape[:-1], 1)


def exp2(x: mx.array) -> mx.array:
    """2 to the power of float32 numbers up to 126, with a relative error below 4e-7.

    x is a whole number, which is an exponent, and a rest between -1/2 and 1/2, whose half is the
    variable of a polynomial, squared. Adding `ROUNDING` rounds x to the whole number, in the
    lowest bits. Below -126 it is 2⁻¹²⁶.
    """
    x = mx.maximum(x, -126.0)
    rounded = x + ROUNDING
    return _scaled(mx.square(_polynomial(EXP2, x - (rounded - ROUNDING))), rounded)


def _scaled(x: mx.array, rounded: mx.array) -> mx.array:
    """x times 2 to the power of the whole number in the lowest bits of `rounded`."""
    return (x.view(mx.int32) + (rounded.view(mx.int32) << 23)).view(mx.float32)


def gelu(x: mx.array) -> mx.array:
    """Exact GELU with an absolute error below 1e-6.

    max(x, 0) - |x| / (2 p(|x|)³²), since erfc has the shape of a negative power of a polynomial
    (Abramowitz and Stegun, 7.1.28); the coefficients are fitted to |x|·erfc(|x|/√2)/2.
    """
    size = mx.abs(x)
    power = _polynomial(GELU, size)
    for _ in range(5):
        power = mx.square(power)
    return mx.maximum(x, 0.0) - size / power


def sigmoid(x: mx.array) -> mx.array:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp2(mx.minimum(x * -math.log2(math.e), 126.0)))


def gelu_tanh(x: mx.array) -> mx.array:
    """GELU's tanh approximation, in which (1 + tanh u) / 2 is sigmoid(2 u)."""
    return x * sigmoid(math.sqrt(8 / math.pi) * x * (1 + 0.044715 * mx.square(x)))


FORMULAS: dict[str, Function] = {
    **dict.fromkeys(("gelu", "gelu_python"), gelu),
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate"), gelu_tanh),
    **dict.fromkeys(("silu", "swish"), lambda x: x * sigmoid(x)),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "sigmoid": sigmoid,
}
ROUNDING = 1.5 * 2**23
EXP2 = (0.9999999883, 0.3465727818, 0.06005695537, 0.006951011759, 0.0006003812346)
MONIC = (1665.607910, 577.2543945, 100.0313416, 11.57766056, 1.0)
_GELU = (1.0, 0.02493349616, 0.01025834876, 0.001390520432, -8.002942651e-05, 1.986555587e-05)
GELU = tuple(2 ** (1 / 32) * coefficient for coefficient in _GELU)  # whose 32nd power is doubled


def _polynomial(coefficients: tuple[float, ...], x: mx.array) -> mx.array:
    """The sum of coefficient · xⁿ, n = 0, 1, …"""
    *lower, highest = coefficients
    found = x if highest == 1 else highest * x
    for coefficient in lower[:0:-1]:
        found = (found + coefficient) * x
    return found + lower[0]


def _alike(function: Callable[..., mx.array], own: Callable[..., mx.array]) -> Any:
    """A function with the derivatives of another, which computes the same."""
    found = mx.custom_function(function)
    found.vjp(lambda primals, cotangent, _: _vjp(own, primals, cotangent))
    return found


def _vjp(own: Callable[..., mx.array], primals: Any, cotangent: mx.array) -> Any:
    found = mx.vjp(own, _listed(primals), [cotangent])[1]
    return tuple(found) if isinstance(primals, (list, tuple)) else found[0]


def _listed(arrays: Any) -> list[mx.array]:
    return [*arrays] if isinstance(arrays, (list, tuple)) else [arrays]
