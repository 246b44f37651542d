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
    AutoModelForVision2Seq,
    AutoProcessor,
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    BertTokenizer,
    BitsAndBytesConfig,
    BitsandBytesConfig,
    DonutProcessor,
    GPT2TokenizerFast,
    ImageProcessor,
    Processor,
    SwinConfig,
    SwinModel,
    Tokenizer,
    TorchAoConfig,
    TrOCRConfig,
    TrOCRForCausalLM,
    TrOCRProcessor,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
    pipeline,
)
from mlx_vedec.errors import OptionError
from mlx_vedec.layers.quantization_config import QuantizationConfig
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


# Word for word but for the import line


@pytest.fixture
def line():
    return Image.open(DATA / "lines" / "seen_006.png").convert("RGB")


def test_read_with_a_tokenizer_and_an_image_processor(line):
    model = VisionEncoderDecoderModel.from_pretrained(BUNDLED)
    tokenizer = GPT2TokenizerFast.from_pretrained(BUNDLED)
    image_processor = ViTImageProcessor.from_pretrained(BUNDLED)
    pixel_values = image_processor(line, return_tensors="pt").pixel_values
    generated_ids = model.generate(pixel_values)
    generated_text = tokenizer.batch_decode(generated_ids, skip_special_tokens=True)[0]
    assert generated_text == "wheel 206,3"


def test_train_with_a_tokenizer_and_an_image_processor(folders, image):
    swin, bert = folders
    image_processor = ViTImageProcessor.from_pretrained(swin)
    tokenizer = BertTokenizer.from_pretrained(bert)
    model = VisionEncoderDecoderModel.from_encoder_decoder_pretrained(swin, bert)
    model.config.decoder_start_token_id = tokenizer.bos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    pixel_values = image_processor(image, return_tensors="pt").pixel_values
    labels = tokenizer("an image of two cats", return_tensors="pt").input_ids
    assert labels.shape == (1, len(tokenizer.encode("an image of two cats")))
    loss = model(pixel_values=pixel_values, labels=labels).loss
    assert abs(loss.item() - np.log(300)) < 1


def test_ask_donut_with_a_prompt(folders, image, tmp_path):
    """The text stands before what is generated, whose length is what there is room for."""
    swin, bert = folders
    saved = DonutProcessor.from_pretrained(encoder=swin, decoder=bert)
    saved.save_pretrained(tmp_path / "donut")
    parts = SwinConfig.from_dict(SWIN), BertConfig(**BERT, max_position_embeddings=40)
    made = VisionEncoderDecoderModel(
        VisionEncoderDecoderConfig.from_encoder_decoder_configs(*parts)
    )
    made.generation_config.decoder_start_token_id = saved.tokenizer.bos_token_id
    made.save_pretrained(tmp_path / "donut")

    processor = AutoProcessor.from_pretrained(tmp_path / "donut")
    model = AutoModelForVision2Seq.from_pretrained(tmp_path / "donut")
    task_prompt = "What is the invoice?"
    inputs = processor(image, task_prompt, return_tensors="pt").to(model.device)
    with pytest.warns(UserWarning, match="max_length=512 .* they end at 41"):
        outputs = model.generate(
            input_ids=inputs.input_ids, pixel_values=inputs.pixel_values, max_length=512
        )
    answer = processor.decode(outputs[0], skip_special_tokens=True)
    assert answer.startswith(task_prompt) and outputs.shape == (1, 41)
    assert (
        inputs.input_ids.tolist()
        == inputs.labels.tolist()
        == outputs[:, 1 : 1 + inputs.labels.shape[1]].tolist()
    )
    same = model.generate(**inputs, max_length=41)
    assert same.tolist() == outputs.tolist()
    assert model(**inputs).loss.item() == model(inputs.pixel_values, labels=inputs.labels).loss
    with pytest.raises(OptionError, match="input_ids and decoder_input_ids are both the prompt"):
        model.generate(**inputs, decoder_input_ids=inputs.input_ids)


