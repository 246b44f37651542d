"""What transformers' pages on VisionEncoderDecoder and TrOCR show, done with this library.

Each test follows one of their examples on tiny folders; imports and arrays differ (MLX's, with the
channels last).
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from PIL import Image

from mlx_vedec import (
    BertConfig,
    BertLMHeadModel,
    ImageProcessor,
    Processor,
    SwinConfig,
    SwinModel,
    Tokenizer,
    TrOCRConfig,
    TrOCRForCausalLM,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
)
from mlx_vedec.reading.load import BUNDLED
from tests.conftest import DATA
from tests.support.tiny import TROCR, VIT

BERT = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
SWIN = {"embed_dim": 12, "depths": [1, 1], "num_heads": [2, 4], "window_size": 2, "image_size": 16}


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))


@pytest.fixture
def folders(tmp_path):
    """A Swin with its image processor, a BERT with a tokenizer, each in its own folder."""
    mx.random.seed(0)
    swin, bert = tmp_path / "swin", tmp_path / "bert"
    SwinModel(SwinConfig.from_dict(SWIN)).save_pretrained(swin)
    ImageProcessor.from_dict(
        {"image_processor_type": "ViTImageProcessor", "size": 16}
    ).save_pretrained(swin)
    BertLMHeadModel(BertConfig(**BERT)).save_pretrained(bert)
    Tokenizer.from_pretrained(BUNDLED).save_pretrained(bert)
    return swin, bert


def test_initialise_from_configs(tmp_path):
    encoder, decoder = ViTConfig(**VIT), BertConfig(**BERT)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = VisionEncoderDecoderModel(config=config)
    assert model.config.encoder is encoder and model.config.decoder.is_decoder
    model.save_pretrained(tmp_path / "my-model")
    config = VisionEncoderDecoderConfig.from_pretrained(tmp_path / "my-model")
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path / "my-model", config=config)
    assert mx.array_equal(
        again.encode(mx.ones((1, 16, 16, 3))), model.encode(mx.ones((1, 16, 16, 3)))
    )


def test_config_of_two_configs():
    config = VisionEncoderDecoderConfig(encoder=ViTConfig(**VIT), decoder=BertConfig(**BERT))
    config.decoder.is_decoder = config.decoder.add_cross_attention = True
    assert isinstance(VisionEncoderDecoderModel(config=config).encoder, ViTModel)
    default = VisionEncoderDecoderConfig()
    assert (default.encoder.model_type, default.decoder.model_type) == ("vit", "bert")
    assert default.decoder.is_decoder and default.decoder.add_cross_attention


def test_train_on_one_captioned_image(folders, image):
    swin, bert = folders
    processor = Processor.from_pretrained(encoder=swin, decoder=bert)
    model = VisionEncoderDecoderModel.from_encoder_decoder_pretrained(swin, bert)
    model.config.decoder_start_token_id = processor.tokenizer.bos_token_id
    model.config.pad_token_id = processor.tokenizer.pad_token_id
    model.config.vocab_size = model.config.decoder.vocab_size

    pixel_values = processor(image).pixel_values
    labels = processor(text="an image of two cats").input_ids
    loss = model(pixel_values=pixel_values, labels=labels).loss
    assert abs(loss.item() - np.log(300)) < 1

    def forward(labels):
        return model(pixel_values=pixel_values, labels=labels).loss

    _, gradients = nn.value_and_grad(model, forward)(labels)
    assert gradients["encoder"]["patches"]["projection"]["weight"].any().item()


def test_save_and_read_a_caption(folders, image, tmp_path):
    swin, bert = folders
    mx.random.seed(0)
    model = VisionEncoderDecoderModel.from_encoder_decoder_pretrained(swin, bert)
    processor = Processor.from_pretrained(encoder=swin, decoder=bert)
    model.generation_config.decoder_start_token_id = processor.tokenizer.bos_token_id
    model.decoder.embed_tokens.weight = mx.random.normal((300, 32))  # no token is near another
    before = model.generate(processor(image).pixel_values, max_new_tokens=5)
    model.save_pretrained(tmp_path / "captions")
    processor.save_pretrained(tmp_path / "captions")

    model = VisionEncoderDecoderModel.from_pretrained(tmp_path / "captions")
    processor = Processor.from_pretrained(tmp_path / "captions")
    pixel_values = processor(image).pixel_values
    generated_ids = model.generate(pixel_values, max_new_tokens=5)
    texts = processor.batch_decode(generated_ids, skip_special_tokens=True)
    assert generated_ids.tolist() == before.tolist() and generated_ids.shape == (1, 6)
    tokenizer = Tokenizer.from_pretrained(BUNDLED)
    assert texts == [tokenizer.decode(before[0].tolist(), skip_special_tokens=True)]
    assert len(texts[0]) > 1


def test_read_a_line():
    processor = Processor.from_pretrained(BUNDLED)
    model = VisionEncoderDecoderModel.from_pretrained(BUNDLED)
    line = Image.open(DATA / "lines" / "seen_006.png").convert("RGB")
    pixel_values = processor(images=line).pixel_values
    generated_ids = model.generate(pixel_values)
    text = processor.batch_decode(generated_ids, skip_special_tokens=True)[0]
    assert text == "wheel 206,3"


def test_trocr_decoder_with_an_encoder_of_ones_own():
    encoder = ViTModel(ViTConfig(**VIT))
    decoder = TrOCRForCausalLM(TrOCRConfig(**TROCR))
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    model.config.decoder_start_token_id = 2
    model.config.pad_token_id = 1
    out = model(mx.ones((1, 16, 16, 3)), labels=mx.array([[5, 6, 2]]))
    assert out.logits.shape == (1, 3, 37)
    alone = decoder(mx.array([[2, 5]]))
    assert alone.logits.shape == (1, 2, 37) and alone.cross_attentions is None
