"""What transformers' models and configs have besides the forward pass, and where they compute."""

import json
import os
import threading
import warnings

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_vedec import BertConfig, TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel
from mlx_vedec.decoders import DECODERS
from mlx_vedec.encoders import ENCODERS
from mlx_vedec.errors import ConfigError, ProcessError
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.layers import computing
from tests.support.tiny import TROCR, VIT, pixels, tiny_config, tiny_model

IDS = [[0, 4, 5], [0, 6, 7]]
START = {"decoder_start_token_id": 0, "max_new_tokens": 2}


def test_lists_and_numpy_are_arrays():
    model = tiny_model()
    labels = [[4, 5, 2], [6, 2, -100]]
    model.config.decoder_start_token_id, model.config.pad_token_id = 0, 1
    plain = model(pixels(), labels=mx.array(labels))
    for form in (list, np.array):
        out = model(np.array(pixels()), labels=form(labels))
        assert mx.array_equal(out.logits, plain.logits) and out.loss.item() == plain.loss.item()
    out = model(pixels().tolist(), decoder_input_ids=IDS, decoder_attention_mask=[[1, 1, 1]] * 2)
    assert mx.allclose(out.logits, model(pixels(), mx.array(IDS)).logits, atol=1e-6)
    tokens = model.generate(np.array(pixels()), decoder_input_ids=IDS, **START).tolist()
    assert tokens == model.generate(pixels(), decoder_input_ids=mx.array(IDS), **START).tolist()
    features = model.encode(pixels())
    for given in (features, (features,), np.array(features), model.encoder(pixels())):
        assert (
            model.generate(encoder_outputs=given, decoder_input_ids=IDS, **START).tolist() == tokens
        )


def test_parts_and_embeddings():
    model = tiny_model()
    assert model.get_encoder() is model.encoder and model.get_decoder() is model.decoder
    table = model.get_input_embeddings()
    assert table is model.decoder.embed_tokens is model.get_output_embeddings()  # tied
    before = model(pixels(), IDS).logits
    other = nn.Embedding(37, 32)
    other.weight = 2 * table.weight
    model.set_input_embeddings(other)
    assert model.get_input_embeddings() is other
    assert not mx.allclose(model(pixels(), IDS).logits, before, atol=1e-3)
    model.set_input_embeddings(table)
    head = nn.Linear(32, 37, bias=False)
    head.weight = 3 * table.weight
    model.set_output_embeddings(head)
    assert model.get_output_embeddings() is head and not model.ties_head
    assert mx.allclose(model(pixels(), IDS).logits, 3 * before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", [nn.Embedding(36, 32), nn.Embedding(37, 8), nn.Linear(32, 37)])
def test_embeddings_that_do_not_fit(layer):
    model = tiny_model()
    for change in (model.set_input_embeddings, model.set_output_embeddings):
        with pytest.raises(ConfigError, match="expected nn|bias=False"):
            change(layer)
    assert model.ties_head


def test_parameters_are_counted():
    model = tiny_model()
    count = model.num_parameters()
    tables = 37 * 32 + 22 * 32  # tokens and positions, two rows before the first
    assert model.num_parameters(exclude_embeddings=True) == count - tables
    assert model.encoder.num_parameters() + model.decoder.num_parameters() == count - 25 * 32
    model.encoder.freeze()
    trained = model.num_parameters(only_trainable=True)
    assert trained == count - model.encoder.num_parameters()
    nn.quantize(
        model,
        32,
        4,
        class_predicate=lambda _, m: isinstance(m, nn.Linear) and m.weight.shape[1] == 32,
    )
    assert model.num_parameters() == count


def test_gradient_checkpointing_is_switched_off_again():
    model = tiny_model()
    model.gradient_checkpointing_enable()
    model.gradient_checkpointing_disable()
    assert not model.encoder.gradient_checkpointing and not model.decoder.gradient_checkpointing


def test_a_model_says_what_it_is(tmp_path):
    model = tiny_model()
    assert repr(model) == "VisionEncoderDecoderModel(vit and trocr, 48,744 parameters in float32)"
    assert repr(model.encoder).startswith("ViTModel(vit, ")
    model.save_pretrained(tmp_path)
    loaded = VisionEncoderDecoderModel.from_pretrained(tmp_path, dtype="float16")
    assert f"parameters in float16, from {tmp_path})" in repr(loaded)
    nn.quantize(model.decoder, 32, 4, class_predicate=lambda path, _: path == "embed_tokens")
    assert "parameters in 4 bits" in repr(model)


@pytest.mark.parametrize("kind", [*ENCODERS.values(), *DECODERS.values()])
def test_configs_keep_unknown_keywords(kind):
    config = kind.config_class(colour="red", depth_of_field=[1, 2])
    assert config.colour == "red" and config.to_dict()["depth_of_field"] == [1, 2]
    assert kind.config_class.from_dict(config.to_dict()).to_dict() == config.to_dict()
    with pytest.raises(ConfigError, match="model_type is 'other'"):
        kind.config_class(model_type="other")


def test_configs_take_other_names_of_their_fields():
    assert TrOCRConfig(hidden_size=24, num_hidden_layers=2).d_model == 24
    assert BertConfig(eos_token_id=[1, 2]).eos_token_id == (1, 2)
    parts = {"encoder": {"model_type": "vit", **VIT}, "decoder": {"model_type": "trocr", **TROCR}}
    config = VisionEncoderDecoderConfig(**parts, colour="red")
    assert config.encoder.hidden_size == 24 and json.loads(json.dumps(config.to_dict()))
    assert config.to_dict()["colour"] == "red"
    assert GenerationConfig(num_beams=2, colour="red").to_dict()["colour"] == "red"


@pytest.mark.parametrize(
    "value", [2**63, -(2**63), 10**400, float("nan"), float("inf"), "x", [1.5]]
)
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_absurd_numbers_are_refused(part, value):
    """In any field that holds numbers, and wherever a config is read."""
    values = tiny_config().to_dict()
    for name, own in values[part].items():
        if isinstance(own, (int, float)) and not isinstance(own, bool):
            with pytest.raises(ConfigError, match=f"config: {name} is "):
                changed = {**values, part: {**values[part], name: value}}
                VisionEncoderDecoderConfig.from_dict(changed)


def test_weights_that_another_thread_left_unread(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    loaded = []

    def load(lazy):
        loaded.append(VisionEncoderDecoderModel.from_pretrained(tmp_path, lazy=lazy))

    for lazy in (True, False):
        thread = threading.Thread(target=load, args=(lazy,))
        thread.start()
        thread.join()
    with pytest.raises(ProcessError, match="in another thread.*or without lazy"):
        loaded[0].generate(pixels(), **START)
    assert loaded[1].generate(pixels(), **START).shape == (2, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_is_refused():
    model = tiny_model()
    mx.eval(model(pixels(), IDS).logits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fork among threads, which is what is looked at
        child = os.fork()
    if not child:
        said = 0
        for call in (model.encode, model.generate, lambda x: model(x, IDS)):
            try:
                call(pixels())
            except ProcessError as error:
                said += "spawn" in str(error)
        os._exit(said)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert not computing.STATE["forked"]
