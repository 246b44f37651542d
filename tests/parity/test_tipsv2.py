"""TIPSv2's image encoder, a twin of DINOv2's with registers, against transformers."""

import mlx.core as mx
import pytest

from mlx_vedec.encoders.dinov2 import Tipsv2VisionConfig, Tipsv2VisionModel
from mlx_vedec.errors import ConfigError
from tests.parity.encoder_checks import (
    TROCR,
    check_defaults,
    check_drop_path,
    check_dropout,
    check_halves,
    check_new_weights,
    check_rows,
    check_saved,
    check_sizes,
    check_traces,
)
from tests.parity.reference import check_pair

PLAIN = ("Tipsv2Vision", {})
GATED = ("Tipsv2Vision", {"use_swiglu_ffn": True, "num_register_tokens": 3, "mlp_ratio": 2.6})
ODD = (
    "Tipsv2Vision",
    {
        "hidden_size": 30,
        "num_attention_heads": 5,
        "num_hidden_layers": 1,
        "mlp_ratio": 1.5,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-3,
        "layerscale_value": 0.5,
        "num_channels": 1,
        "image_size": 18,
        "patch_size": 8,
        "qkv_bias": False,
    },
)
ROWS = [PLAIN, GATED, ODD]


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, row, TROCR)


def test_hidden_states_and_attentions(tmp_path):
    check_traces(tmp_path, PLAIN)


def test_images_of_any_size(tmp_path):
    check_sizes(tmp_path, GATED, [(0, 0), (3, 2), (8, -4), (-8, 12), (12, 12)])


@pytest.mark.parametrize("row", ROWS)
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, row)


def test_the_vision_half_of_a_whole_model_is_read(tmp_path):
    """Its tensors begin with `vision_encoder.`, and those of the text are left out."""
    config = Tipsv2VisionConfig(
        hidden_size=24, num_attention_heads=3, num_hidden_layers=1, image_size=16, patch_size=4
    )
    model = Tipsv2VisionModel(config)
    model.eval()
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    stored = {f"vision_encoder.{name}": x for name, x in mx.load(str(path)).items()}
    mx.save_safetensors(str(path), {**stored, "text_encoder.ln_final.weight": mx.zeros((2,))})
    y = mx.random.normal((1, 16, 16, 3))
    again = Tipsv2VisionModel.from_pretrained(tmp_path)
    assert mx.array_equal(again(y)[0], model(y)[0])


def test_every_name_is_used():
    check_rows([PLAIN, GATED])


@pytest.mark.parametrize("row", [PLAIN, GATED])
def test_half_types_stay(tmp_path, row):
    check_halves(tmp_path, row)


def test_new_weights(tmp_path):
    check_new_weights(tmp_path, ("Tipsv2Vision", {"hidden_size": 96, "initializer_range": 0.03}))
    check_defaults("Tipsv2Vision")


def test_training():
    check_dropout(PLAIN, "hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    check_drop_path(PLAIN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"patch_size": 500}, "does not fit"),
        ({"num_register_tokens": -1}, "expected 0 or more"),
        ({"mlp_ratio": 0.001}, "mlp_ratio"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Tipsv2VisionConfig(**changes).check()
