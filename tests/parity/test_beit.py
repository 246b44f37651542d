"""BEiT and data2vec-vision with TrOCR's decoder against transformers."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.encoders.beit import BeitConfig, BeitModel, Data2VecVisionConfig
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
)
from tests.parity.reference import (
    ENCODER_SIZES,
    check_pair,
    close,
    config_of,
    image,
    pair,
    torch,
    transformers,
)

STEMS = ("Beit", "Data2VecVision")
OWN, SHARED = {"use_relative_position_bias": True}, {"use_shared_relative_position_bias": True}
ABSOLUTE, NORM = {"use_absolute_position_embeddings": True}, {"use_mean_pooling": False}
EVERYTHING = {**OWN, **SHARED, **ABSOLUTE, **NORM, "use_mask_token": True}
CHANGES = {
    "default": {},
    "own-bias": OWN,
    "shared-bias": {**SHARED, **NORM, "hidden_act": "relu", "layer_norm_eps": 1e-2},
    "both-biases": {**OWN, **SHARED, "layer_scale_init_value": 0.0},
    "everything": {**EVERYTHING, "hidden_act": "quick_gelu", "num_hidden_layers": 3},
    "oblong": {"image_size": [8, 24], "patch_size": [4, 3], "num_channels": 1},
}
ROWS = {f"{stem}-{name}": (stem, CHANGES[name]) for stem in STEMS for name in CHANGES}


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, ROWS[row], TROCR)


@pytest.mark.parametrize("stem", STEMS)
def test_hidden_states_and_attentions(tmp_path, stem):
    theirs, ours = pair(tmp_path, (stem, EVERYTHING))
    theirs = type(theirs).from_pretrained(tmp_path, attn_implementation="eager")
    x, y = image(theirs)
    asked = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        expected = theirs.encoder(x, **asked)
    out = ours.encoder(y, **asked)
    for name in ("hidden_states", "attentions"):
        assert len(out[name]) == len(expected[name]) > 1
        for mine, other in zip(out[name], expected[name], strict=True):
            close(mine, other)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("asked", [True, False])
def test_images_of_other_sizes(tmp_path, stem, asked):
    """Positions and biases are resized, whether or not that is asked for; here from 4×4 patches."""
    extras = [(0, 0), (4, 12), (-4, -8), (15, 2), (1, 0)]
    check_sizes(tmp_path, (stem, EVERYTHING), extras, interpolate_pos_encoding=asked)


def plain_bias(self, window_size, *_, **__):
    """transformers' bias without the swap of axes: a table of (2h - 1, 2w - 1) offsets."""
    table = self.relative_position_bias_table
    old, new = (tuple(2 * side - 1 for side in grid) for grid in (self.window_size, window_size))
    offsets = table[:-3].reshape(1, *old, -1).permute(0, 3, 1, 2)
    if old != new:
        offsets = torch.nn.functional.interpolate(offsets, size=new, mode="bilinear")
    table = torch.cat([offsets.flatten(2)[0].T, table[-3:]])
    return table[self.generate_relative_position_index(window_size)].permute(2, 0, 1)[None]


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("changes", [OWN, {**OWN, **SHARED}])
def test_a_bias_that_is_not_square(tmp_path, monkeypatch, stem, changes):
    """transformers reads the table of a config that is not square with its axes swapped, and
    resamples it even for the configured size; ours gathers, as the architecture does."""
    theirs, ours = pair(tmp_path, (stem, {**changes, "image_size": [12, 20]}))
    x, y = image(theirs)
    swapped = theirs.encoder(x).last_hidden_state
    kind = next(m for m in theirs.modules() if type(m).__name__.endswith("RelativePositionBias"))
    monkeypatch.setattr(type(kind), "forward", plain_bias)
    gathered = theirs.encoder(x).last_hidden_state
    assert (gathered - swapped).abs().max() > 0.01
    close(ours.encode(y), gathered)
    for extra in ((8, 0), (-4, 4), (12, -8)):
        x, y = image(theirs, extra=extra)
        close(ours.encode(y), theirs.encoder(x).last_hidden_state)


def test_the_bias_of_each_pair_of_tokens():
    """Against a loop over pairs; class to patch, patch to class and class to class come last."""
    _, ours = built(("Beit", {**OWN, "image_size": [8, 12]}))
    bias = ours.layers[0].attn_bias
    bias.table = mx.random.normal(bias.table.shape)
    table, out = np.array(bias.table), np.array(bias((2, 3)))
    assert table.shape == (3 * 5 + 3, 3) and out.shape == (3, 7, 7)
    for query in range(6):
        for key in range(6):
            down, across = query // 3 - key // 3 + 1, query % 3 - key % 3 + 2
            assert (out[:, query + 1, key + 1] == table[down * 5 + across]).all()
        assert (out[:, 0, query + 1] == table[15]).all()
        assert (out[:, query + 1, 0] == table[16]).all()
    assert (out[:, 0, 0] == table[17]).all()


def test_positions_that_are_not_square(tmp_path):
    """transformers takes every table for a square; here torch resizes it in its place."""
    theirs, ours = pair(tmp_path, ("Beit", {**ABSOLUTE, "image_size": [12, 20]}))
    table = theirs.encoder.embeddings.position_embeddings.detach()
    for extra, new in (((0, 0), (3, 5)), ((8, -4), (5, 4))):
        x, y = image(theirs, extra=extra)
        grid = table[:, 1:].reshape(1, 3, 5, 24).permute(0, 3, 1, 2)
        grid = torch.nn.functional.interpolate(grid, size=new, mode="bicubic")
        resized = torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
        theirs.encoder.embeddings.interpolate_pos_encoding = lambda *_, table=resized: table
        close(ours.encode(y), theirs.encoder(x).last_hidden_state)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("changes", [{}, EVERYTHING])
