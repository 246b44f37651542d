"""What is computed otherwise on a CPU has the same values, in order, and the same derivatives."""

import gc
import math
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.layers import cpu, cpu_formulas as formulas
from mlx_vedec.layers.attention import Attention
from mlx_vedec.layers.mlp import ACTIVATIONS, MLP, Activation
from tests.support.tiny import pixels, tiny_model

MASKS = {
    "none": None,
    "rows": mx.arange(90) < mx.array([40, 90]).reshape(2, 1, 1, 1),
    "bias": mx.random.normal((3, 70, 90), key=mx.random.key(4)),
    "causal": "causal",
}


class Threads(SimpleNamespace):
    """An OpenBLAS that knows its number of threads."""

    def openblas_get_num_threads(self):
        return self.count

    def openblas_set_num_threads(self, count):
        self.count = count


@pytest.fixture(params=[1, 3])
def cores(request, monkeypatch):
    """Pieces of a few thousand numbers, on one core or several."""
    monkeypatch.setattr(cpu, "cores", lambda: request.param)
    monkeypatch.setattr(cpu, "PIECE", 5000)
    monkeypatch.setattr(cpu, "SHARE", 1000)
    monkeypatch.setattr(cpu, "PRODUCTS", 1000)
    return request.param


def values(*shape, seed=0, scale=1.0):
    return mx.random.normal(shape, scale=scale, key=mx.random.key(seed))


@pytest.mark.parametrize("rows, cores, shares", [(1, 4, 1), (2, 4, 2), (6, 2, 2), (13, 3, 3)])
def test_rows_are_shared_out_and_come_back_in_order(monkeypatch, rows, cores, shares):
    monkeypatch.setattr(cpu, "cores", lambda: cores)
    seen = []

    def double(x):
        seen.append(len(x))
        return 2 * x

    x = mx.arange(rows * 3).reshape(rows, 3)
    assert mx.array_equal(cpu.by_rows(double, x), 2 * x)
    assert sum(seen) == rows and len(seen) == shares


@pytest.mark.parametrize("why", ["gpu", "plain", "uneven", "threads of OpenBLAS"])
def test_what_is_not_shared_stays_whole(monkeypatch, why):
    """On a GPU, for an exported function, and where one core would work on after the other."""
    monkeypatch.setattr(cpu, "cores", lambda: 2)
    monkeypatch.setattr(cpu, "_openblas", lambda: Threads(count=1 + (why == "threads of OpenBLAS")))
    if why == "gpu":
        monkeypatch.setattr(cpu, "on_cpu", lambda: False)
    seen = []

    def keep(rows):
        seen.append(len(rows))
        return rows

    with cpu.plain() if why == "plain" else nullcontext():
        cpu.by_rows(keep, mx.zeros((3 if why == "uneven" else 4, 5)))
    assert len(seen) == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_pieces_are_small_and_come_back_in_order(cores, axis):
    x, sizes = values(50, 60), []

    def double(piece, place):
        sizes.append(piece.shape[axis])
        assert mx.array_equal(piece, x[place] if axis == 0 else x[:, place])
        return 2 * piece

    assert mx.array_equal(cpu.in_pieces(double, x, axis=axis, numbers=700), 2 * x)
    assert sum(sizes) == x.shape[axis]
    assert max(sizes) * 700 <= cpu.PIECE


