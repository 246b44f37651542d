"""Dropout: what is zeroed, and that the mean stays."""

import mlx.core as mx
import pytest

from mlx_vedec.layers.dropout import Dropout, DropPath


@pytest.mark.parametrize("kind", [Dropout, DropPath])
def test_a_part_is_zeroed_and_the_mean_stays(kind):
    mx.random.seed(0)
    layer, x = kind(0.25), mx.ones((20_000, 2))
    out = layer(x)
    assert sorted({*out.flatten().tolist()}) == pytest.approx([0, 1 / 0.75])
    assert (out == 0).mean().item() == pytest.approx(0.25, abs=0.02)
    rows = (out[:, 0] == out[:, 1]).all().item()
    assert rows == (kind is DropPath)  # which drops whole rows
    layer.eval()
    assert mx.array_equal(layer(x), x)
