"""A model put together of two folders: which keyword changes which part."""

import mlx.core as mx
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.errors import ConfigError
from tests.support.tiny import pixels, tiny_model


def test_keywords_go_to_the_part_that_they_name(tmp_path):
    parts = tiny_model()
    for name in ("encoder", "decoder"):
        parts[name].save_pretrained(tmp_path / name)
    model = VisionEncoderDecoderModel.from_encoder_decoder_pretrained(
        tmp_path / "encoder",
        tmp_path / "decoder",
        encoder_hidden_dropout_prob=0.25,
        decoder_dropout=0.5,
        decoder_start_token_id=3,
        pad_token_id=1,
    )
    config = model.config
    assert (config.encoder.hidden_dropout_prob, config.decoder.dropout) == (0.25, 0.5)
    assert (config.decoder_start_token_id, config.pad_token_id) == (3, 1)
    assert config.decoder.is_decoder and config.decoder.add_cross_attention
    assert mx.array_equal(model.encode(pixels()), parts.encode(pixels()))
    given = VisionEncoderDecoderModel.from_encoder_decoder_pretrained(
        encoder_model=parts.encoder, decoder_model=parts.decoder
    )
    assert given.encoder is parts.encoder and given.decoder is parts.decoder
    with pytest.raises(ConfigError, match="give the decoder: a folder"):
        VisionEncoderDecoderModel.from_encoder_decoder_pretrained(tmp_path / "encoder")
