"""The image halves of CLIP, Chinese-CLIP and SigLIP against transformers."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.checkpoints import weights
from mlx_vedec.encoders import ENCODERS
from mlx_vedec.encoders.clip import (
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from mlx_vedec.errors import ConfigError, ImageError
from tests.parity.encoder_checks import (
    TROCR,
    built,
    check_defaults,
    check_dropout,
    check_halves,
    check_names,
    check_new_weights,
    check_rows,
    check_saved,
    check_sizes,
    check_traces,
)
from tests.parity.reference import check_pair, close, pair, torch

FAMILIES = ["CLIPVision", "SiglipVision"]
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
}
ROWS = {
    "clip": ("CLIPVision", {}),
    "clip-odd": ("CLIPVision", ODD),
    "clip-gelu": (
        "CLIPVision",
        {"hidden_act": "gelu", "hidden_size": 32, "num_attention_heads": 1},
    ),
    "chinese-clip": ("ChineseCLIPVision", {}),
    "chinese-clip-odd": ("ChineseCLIPVision", {**ODD, "initializer_factor": 0.5}),
    "siglip": ("SiglipVision", {}),
    "siglip-odd": ("SiglipVision", ODD),
    "siglip-headless": ("SiglipVision", {"vision_use_head": False, "hidden_act": "gelu_new"}),
}


def old_names(model) -> dict:
    """Tensors under the names of transformers 4, with the buffer of its first versions."""
    tensors = {
        name.replace("encoder.", "encoder.vision_model.", 1) if name[:8] == "encoder." else name: x
        for name, x in model.state_dict().items()
    }
    return {**tensors, "encoder.vision_model.embeddings.position_ids": torch.arange(16)[None]}


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, ROWS[row], TROCR)


@pytest.mark.parametrize("stem", FAMILIES)
def test_hidden_states_and_attentions(tmp_path, stem):
    check_traces(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", FAMILIES)
@pytest.mark.parametrize("scale", [1, 3])
def test_interpolated_positions(tmp_path, stem, scale):
    sizes = [(0, 0), (3, 2), (8, -4), (-7, 16), (-12, -12)]
    check_sizes(tmp_path, (stem, {}), sizes, scale, interpolate_pos_encoding=True)


@pytest.mark.parametrize("stem", FAMILIES)
def test_other_sizes_have_to_be_asked_for(tmp_path, stem):
    _, ours = pair(tmp_path, (stem, {}))
    with pytest.raises(ImageError, match="interpolate_pos_encoding=True"):
        ours.encode(mx.zeros((1, 16, 20, 3)))


@pytest.mark.parametrize("stem", FAMILIES)
@pytest.mark.parametrize("extra", [(0, 0), (12, 4)])
def test_images_that_are_not_square(tmp_path, stem, extra):
    """transformers 5.23 builds no CLIP or SigLIP for two image sizes or patch sizes, and takes
    every grid of positions for a square one. Here its model is square, ours is 8 by 12, and the
    table of each is the other's, resized by torch from 2 by 3 where the image is larger."""
    theirs, _ = built((stem, {"image_size": 12, "patch_size": 4}))
    config = {**theirs.config.to_dict(), "image_size": [8, 12], "patch_size": [4, 4]}
    family = ENCODERS[theirs.config.model_type]
    ours = family(family.config_class.from_dict(config))
    prefix = ours.prefix_tokens
    torch.manual_seed(0)
    table = torch.randn(6 + prefix, ours.config.hidden_size)
    embeddings = theirs.embeddings
    with torch.no_grad():
        embeddings.position_embedding.weight.normal_()
    tensors = {name: mx.array(tensor.numpy()) for name, tensor in theirs.state_dict().items()}
    tensors["embeddings.position_embedding.weight"] = mx.array(table.numpy())
    weights.load(ours, tensors, ours.renames, "memory")

    def positions(_, height, width):
        patches = torch.nn.functional.interpolate(
            table[None, prefix:].reshape(1, 2, 3, -1).permute(0, 3, 1, 2),
            size=(height // 4, width // 4),
            mode="bicubic",
        )
        return torch.cat([table[None, :prefix], patches.flatten(2).transpose(1, 2)], dim=1)

    embeddings.interpolate_pos_encoding = positions
    y = np.random.default_rng(0).normal(size=(2, 8 + extra[0], 12 + extra[1], 3))
    x = torch.from_numpy(y.astype(np.float32).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        expected = theirs.eval()(x, interpolate_pos_encoding=True).last_hidden_state
    out = ours.eval()(mx.array(y.astype(np.float32)), interpolate_pos_encoding=extra != (0, 0))
    close(out.last_hidden_state, expected)


@pytest.mark.parametrize("row", ["clip", "clip-odd", "chinese-clip", "siglip", "siglip-headless"])
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, ROWS[row])


@pytest.mark.parametrize("stem", [*FAMILIES, "ChineseCLIPVision"])
def test_old_names_are_read(tmp_path, stem):
    check_names(tmp_path, (stem, {}), old_names)


@pytest.mark.parametrize("stem", FAMILIES)
def test_every_name_is_used(stem):
    check_rows([(stem, {})])


@pytest.mark.parametrize("stem", FAMILIES)
def test_half_types_stay(tmp_path, stem):
    check_halves(tmp_path, (stem, {}))


def test_new_weights_of_clip(tmp_path):
    changes = {"hidden_size": 96, "initializer_range": 0.03, "initializer_factor": 2.0}
    check_new_weights(tmp_path, ("CLIPVision", changes))
    check_defaults("CLIPVision")
    check_defaults("ChineseCLIPVision")


def test_new_weights_of_siglip(tmp_path):
    check_new_weights(tmp_path, ("SiglipVision", {"hidden_size": 96, "patch_size": 8}))
    check_defaults("SiglipVision")
    _, ours = built(("SiglipVision", {}))
    weight = ours.layers[0].mlp.fc1.weight
    assert 0.9 < mx.abs(weight).max().item() / (6 / (24 + 40)) ** 0.5 <= 1  # uniform


@pytest.mark.parametrize("stem", FAMILIES)
def test_training(stem):
    check_dropout((stem, {}), "attention_dropout")


@pytest.mark.parametrize("config", [CLIPVisionConfig, SiglipVisionConfig])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"patch_size": 300}, "does not fit"),
        ({"attention_dropout": 1.0}, "attention_dropout"),
        ({"hidden_act": "sine"}, "activation 'sine' is unknown"),
    ],
)
def test_bad_configs_are_refused(config, changes, message):
    model = {CLIPVisionConfig: CLIPVisionModel, SiglipVisionConfig: SiglipVisionModel}[config]
    with pytest.raises(ConfigError, match=message):
        model(config(**changes))
