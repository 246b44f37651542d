"""What is near to a supported checkpoint and is another is refused by its name."""

import json

import mlx.core as mx
import pytest

from mlx_vedec import VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig, ViTModel
from mlx_vedec.errors import ConfigError, WeightsError
from tests.support.tiny import TROCR, VIT, tiny_model

RADIO = {"AutoConfig": "hf_model.RADIOConfig", "AutoModel": "hf_model.RADIOModel"}


def whole(encoder: dict, **values) -> dict:
    return {"encoder": encoder, "decoder": {"model_type": "trocr", **TROCR}, **values}


@pytest.mark.parametrize(
    ("encoder", "what", "reader"),
    [
        ({"model_type": "my_hgnetv2"}, "HGNetV2 of Texo", "package `texo` reads it"),
        ({"model_type": "radio"}, "C-RADIO.*Nemotron-Parse", "transformers' RadioModel reads it"),
        ({"auto_map": RADIO}, "C-RADIO.*Nemotron-Parse", "transformers' RadioModel reads it"),
        ({"model_type": "cvt"}, "features are a map", "AutoModel reads it alone"),
        ({"model_type": "vit_mae"}, "leaves patches out at random", "ViTModel its weights"),
        ({"model_type": "clip"}, "images and texts", "its vision part alone"),
        (
            {"model_type": "own", "auto_map": {"AutoModel": "own.Own" + "n" * 200}},
            "code is in the checkpoint .auto_map: own.Own",
            "never run here; transformers reads it with trust_remote_code=True",
        ),
    ],
)
def test_encoders(encoder, what, reader):
    with pytest.raises(ConfigError, match=rf"^encoder model_type is .*{what}.*{reader}") as caught:
        VisionEncoderDecoderConfig.from_dict(whole(encoder))
    assert len(str(caught.value)) < 400


def test_whole_checkpoints(tmp_path):
    """By the model type of the whole, before its parts are looked at."""
    values = whole({"auto_map": RADIO}, model_type="nemotron_parse", auto_map={"AutoModel": "x.Y"})
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        ConfigError, match="the checkpoint's model_type is 'nemotron_parse': NVIDIA"
    ):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)


def test_code_that_the_whole_names():
    with pytest.raises(
        ConfigError, match="'own', and its code is in the checkpoint .auto_map: x.Y"
    ):
        VisionEncoderDecoderConfig.from_dict(whole({"model_type": "own"}, auto_map="x.Y"))


def test_an_encoder_alone_is_refused_in_assembly(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "cvt"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="encoder model_type is 'cvt': a network whose features"):
        VisionEncoderDecoderModel.from_encoder_decoder_pretrained(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("encoder.embeddings.patch_embeddings.projection.conv1.weight", "UniMERNet, a Donut-Swin"),
        ("model.model.encoder.encoder.layers.0.blocks.1.ce.0.proj.bias", "UniMERNet, a Donut-Swin"),
        ("encoder.embeddings.row_embeddings", r"a Donut-Swin .*use_2d_embeddings"),
        ("encoder.radio_model.summary_idxs", "C-RADIO, of which"),
    ],
)
def test_what_only_the_tensors_tell(tmp_path, name, what):
    tiny_model().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    mx.save_safetensors(str(path), {**mx.load(str(path)), name: mx.zeros((1,))})
    with pytest.raises(WeightsError, match=f"is {what}.*not supported here.*reads it"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)


def test_code_beside_a_known_encoder_is_no_reason(tmp_path):
    """transformers too takes its own class then, unless it is told to trust the code."""
    encoder = {**VIT, "model_type": "vit", "auto_map": {"AutoModel": "x.Y"}}
    assert type(VisionEncoderDecoderConfig.from_dict(whole(encoder)).encoder) is ViTConfig
    ViTModel(ViTConfig(**VIT)).save_pretrained(tmp_path)
    assert isinstance(ViTModel.from_pretrained(tmp_path), ViTModel)


def test_another_unknown_encoder_lists_the_known():
    with pytest.raises(ConfigError, match="'vitt'; known are vit, deit"):
        VisionEncoderDecoderConfig.from_dict(whole({"model_type": "vitt"}))
