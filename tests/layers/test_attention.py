import mlx.core as mx
import pytest

from mlx_vedec.layers.attention import Attention, causal_mask


def attention(**kwargs):
    mx.random.seed(1)
    layer = Attention(24, 3, **kwargs)
    layer.eval()
    return layer


@pytest.mark.parametrize("mask", [None, "causal", "boolean", "additive"])
def test_kept_weights_belong_to_the_output(mask):
    """The path that keeps its weights computes what the fused one does."""
    layer, x = attention(), mx.random.normal((2, 5, 24))
    masks = {
        None: None,
        "causal": "causal",
        "boolean": causal_mask(5, 0) & mx.array([True, True, False, True, True]),
        "additive": mx.random.normal((3, 5, 5)),
    }
    keep = []
    explicit = layer(x, mask=masks[mask], keep=keep)
    assert mx.allclose(layer(x, mask=masks[mask]), explicit, atol=1e-5)
    assert keep[0].shape == (2, 3, 5, 5)
    assert mx.allclose(keep[0].sum(-1), mx.ones((2, 3, 5)), atol=1e-5)
    if mask in ("causal", "boolean"):
        assert keep[0][..., 0, 1:].max().item() == 0


def test_rows_of_one_image_share_its_memory():
    """Queries of K rows per image, folded together, attend as if the memory were repeated."""
    layer = attention(memory_dims=10)
    features, x = mx.random.normal((2, 7, 10)), mx.random.normal((6, 4, 24))
    keep, kept = [], []
    folded = layer(x, layer.remember(features), keep=keep)
    repeated = layer(x, layer.remember(mx.repeat(features, 3, axis=0)), keep=kept)
    assert mx.allclose(folded, repeated, atol=1e-5)
    assert mx.allclose(keep[0], kept[0], atol=1e-6)
    assert mx.allclose(layer(x, layer.remember(features)), folded, atol=1e-5)


def test_dropout_of_attention_in_training_alone():
    layer, x = attention(dropout=0.5), mx.random.normal((1, 5, 24))
    still = layer(x)
    assert mx.array_equal(layer(x), still)
    layer.train()
    assert not mx.allclose(layer(x), still, atol=1e-3)