def test_saved_folder_opens_in_transformers(tmp_path, stem, changes):
    """The pooler and the mask token, which are not computed with, are there again."""
    check_saved(tmp_path, (stem, changes))


@pytest.mark.parametrize("stem", STEMS)
def test_names_in_memory(tmp_path, stem):
    """Those of transformers 5, and the index that older versions stored."""
    bias = "relative_position_bias.relative_position_index"
    old = [f"encoder.encoder.{bias}", f"encoder.encoder.layer.1.attention.attention.{bias}"]

    def rename(theirs):
        return theirs.state_dict() | {name: torch.zeros(1) for name in old}

    check_names(tmp_path, (stem, EVERYTHING), rename)


@pytest.mark.parametrize("stem", STEMS)
def test_every_row_of_the_table_is_used(stem):
    check_rows([(stem, EVERYTHING)])


@pytest.mark.parametrize("stem", STEMS)
def test_halves(tmp_path, stem):
    check_halves(tmp_path, (stem, EVERYTHING))


@pytest.mark.parametrize("stem", STEMS)
def test_new_weights_are_spread_as_theirs(tmp_path, stem):
    changes = {"initializer_range": 0.05, "layer_scale_init_value": 0.3}
    check_new_weights(tmp_path, (stem, {**EVERYTHING, **changes}))


@pytest.mark.parametrize("stem", STEMS)
def test_defaults(stem):
    check_defaults(stem)


@pytest.mark.parametrize("stem", STEMS)
def test_dropout_is_of_training_alone(stem):
    check_dropout((stem, {}), "hidden_dropout_prob", "attention_probs_dropout_prob")


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("rate", ["drop_path_rate", "attention_probs_dropout_prob"])
def test_what_training_leaves_out(tmp_path, stem, rate):
    """A rate of nearly one leaves nothing to chance, and shows which branches it falls on.

    Stochastic depth rises from zero at the first of the two layers, on both branches.
    """
    theirs, ours = pair(tmp_path, (stem, {**OWN, "drop_path_rate": 0.0, rate: 0.999999}))
    torch.manual_seed(0)
    mx.random.seed(0)
    x, y = image(theirs)
    still = theirs.encoder.eval()(x).last_hidden_state
    expected = theirs.encoder.train()(x).last_hidden_state
    assert (still - expected).abs().max() > 0.1
    close(ours.encoder.train()(y)[0], expected)


def test_drop_path_rises_from_layer_to_layer():
    changes = {"drop_path_rate": 0.4, "num_hidden_layers": 5}
    theirs, ours = built(("Beit", changes))
    rates = [getattr(layer.drop_path, "drop_prob", 0.0) for layer in theirs.layers]
    np.testing.assert_allclose([layer.drop_path.rate for layer in ours.layers], rates, atol=1e-7)
    assert BeitConfig(num_hidden_layers=1).drop_path(0) == 0


def test_drop_path_is_drawn_for_each_image():
    """Of a branch's rows some are zero and the others doubled."""
    _, ours = built(("Beit", {"drop_path_rate": 0.5}))
    out = ours.layers[1].drop_path.train()(mx.ones((64, 3, 2)))
    assert set(np.unique(out)) == {0.0, 2.0}
    assert mx.array_equal(out, mx.broadcast_to(out[:, :1, :1], out.shape))


@pytest.mark.parametrize(
    "kind,changes,message",
    [
        (BeitConfig, {"num_attention_heads": 5}, "beit config: hidden_size is 768"),
        (Data2VecVisionConfig, {"num_attention_heads": 5}, "data2vec-vision config: hidden_size"),
        (BeitConfig, {"image_size": 8}, "does not fit"),
        (BeitConfig, {"image_size": (8, 8, 8)}, "image_size"),
        (BeitConfig, {"drop_path_rate": -0.1}, "drop_path_rate"),
        (BeitConfig, {"hidden_act": 3}, "hidden_act"),
        (BeitConfig, {"use_mean_pooling": "yes"}, "use_mean_pooling"),
    ],
)
def test_configs_that_are_refused(kind, changes, message):
    with pytest.raises(ConfigError, match=message):
        BeitModel(kind(**changes))


def test_pixels_that_are_refused():
    encoder = built(("Beit", OWN))[1]
    with pytest.raises(ImageError, match="channels come last"):
        encoder(mx.zeros((1, 3, 16, 16)))
    with pytest.raises((ConfigError, ImageError), match="does not fit"):
        encoder(mx.zeros((1, 3, 16, 3)))


@pytest.mark.parametrize("pooled", [True, False])
def test_the_norm_of_a_masked_image_head_is_the_heads(tmp_path, pooled):
    """It has the name of the encoder's norm, which stands under the encoder's prefix or nowhere."""
    config = config_of(("Beit", {"use_mean_pooling": pooled, "vocab_size": 9}), ENCODER_SIZES)
    theirs = transformers.BeitForMaskedImageModeling(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    theirs.save_pretrained(tmp_path)
    ours = BeitModel.from_pretrained(tmp_path)
    pixels = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.base_model(torch.from_numpy(pixels)).last_hidden_state
    close(ours(mx.array(pixels.transpose(0, 2, 3, 1))).last_hidden_state, expected)
