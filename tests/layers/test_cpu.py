"""Rows that the cores of a CPU share are the same, and come back in order."""

import threading

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.layers import cpu
from tests.support.tiny import pixels, tiny_model


@pytest.mark.parametrize("rows, cores", [(1, 4), (2, 4), (5, 2), (7, 3), (3, 1)])
def test_rows_are_shared_out_and_come_back_in_order(monkeypatch, rows, cores):
    monkeypatch.setattr(cpu, "cores", lambda: cores)
    seen = []

    def double(x):
        seen.append(len(x))
        return 2 * x

    x = mx.arange(rows * 3).reshape(rows, 3)
    assert mx.array_equal(cpu.by_rows(double, x), 2 * x)
    assert sum(seen) == rows and len(seen) == (min(rows, cores) if cores > 1 else 1)


def test_an_encoder_reads_rows_by_themselves(monkeypatch):
    """In any thread; with gradients and traces in one piece, as before."""
    model, images = tiny_model(), pixels(5)
    whole = model.encoder(images, output_hidden_states=True).last_hidden_state
    monkeypatch.setattr(cpu, "cores", lambda: 3)
    found = [np.array(model.encode(images))]
    thread = threading.Thread(target=lambda: found.append(np.array(model.encode(images))))
    thread.start()
    thread.join()
    for features in found:
        np.testing.assert_allclose(features, np.array(whole), rtol=1e-4, atol=1e-5)
    gradient = mx.grad(lambda x: model.encode(x).sum())(images)
    assert mx.abs(gradient).sum().item() > 0
