"""I-JEPA and DPT, twins of ViT, against transformers."""

import pytest

from mlx_vedec import VisionEncoderDecoderConfig
from mlx_vedec.encoders.vit import DPTConfig, IJepaConfig
from mlx_vedec.errors import ConfigError, ImageError
from tests.parity.encoder_checks import (
    TROCR,
    check_defaults,
    check_dropout,
    check_halves,
    check_names,
    check_new_weights,
    check_saved,
    check_sizes,
    check_traces,
)
from tests.parity.reference import check_pair, image, pair

STEMS = ["IJepa", "DPT"]
ODD = {
    "hidden_size": 30,
    "num_attention_heads": 5,
    "num_hidden_layers": 1,
    "intermediate_size": 28,
    "hidden_act": "relu",
    "layer_norm_eps": 1e-3,
    "num_channels": 1,
    "image_size": 18,
    "patch_size": 8,
    "qkv_bias": False,
}
NOT_SQUARE = {"image_size": [8, 24], "patch_size": [4, 3]}
ROWS = {
    "ijepa": ("IJepa", {}),
    "ijepa-odd": ("IJepa", {**ODD, **NOT_SQUARE}),
    "dpt": ("DPT", {}),
    "dpt-odd": ("DPT", {**ODD, "is_hybrid": False, "readout_type": "add"}),
}


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, ROWS[row], TROCR)


@pytest.mark.parametrize("stem", STEMS)
def test_hidden_states_and_attentions(tmp_path, stem):
    check_traces(tmp_path, (stem, {}))


@pytest.mark.parametrize(
    ("stem", "asked"), [("IJepa", {"interpolate_pos_encoding": True}), ("DPT", {})]
)
def test_other_sizes(tmp_path, stem, asked):
    """DPT resizes its positions without being asked, and bilinearly."""
    check_sizes(tmp_path, (stem, {}), [(0, 0), (3, 2), (8, -4), (-7, 16), (-12, -12)], **asked)


def test_other_sizes_have_to_be_asked_for(tmp_path):
    theirs, ours = pair(tmp_path, ("IJepa", {}))
    with pytest.raises(ImageError, match="interpolate_pos_encoding=True"):
        ours.encode(image(theirs, extra=(4, 0))[1])


@pytest.mark.parametrize("row", ROWS)
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, ROWS[row])


@pytest.mark.parametrize("stem", STEMS)
def test_names_in_memory_are_read(tmp_path, stem):
    check_names(tmp_path, (stem, {}), lambda model: model.state_dict())


@pytest.mark.parametrize("stem", STEMS)
def test_half_types_stay(tmp_path, stem):
    check_halves(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
def test_new_weights_and_defaults(tmp_path, stem):
    check_new_weights(tmp_path, (stem, {"hidden_size": 96, "initializer_range": 0.03}))
    check_defaults(stem)


@pytest.mark.parametrize("stem", STEMS)
def test_training(stem):
    check_dropout((stem, {}), "hidden_dropout_prob", "attention_probs_dropout_prob")


@pytest.mark.parametrize("config", [IJepaConfig, DPTConfig])
@pytest.mark.parametrize("changes", [{"num_attention_heads": 5}, {"patch_size": 400}])
def test_bad_configs_are_refused(config, changes):
    with pytest.raises(ConfigError, match="expected|does not fit"):
        config(**changes).check()


@pytest.mark.parametrize(
    "changes",
    [
        {"is_hybrid": True, "backbone_config": {"model_type": "bit"}},
        {"backbone_config": {"model_type": "dinov2"}},
        {"backbone": "facebook/dinov2-base"},
    ],
)
def test_another_backbone_is_refused(changes):
    parts = {"encoder": {"model_type": "dpt", **changes}, "decoder": {"model_type": "bert"}}
    with pytest.raises(ConfigError, match=r"is True|'dinov2'|dinov2-base") as caught:
        VisionEncoderDecoderConfig.from_dict(parts)
    assert "a backbone of its own" in str(caught.value)
    assert "transformers reads it" in str(caught.value)
