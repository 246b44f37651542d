import json

import pytest

from mlx_vedec import (
    DeiTConfig,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.errors import ConfigError
from tests.support.tiny import tiny_config


def test_unknown_keys_and_later_attributes_are_written_back():
    config = ViTConfig.from_dict({"hidden_size": 12, "id2label": {"0": "a"}, "patch_size": [4, 8]})
    config.note = "mine"
    saved = config.to_dict()
    assert saved["id2label"] == {"0": "a"} == config.id2label
    assert (saved["note"], saved["patch_size"], saved["model_type"]) == ("mine", (4, 8), "vit")
    assert ViTConfig.from_dict(json.loads(json.dumps(saved))).to_dict() == saved


def test_null_means_the_default():
    assert ViTConfig.from_dict({"hidden_size": None}).hidden_size == 768
    assert TrOCRConfig.from_dict({"pad_token_id": None}).pad_token_id == 1


def test_other_names_of_fields():
    config = TrOCRConfig.from_dict({"hidden_size": 64, "num_hidden_layers": 3})
    assert (config.d_model, config.decoder_layers, config.hidden_size) == (64, 3, 64)
    config.num_attention_heads = 8
    assert config.decoder_attention_heads == 8
    with pytest.raises(AttributeError, match="no_such"):
        _ = config.no_such


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (ViTConfig, {"hidden_size": -8}, "hidden_size is -8; expected 1 to"),
        (ViTConfig, {"hidden_size": 2**40}, "expected 1 to 2147483647"),
        (ViTConfig, {"hidden_size": "768"}, "hidden_size is '768'; expected int"),
        (ViTConfig, {"hidden_size": 10}, "expected a multiple of num_attention_heads, 12"),
        (ViTConfig, {"qkv_bias": 1}, "qkv_bias is 1; expected bool"),
        (ViTConfig, {"image_size": [16, 16, 3]}, r"image_size is \(16, 16, 3\)"),
        (ViTConfig, {"image_size": 0}, "image_size is 0"),
        (ViTConfig, {"image_size": 8}, r"a patch of \(16, 16\) does not fit"),
        (ViTConfig, {"hidden_dropout_prob": 1.5}, "expected 0 or more and below 1"),
        (DeiTConfig, {"num_channels": 0}, "deit config: num_channels is 0"),
        (TrOCRConfig, {"d_model": 30}, "d_model is 30; expected a multiple of"),
        (TrOCRConfig, {"vocab_size": 0}, "vocab_size is 0"),
    ],
)
def test_what_cannot_be_is_refused(kind, values, message):
    with pytest.raises(ConfigError, match=message):
        kind.from_dict(values)


def test_from_encoder_decoder_configs_marks_the_decoder():
    decoder = TrOCRConfig()
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(), decoder, pad_token_id=1
    )
    assert decoder.is_decoder and decoder.add_cross_attention
    assert (config.pad_token_id, config.needs_projection) == (1, True)


def test_saved_config_is_read_back(tmp_path):
    config = tiny_config(deit=True)
    config.pad_token_id = 7
    config.save_pretrained(tmp_path / "new" / "folder")
    again = VisionEncoderDecoderConfig.from_pretrained(tmp_path / "new" / "folder")
    assert again.to_dict() == {**config.to_dict(), "architectures": ["VisionEncoderDecoderModel"]}
    assert isinstance(again.encoder, DeiTConfig)


# Millions of parameters, poolers included, that transformers counts for the Hub's configs.
MILLIONS = {
    "facebook__nougat-base": 348.7,
    "kha-white__manga-ocr-base": 111.0,
    "microsoft__trocr-base-handwritten": 333.9,
    "microsoft__trocr-base-stage1": 384.9,
    "microsoft__trocr-large-handwritten": 558.2,
    "microsoft__trocr-large-printed": 609.2,
    "microsoft__trocr-small-printed": 61.6,
    "naver-clova-ix__donut-base": 201.9,
    "nlpconnect__vit-gpt2-image-captioning": 239.2,
    "OleehyO__TexTeller": 298.1,
}


def test_every_real_config_is_read_and_built(shared):
    """Nothing is allocated: new weights are drawn when they are first looked at."""
    paths = sorted(shared.glob("configs/*/config.json"))
    for path in paths:
        values = json.loads(path.read_text())
        config = VisionEncoderDecoderConfig.from_dict(values)
        assert set(values) - {"model_type"} <= set(config.to_dict())
        model = VisionEncoderDecoderModel(config)
        count = sum(x.size for x in parameters(model).values())
        width = values["encoder"]["hidden_size"]
        pooler = 0 if "swin" in config.encoder.model_type else width * (width + 1)
        expected = MILLIONS.get(path.parent.name, (count + pooler) / 1e6)
        assert abs((count + pooler) / 1e6 - expected) < 0.06, path.parent.name
    assert {path.parent.name for path in paths} >= set(MILLIONS)


BASE = tiny_config().to_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "encoder is null; expected its config"),
        ({**BASE, "model_type": "llama"}, "model_type is 'llama'"),
        ({**BASE, "encoder": {"model_type": "focalnet"}}, "'focalnet'; known are vit, deit"),
        ({**BASE, "decoder": {"model_type": "bloom"}}, "'bloom'; known are .*trocr"),
        ({**BASE, "decoder": {}}, "decoder model_type is None"),
        ({**BASE, "encoder": None}, "encoder is null; expected its config as an object"),
        ({**BASE, "encoder": {"model_type": ["vit"]}}, r"\['vit'\]"),
    ],
)
def test_composite_refuses(values, message):
    with pytest.raises(ConfigError, match=message):
        VisionEncoderDecoderConfig.from_dict(values)


def test_halves_that_do_not_meet():
    config = tiny_config()
    config.decoder.cross_attention_hidden_size = 99
    with pytest.raises(ConfigError, match="99, but the encoder's hidden_size is 24"):
        config.check()


@pytest.mark.parametrize("text", ["{not json", "\xff\xfe", "[1, 2]"])
def test_config_file_that_is_not_json(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"config\.json"):
        VisionEncoderDecoderConfig.from_pretrained(tmp_path)