def test_shares_are_not_shared_again(monkeypatch):
    monkeypatch.setattr(cpu, "cores", lambda: 2)
    monkeypatch.setattr(cpu, "PRODUCTS", 1)
    calls = []
    inner = lambda x: calls.append(len(x)) or x  # noqa: E731
    cpu.by_rows(lambda rows: cpu.by_tokens(inner, rows), values(4, 8))
    assert calls == [2, 2]
    with pytest.raises(ZeroDivisionError):
        cpu.by_rows(lambda rows: rows + 1 // 0, values(4, 8))
    cpu.by_tokens(inner, values(4, 8))
    assert calls == [2, 2, 2, 2]


def test_exp2_and_gelu_have_the_errors_that_they_say():
    x = np.linspace(-126, 126, 200_001).astype(np.float32)
    relative = np.array(formulas.exp2(mx.array(x))) / np.exp2(x.astype(np.float64)) - 1
    assert np.abs(relative).max() < 4e-7
    assert formulas.exp2(mx.array([-500.0, -math.inf])).tolist() == [2.0**-126] * 2
    scores = np.linspace(-7, 126.5, 200_001).astype(np.float32)  # rounded up, the last is 127
    powers = np.array(formulas._powers(mx.array(scores))).astype(np.float64)
    relative = powers / np.exp2(scores.astype(np.float64) - 127)
    above = scores > 127 - 126
    assert relative[above].max() / relative[above].min() - 1 < 8e-7
    assert powers[scores < 0].max() == powers.min() < 1e-30
    x = np.linspace(-12, 12, 200_001).astype(np.float32)
    exact = x.astype(np.float64) * [0.5 * math.erfc(-value / math.sqrt(2)) for value in x]
    assert np.abs(np.array(formulas.gelu(mx.array(x))) - exact).max() < 1e-6
    assert formulas.gelu(mx.array([1e30, -1e30])).tolist() == [mx.array(1e30).item(), 0]
    for function in (formulas.exp2, formulas.gelu, formulas.sigmoid):
        assert mx.isnan(function(mx.array([math.nan]))).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_large_activations_are_mlx_s_own_values(name):
    """In eval mode; in training, and in other types, bit by bit."""
    x = values(formulas.SMALL, scale=4.0)
    activation, own = Activation(name), ACTIVATIONS[name]
    assert mx.array_equal(activation(x), own(x))
    activation.eval()
    assert mx.allclose(activation(x), own(x), rtol=1e-5, atol=5e-6)
    half = x.astype(mx.float16)
    assert mx.array_equal(activation(half), own(half))
    direct, ours = (mx.grad(lambda x, f=f: f(x).sum())(x) for f in (own, activation))
    assert mx.array_equal(direct, ours)


@pytest.mark.parametrize("mask", MASKS)
def test_attention_in_pieces_is_attention(cores, mask):
    q, k, v = (
        values(2, 3, 70, 8, scale=9.0),
        values(2, 3, 90, 8, seed=1),
        values(2, 3, 90, 8, seed=2),
    )
    own = lambda *x: mx.fast.scaled_dot_product_attention(*x, scale=0.4, mask=MASKS[mask])  # noqa: E731
    ours = lambda *x: formulas.attend(*x, scale=0.4, mask=MASKS[mask])  # noqa: E731
    assert mx.allclose(ours(q, k, v), own(q, k, v), rtol=1e-4, atol=1e-5)
    assert mx.array_equal(mx.array_equal(ours(q, k, v), own(q, k, v)), mask == "causal")
    gradients = [
        mx.grad(lambda *x, f=f: f(*x).sum(), argnums=(0, 1, 2))(q, k, v) for f in (own, ours)
    ]
    assert all(mx.array_equal(a, b) for a, b in zip(*gradients, strict=True))


def test_log_sum_exp_is_mlx_s_own(cores):
    """Of scores that are left out, too, and of rows without any score."""
    x = values(3, 2, 7000, scale=9.0)
    x = mx.where(values(3, 2, 7000, seed=1) > 0, x, -math.inf)
    own = mx.logsumexp(x, axis=-1, keepdims=True)
    assert mx.allclose(formulas.log_sum_exp(x), own, rtol=1e-5, atol=5e-6)
    assert mx.array_equal(
        formulas.log_sum_exp(x[0, 0, :9]), mx.logsumexp(x[0, 0, :9], keepdims=True)
    )
    nothing = formulas.log_sum_exp(mx.full((2, formulas.SMALL), -math.inf))
    assert nothing.max() < -1e38


def test_a_row_that_attends_to_nothing_is_a_mean():
    """As in MLX's own attention with a boolean mask."""
    q, k = values(1, 2, 80, 8), values(1, 2, 80, 8, seed=1)
    found = formulas.attend(q, k, k, scale=1.0, mask=mx.zeros((80,), mx.bool_))
    assert mx.allclose(found, mx.broadcast_to(k.mean(axis=2, keepdims=True), k.shape), atol=1e-5)


def test_layers_hold_one_piece_at_a_time(cores):
    """The peak of memory is that of pieces, and the values are those of one."""
    mlp, attn = MLP(16, 1024, "gelu"), Attention(16, 4)
    mlp.eval()
    attn.eval()
    x = values(1, 600, 16)
    mx.eval(mlp.parameters(), attn.parameters(), x)
    for layer, whole in ((mlp, 600 * 1024 * 4), (attn, 4 * 600 * 600 * 4)):
        with cpu.plain():
            expected = layer(x)
        mx.eval(expected)
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        found = layer(x)
        mx.eval(found)
        assert mx.get_peak_memory() - before < whole / 2
        assert mx.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_encoder_reads_rows_by_themselves(monkeypatch):
    """In any thread; with gradients and traces in one piece, as before."""
    model, images = tiny_model(), pixels(6)
    whole = model.encoder(images, output_hidden_states=True).last_hidden_state
    monkeypatch.setattr(cpu, "cores", lambda: 3)
    found = [np.array(model.encode(images))]
    thread = threading.Thread(target=lambda: found.append(np.array(model.encode(images))))
    thread.start()
    thread.join()
    for features in found:
        np.testing.assert_allclose(features, np.array(whole), rtol=1e-4, atol=1e-5)
    gradient = mx.grad(lambda x: model.encode(x).sum())(images)
    assert mx.any(gradient != 0)


def test_openblas_has_one_thread_while_an_encoder_computes(monkeypatch):
    """And as many as before when the last of those who ask has ended, be it by an error."""
    blas = Threads(count=7)
    monkeypatch.setattr(cpu, "_openblas", lambda: blas)
    model, counts = tiny_model(), []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda x: counts.append(blas.count) or encode(x))
    model.features(pixels(2))
    assert counts == [1] and blas.count == 7
    with pytest.raises(ZeroDivisionError), cpu.one_blas_thread():
        with cpu.one_blas_thread():
            assert blas.count == 1
        assert blas.count == 1
        raise ZeroDivisionError
    assert blas.count == 7


def test_cores_are_those_that_may_be_used(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    for asked, expected in (("", 4), ("2", 2), ("3,1", 3), ("99", 4), ("0", 4), ("many", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert cpu.cores() == expected


def test_a_layer_s_keys_and_values_do_not_wait_for_the_garbage_collector(cores):
    """Many layers in one evaluation hold what one does, and not their keys and values."""
    attn = Attention(64, 2)
    attn.eval()
    x = values(1, 200, 64)
    mx.eval(attn.parameters(), x)

    def peak(layers):
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        found = x
        for _ in range(layers):
            found = attn(found)
        mx.eval(found)
        return mx.get_peak_memory() - before

    gc.collect()
    gc.disable()
    try:
        assert peak(40) - peak(4) < 10 * x.nbytes
    finally:
        gc.enable()
