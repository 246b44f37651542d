"""Dropout: what is zeroed, and that the mean stays."""

import mlx.core as mx
import pytest

from mlx_vedec.layers.dropout import Dropout, DropPath, Share, drawing_rows


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


@pytest.mark.parametrize("kind", [Dropout, DropPath])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("world", [2, 4, 3])
def test_processes_draw_for_their_rows_what_one_draws(kind, parts, world):
    """parts -- rows of the layer's input that each image has, as windows do."""
    layer, images = kind(0.5), 6
    x = mx.ones((images, parts, 8, 8))

    def drawn(rank, world):
        own = x[rank::world]
        filled = mx.concatenate([own, x[: -(-images // world) - own.shape[0]]])
        mx.random.seed(7)
        with drawing_rows(Share(rank, world, filled.shape[0])):
            first, second = (layer(filled.reshape(-1, 8, 8)) for _ in range(2))
        assert kind is DropPath or not mx.array_equal(first, second)
        return first.reshape(-1, parts, 8, 8)[: own.shape[0]]

    whole = drawn(0, 1)
    rows = [[row.tolist() for row in whole[number]] for number in range(images)]
    assert len({str(row) for image in rows for row in image}) > 1, "rows differ"
    for rank in range(world):
        assert mx.array_equal(drawn(rank, world), whole[rank::world])


def test_a_part_is_zeroed_row_by_row():
    mx.random.seed(0)
    with drawing_rows(Share(1, 2, 200)):
        out = Dropout(0.25)(mx.ones((200, 500)))
    assert (out == 0).mean().item() == pytest.approx(0.25, abs=0.01)
    assert (out == 0).mean(axis=0).std().item() < 0.05, "no column is the same in all rows"