@pytest.mark.parametrize("settings", [BitsAndBytesConfig, BitsandBytesConfig])
def test_read_with_weights_of_8_bits(line, settings):
    quantization_config = settings(load_in_8bit=True, llm_int8_threshold=6.0)
    processor = TrOCRProcessor.from_pretrained(BUNDLED)
    model = VisionEncoderDecoderModel.from_pretrained(
        BUNDLED, quantization_config=quantization_config
    )
    pixel_values = processor(line, return_tensors="pt").pixel_values
    generated_ids = model.generate(pixel_values)
    assert processor.batch_decode(generated_ids, skip_special_tokens=True)[0] == "wheel 206,3"
    assert model.decoder.layers[0].mlp.fc1.bits == 8


def test_settings_of_quantization():
    assert BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4") == QuantizationConfig(4)
    assert TorchAoConfig("int4_weight_only", group_size=128) == QuantizationConfig(4, 128)
    for wrong in (
        lambda: BitsAndBytesConfig(),
        lambda: BitsAndBytesConfig(load_in_8bit=True, load_in_4bit=True),
        lambda: BitsAndBytesConfig(load_in_8bit=True, bits=3),
        lambda: TorchAoConfig("float8"),
    ):
        with pytest.raises(OptionError, match="expected"):
            wrong()


def test_what_is_given_out_of_habit(line):
    model = AutoModelForVision2Seq.from_pretrained(
        BUNDLED, device_map="auto", torch_dtype="auto", low_cpu_mem_usage=True, use_safetensors=True
    )
    processor = AutoProcessor.from_pretrained(BUNDLED, use_fast=True, trust_remote_code=False)
    assert model.to("cuda") is model and model.device == mx.default_device()
    assert model.to(dtype="float16").encode(mx.zeros((1, 32, 768, 3))).dtype == mx.float16
    batch = processor(line, return_tensors="mx")
    assert batch.to("cuda") is batch and batch.pixel_values.shape == (1, 32, 768, 3)
    assert isinstance(processor(line, return_tensors="np").pixel_values, np.ndarray)
    for kind in (AutoModelForVision2Seq, AutoProcessor, AutoTokenizer):
        with pytest.raises(OptionError, match="no code of a checkpoint is run"):
            kind.from_pretrained(BUNDLED, trust_remote_code=True)
        with pytest.raises(OptionError, match="use_fats is no option of from_pretrained; .*use_fa"):
            kind.from_pretrained(BUNDLED, use_fats=True)
    with pytest.raises(OptionError, match="return_tensors is 'tf'; expected 'mx' or 'np'"):
        processor(line, return_tensors="tf")
    with pytest.raises(OptionError, match="dtype and torch_dtype are both given"):
        AutoModelForVision2Seq.from_pretrained(BUNDLED, dtype="float16", torch_dtype="float16")


def test_pipeline(line):
    pipe = pipeline("image-to-text", device="mps")
    assert pipe(line) == [{"generated_text": "wheel 206,3"}]
    assert pipe([line, line], generate_kwargs={"max_new_tokens": 2})[1] != pipe(line)
    with pytest.raises(OptionError, match="expected one of image-to-text"):
        pipeline("text-generation")
    with pytest.raises(OptionError, match="document-question-answering alone"):
        pipe(line, question="Who?")


def test_a_pipeline_of_parts(line, tmp_path):
    """What is given counts: a model, and a tokenizer and an image processor beside it."""
    model = VisionEncoderDecoderModel.from_pretrained(BUNDLED)
    parts = {
        "tokenizer": AutoTokenizer.from_pretrained(BUNDLED),
        "image_processor": ViTImageProcessor.from_pretrained(BUNDLED),
    }
    assert pipeline(model=model, **parts)(line) == [{"generated_text": "wheel 206,3"}]
    model.save_pretrained(tmp_path)
    assert pipeline(model=str(tmp_path), **parts)(line) == [{"generated_text": "wheel 206,3"}]
    small = ViTImageProcessor(size={"height": 32, "width": 96})
    assert pipeline(model=str(BUNDLED), image_processor=small)(line) != pipeline()(line)
    with pytest.raises(OptionError, match="tokenizer is 5; expected a folder"):
        pipeline(tokenizer=5)
    model.source = None
    with pytest.raises(OptionError, match="give a processor too"):
        pipeline(model=model)


def test_donuts_tags_as_json():
    processor = DonutProcessor(None, Tokenizer.from_pretrained(BUNDLED))
    sequence = "<s_menu><s_nm>Tea</s_nm></s_menu><s_total>3</s_total>"
    assert processor.token2json(sequence) == {"menu": {"nm": "Tea"}, "total": "3"}
