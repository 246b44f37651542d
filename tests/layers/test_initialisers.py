import mlx.core as mx

from mlx_vedec.layers.attention import Attention
from mlx_vedec.layers.initialisers import initialise


def test_initialise():
    mx.random.seed(1)
    layer = Attention(24, 3)
    initialise(layer, 0.05)
    assert abs(layer.q_proj.weight.square().mean().item() ** 0.5 - 0.05) < 0.005
    assert not layer.q_proj.bias.any()
