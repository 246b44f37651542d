"""What needs no reference: cached = uncached, batch = singles, types kept, golden values."""

import copy

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_vedec import (
    DeiTModel,
    TrOCRConfig,
    TrOCRForCausalLM,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
)
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.errors import ConfigError, ImageError, OptionError, TokenError
from tests.conftest import DATA
from tests.support.tiny import TROCR, VIT, pixels, tiny_config, tiny_model

KINDS = {
    "projected": ({}, {}),
    "learned": ({}, {"cross_attention_hidden_size": 24}),
    "sinusoidal": ({}, {"use_learned_position_embeddings": False, "tie_word_embeddings": False}),
    "scaled": ({"qkv_bias": False}, {"scale_embedding": True, "layernorm_embedding": False}),
}
IDS = mx.array([[2, 5, 9, 4, 7], [2, 3, 8, 3, 6]])


@pytest.fixture(params=KINDS)
def model(request):
    return tiny_model(*KINDS[request.param])


def close(a, b, tolerance=1e-4):
    np.testing.assert_allclose(np.array(a), np.array(b), rtol=0, atol=tolerance)


def test_golden_values():
    """Logits, features, loss and tokens that transformers 5.23 computed for a saved folder."""
    model = VisionEncoderDecoderModel.from_pretrained(DATA / "golden")
    golden = np.load(DATA / "golden" / "outputs.npz")
    x, labels = mx.array(golden["pixel_values"]), mx.array(golden["labels"])
    out = model(x, labels=labels)
    close(out.encoder_last_hidden_state, golden["features"])
    close(out.logits, golden["logits"])
    assert abs(out.loss.item() - golden["loss"]) < 1e-5
    assert model.generate(x, max_length=12).tolist() == golden["tokens"].tolist()


@pytest.mark.parametrize("chunks", [[1, 1, 1, 1, 1], [3, 2], [1, 4]])
def test_cached_is_uncached(model, chunks):
    whole = model(pixels(), decoder_input_ids=IDS).logits
    past, parts, start = None, [], 0
    for size in chunks:
        out = model(pixels(), decoder_input_ids=IDS[:, start : start + size], past_key_values=past)
        past, start = out.past_key_values, start + size
        parts.append(out.logits)
    close(mx.concatenate(parts, axis=1), whole)


def test_masked_tokens_do_not_matter(model):
    """The token under a zero is not attended by those after it, cached or not."""
    mask = mx.array([[1, 0, 1, 1, 1]] * 2)
    other = mx.array(np.where(np.arange(5) == 1, 30, np.array(IDS)))
    a = model(pixels(), decoder_input_ids=IDS, decoder_attention_mask=mask)
    first = model(pixels(), decoder_input_ids=IDS[:, :3], decoder_attention_mask=mask[:, :3])
    rest = model(
        pixels(),
        decoder_input_ids=IDS[:, 3:],
        decoder_attention_mask=mask,
        past_key_values=first.past_key_values,
    )
    close(rest.logits, a.logits[:, 3:])
    if model.decoder.max_positions:  # sines count the tokens that are not padding
        b = model(pixels(), decoder_input_ids=other, decoder_attention_mask=mask)
        close(a.logits[:, 2:], b.logits[:, 2:])


def test_batch_is_singles(model):
    x = pixels(3)
    batch = model.generate(x, max_new_tokens=8, eos_token_id=[5, 11, 17, 23]).tolist()
    for row in range(3):
        single = model.generate(x[row : row + 1], max_new_tokens=8, eos_token_id=[5, 11, 17, 23])
        single = single.tolist()[0]
        assert batch[row][: len(single)] == single
        assert set(batch[row][len(single) :]) <= {1}


def test_greedy_is_the_argmax_of_the_forward_pass(model):
    tokens = model.generate(pixels(), max_new_tokens=6, eos_token_id=36)
    logits = model(pixels(), decoder_input_ids=tokens).logits
    assert tokens[:, 1:].tolist() == mx.argmax(logits, axis=-1)[:, :-1].tolist()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_types_stay(model, dtype):
    exact = model(pixels(), labels=IDS, output_hidden_states=True, output_attentions=True)
    model.set_dtype(dtype)
    out = model(
        pixels().astype(dtype), labels=IDS, output_hidden_states=True, output_attentions=True
    )
    assert out.loss.dtype == mx.float32
    for name, value in vars(out).items():
        arrays = [value] if isinstance(value, mx.array) else value or ()
        assert all(x.dtype == dtype for x in arrays) or name == "loss", name
    cached = model(pixels(), decoder_input_ids=IDS)
    assert (
        cached.past_key_values.layers[0]
        .update_and_fetch(mx.zeros((2, 4, 1, 8), dtype), mx.zeros((2, 4, 1, 8), dtype))[0]
        .dtype
        == dtype
    )
    tolerance = {mx.float16: 0.03, mx.bfloat16: 0.3}[dtype]
    close(out.logits.astype(mx.float32), exact.logits, tolerance)


def test_pixels_of_another_type_follow_the_weights():
    model = tiny_model()
    model.set_dtype(mx.float16)
    assert model.encode(pixels()).dtype == mx.float16


def test_deepcopy(model):
    twin = copy.deepcopy(model)
    twin.decoder.embed_tokens.weight = mx.zeros_like(twin.decoder.embed_tokens.weight)
    assert model.decoder.embed_tokens.weight.any()
    assert not mx.array_equal(twin(pixels(), IDS).logits, model(pixels(), IDS).logits)


def test_memory_is_computed_once_per_image(monkeypatch):
    model = tiny_model()
    calls = []
    attention = type(model.decoder.layers[0].cross_attn)
    remember = attention.remember
    monkeypatch.setattr(
        attention, "remember", lambda self, memory: calls.append(1) or remember(self, memory)
    )
    model.generate(pixels(), max_new_tokens=10, eos_token_id=36)
    assert len(calls) == len(model.decoder.layers)


@pytest.mark.slow
def test_training_learns_and_compiles():
    """Ten compiled steps of every parameter bring the loss down; every parameter has a gradient."""
    import mlx.optimizers as optim

    mx.random.seed(3)
    dropouts = {"dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1}
    model = VisionEncoderDecoderModel(tiny_config({"hidden_dropout_prob": 0.1}, dropouts))
    model.train()
    optimizer = optim.Adam(learning_rate=3e-3)
    x, labels = pixels(), mx.array([[5, 6, 7, 2], [8, 9, 2, -100]])

    def loss(pixel_values, labels):
        return model(pixel_values, labels=labels).loss

    step = nn.value_and_grad(model, loss)
    _, gradients = step(x, labels)
    unused = [name for name, g in tree_flatten(gradients) if not g.any().item()]
    assert not unused

    state = [model.state, optimizer.state, mx.random.state]

    def train(pixel_values, labels):
        value, gradients = step(pixel_values, labels)
        optimizer.update(model, gradients)
        return value

    compiled = mx.compile(train, inputs=state, outputs=state)
    losses = []
    for _ in range(30):
        losses.append(compiled(x, labels).item())
        mx.eval(state)
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("half", "name"),
    [
        ("encoder", "hidden_dropout_prob"),
        ("encoder", "attention_probs_dropout_prob"),
        ("decoder", "dropout"),
        ("decoder", "attention_dropout"),
        ("decoder", "activation_dropout"),
        ("decoder", "decoder_layerdrop"),
    ],
)
def test_each_dropout_acts_in_training_alone(half, name):
    none = {"dropout": 0.0}
    changes = {"encoder": {}, "decoder": none}
    changes[half] = {**changes[half], name: 0.5}
    model = tiny_model(changes["encoder"], changes["decoder"])
    plain = tiny_model({}, none)
    assert mx.array_equal(model(pixels(), IDS).logits, plain(pixels(), IDS).logits)
    model.train()
    plain.train()
    assert mx.array_equal(plain(pixels(), IDS).logits, plain(pixels(), IDS).logits)
    seen = {tuple(model(pixels(), IDS).logits[0, -1, :3].tolist()) for _ in range(8)}
    assert len(seen) > 1


def test_loss_leaves_out_ignored_labels():
    model = tiny_model()
    logits = model(pixels(), labels=mx.array([[5, 6, -100], [7, -100, -100]])).logits
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    expected = -(logprobs[0, 0, 5] + logprobs[0, 1, 6] + logprobs[1, 0, 7]) / 3
    got = model(pixels(), labels=mx.array([[5, 6, -100], [7, -100, -100]])).loss
    assert abs(got.item() - expected.item()) < 1e-5
    assert np.isnan(model(pixels(), labels=mx.full((2, 3), -100)).loss.item())


def test_labels_are_shifted():
    model = tiny_model()
    shifted = model.prepare_decoder_input_ids_from_labels(mx.array([[5, 6, -100, -100]]))
    assert shifted.tolist() == [[2, 5, 6, 1]]
    model.config.decoder_start_token_id, model.config.pad_token_id = 9, 10
    shifted = model.prepare_decoder_input_ids_from_labels(mx.array([[5, -100, -100]]))
    assert shifted.tolist() == [[9, 5, 10]]


def test_outputs_are_tuples_of_what_is_set():
    model = tiny_model()
    out = model(pixels(), labels=IDS)
    assert out[0] is out.loss and out["logits"] is out.logits
    loss, logits, features = model(pixels(), labels=IDS, return_dict=False)
    assert mx.array_equal(loss, out.loss) and mx.array_equal(logits, out.logits)
    assert mx.array_equal(features, out.encoder_last_hidden_state)
    again = model(encoder_outputs=(features,), decoder_input_ids=IDS)
    assert mx.array_equal(again.logits, model(pixels(), decoder_input_ids=IDS).logits)
    assert mx.array_equal(
        model.generate(encoder_outputs=(features,), max_new_tokens=4),
        model.generate(pixels(), max_new_tokens=4),
    )


def test_composed_of_objects():
    encoder, decoder = ViTModel(ViTConfig(**VIT)), TrOCRForCausalLM(TrOCRConfig(**TROCR))
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    assert model.encoder is encoder and model.decoder is decoder
    assert model.config.encoder is encoder.config and "enc_to_dec_proj" in model
    with pytest.raises(ConfigError, match="give a config, or an encoder and a decoder"):
        VisionEncoderDecoderModel(encoder=encoder)


def test_file_type_and_asked_type(tmp_path):
    model = tiny_model()
    model.set_dtype(mx.float16)
    model.save_pretrained(tmp_path)
    types = {}
    for dtype in (None, "float16", "bfloat16", mx.float32):
        loaded = VisionEncoderDecoderModel.from_pretrained(tmp_path, dtype=dtype)
        types[str(dtype)] = {x.dtype for x in parameters(loaded).values()}
    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    assert types["None"] == {mx.float32 if on_cpu else mx.float16}
    assert types["float16"] == {mx.float16} and types["bfloat16"] == {mx.bfloat16}
    assert types[str(mx.float32)] == {mx.float32}
    with pytest.raises(ConfigError, match="dtype is float8; expected one of float32"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path, dtype="float8")
    with pytest.raises(ConfigError, match="expected one of"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path, dtype=mx.int32)


def test_generation_to_the_end_of_the_position_table():
    model = tiny_model()
    for options in ({}, {"max_length": 21}, {"max_new_tokens": 20}):
        assert model.generate(pixels(), eos_token_id=36, **options).shape == (2, 21)
    with pytest.warns(UserWarning, match="past the end of the position table: they end at 21"):
        assert model.generate(pixels(), eos_token_id=36, max_length=22).shape == (2, 21)
    full = mx.full((2, 20), 2)
    assert model.generate(pixels(), decoder_input_ids=full, eos_token_id=36).shape == (2, 21)
    with pytest.raises(OptionError, match="leaves no room after a prompt of 20"):
        model.generate(pixels(), decoder_input_ids=full, max_length=20)
    with pytest.raises(TokenError, match="21 tokens, but the position table ends at 20"):
        model(pixels(), decoder_input_ids=mx.full((2, 21), 2))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (pixels().transpose(0, 3, 1, 2), r"pixel_values.transpose\(0, 2, 3, 1\)"),
        (pixels(channels=1), r"\(2, 16, 16, 1\); expected \(batch, height, width, 3\)"),
        (pixels()[0], r"\(16, 16, 3\); expected \(batch"),
        (pixels(height=20), "20×16 but this encoder was built for 16×16.*interpolate_pos_enc"),
    ],
)
def test_wrong_pixels(x, message):
    for run in (tiny_model().encode, tiny_model().generate):
        with pytest.raises(ImageError, match=message):
            run(x)


def test_other_sizes_with_interpolation():
    model = tiny_model()
    assert model.encode(pixels(height=24), interpolate_pos_encoding=True).shape == (2, 25, 24)
    tokens = model.generate(pixels(height=24), interpolate_pos_encoding=True, max_new_tokens=3)
    assert tokens.shape[0] == 2
    same = model.encode(pixels(), interpolate_pos_encoding=True)
    assert mx.array_equal(same, model.encode(pixels()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: m(pixels(), decoder_input_ids=mx.array([[37]] * 2)),
            r"\[37\]; expected 0 to 36",
        ),
        (lambda m: m(pixels(), decoder_input_ids=mx.array([[-1]] * 2)), r"\[-1\]"),
        (lambda m: m(pixels(), labels=mx.array([[40, -100, -5]] * 2)), r"\[-5, 40\].*or -100"),
        (lambda m: m(pixels()), "exactly one of decoder_input_ids and"),
        (lambda m: m(pixels(), IDS, decoder_inputs_embeds=mx.zeros((2, 5, 32))), "exactly one"),
        (lambda m: m(decoder_input_ids=IDS), "give the model pixel_values"),
        (lambda m: m.generate(), "give generate pixel_values"),
        (lambda m: m.generate(pixels(), decoder_input_ids=IDS[:1]), r"expected \(2, length\)"),
        (lambda m: m.generate(pixels(), decoder_input_ids=IDS[0]), r"\(5,\); expected"),
        (lambda m: m.generate(pixels(), decoder_input_ids=IDS + 30), "outside the vocabulary"),
        (lambda m: m.generate(pixels(), decoder_start_token_id=99), r"\[99\]"),
        (
            lambda m: m(pixels(), IDS, decoder_attention_mask=mx.ones((2, 4))),
            "covers 4 tokens; expected 5",
        ),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny_model())


def test_no_start_token_anywhere():
    model = tiny_model({}, {"decoder_start_token_id": None, "bos_token_id": None})
    with pytest.raises(TokenError, match="names no decoder_start_token_id"):
        model.generate(pixels())
    with pytest.raises(TokenError, match="set model.config.decoder_start_token_id"):
        model(pixels(), labels=IDS)


def test_new_weights_follow_the_configured_deviation():
    mx.random.seed(0)
    wide = {"hidden_size": 96, "initializer_range": 0.05}, {"d_model": 128, "init_std": 0.01}
    model = VisionEncoderDecoderModel(tiny_config(*wide))
    for name, value in parameters(model).items():
        std = 0.02 if name.startswith("enc_to") else 0.05 if name.startswith("encoder") else 0.01
        if "norm" in name:
            assert value.tolist() == ([1.0] if name.endswith("weight") else [0.0]) * value.size
        elif name.endswith("bias"):
            assert not value.any().item(), name
        else:
            assert abs(mx.std(value).item() / std - 1) < 4 / value.size**0.5 + 0.05, name
    assert not model.decoder.embed_tokens.weight[1].any()
    deit = DeiTModel(tiny_config(deit=True).encoder)
    assert not any(x.any() for x in (deit.cls_token, deit.distillation_token))


@pytest.mark.parametrize("tied", [True, False])
def test_resized_vocabulary(tied, tmp_path):
    """Old logits stay, ties stay, and the folder is read back with the new size."""
    model = tiny_model({}, {"tie_word_embeddings": tied})
    before = model(pixels(), decoder_input_ids=IDS).logits
    model.resize_token_embeddings(41)
    after = model(pixels(), decoder_input_ids=IDS).logits
    assert after.shape[-1] == 41 == model.config.decoder.vocab_size
    assert mx.allclose(after[..., :37], before, atol=1e-5)
    assert ("lm_head" in model.decoder) is not tied
    assert 0.01 < mx.std(model.decoder.embed_tokens.weight[37:]).item() < 0.03
    model.save_pretrained(tmp_path)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    assert mx.array_equal(again(pixels(), decoder_input_ids=IDS).logits, after)
    model.resize_token_embeddings(30)
    assert mx.allclose(model(pixels(), decoder_input_ids=IDS).logits, before[..., :30], atol=1e-5)
    with pytest.raises(ConfigError, match="new_num_tokens is 0; expected at least 1"):
        model.resize_token_embeddings(0)


def gradients_of(model, seed=0):
    labels = mx.array([[5, 6, 7, 2], [8, 9, 2, -100]])
    mx.random.seed(seed)
    step = nn.value_and_grad(model, lambda x: model(x, labels=labels).loss)
    return dict(tree_flatten(step(pixels())[1]))


def test_gradient_checkpointing_changes_no_gradient():
    model = tiny_model({}, {"dropout": 0.0})
    model.train()
    kept = gradients_of(model)
    model.gradient_checkpointing_enable()
    again = gradients_of(model)
    for name in kept:
        close(again[name], kept[name], 1e-5)
    model.gradient_checkpointing_enable(False)
    assert not model.encoder.gradient_checkpointing


def test_gradient_checkpointing_draws_the_same_dropouts_twice():
    """The gradient is that of the loss that was computed: checked by a difference."""
    model = tiny_model({"hidden_dropout_prob": 0.3}, {"dropout": 0.3})
    model.train()
    model.gradient_checkpointing_enable()
    labels, step = mx.array([[5, 6, 7, 2]]), 1e-2
    weight = model.decoder.layers[0].mlp.fc1.weight
    direction = mx.random.normal(weight.shape)
    direction = direction / mx.linalg.norm(direction)

    def loss(shift):
        model.decoder.layers[0].mlp.fc1.weight = weight + shift * direction
        mx.random.seed(7)
        return model(pixels(1), labels=labels).loss

    slope = ((loss(step) - loss(-step)) / (2 * step)).item()
    model.decoder.layers[0].mlp.fc1.weight = weight

    def value(x):
        mx.random.seed(7)
        return model(x, labels=labels).loss

    _, gradients = nn.value_and_grad(model, value)(pixels(1))
    along = (gradients["decoder"]["layers"][0]["mlp"]["fc1"]["weight"] * direction).sum().item()
    assert abs(along - slope) < 0.02 * max(1, abs(slope)) and abs(slope) > 1e-3


def test_decoder_keywords_and_unknown_ones():
    model = tiny_model()
    shifted = mx.arange(5)[None] + 3
    moved = model(pixels(), decoder_input_ids=IDS, decoder_position_ids=shifted).logits
    plain = model(pixels(), decoder_input_ids=IDS).logits
    same = model(pixels(), decoder_input_ids=IDS, decoder_position_ids=shifted - 3).logits
    assert mx.array_equal(plain, same) and not mx.allclose(plain, moved, atol=1e-3)
    for name in ("decoder_colour", "bool_masked_pos"):
        with pytest.raises(OptionError, match=f"{name} is not an argument of the model"):
            model(pixels(), decoder_input_ids=IDS, **{name: mx.zeros((1,))})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decoder_input_ids": [[0, 4], [0]]}, "decoder_input_ids are ragged"),
        ({"decoder_input_ids": mx.array([0, 4])}, r"are \(2,\); expected \(2, length\)"),
        ({"decoder_input_ids": mx.array([[0, 99], [0, 4]])}, "99"),
        (
            {
                "decoder_input_ids": mx.array([[0, 4], [0, 5]]),
                "decoder_attention_mask": mx.ones((2, 5)),
            },
            r"decoder_attention_mask is \(2, 5\); expected the shape of the prompt, \(2, 2\)",
        ),
        ({"decoder_start_token_id": [0, 1, 2]}, "has 3 ids for 2 images; give one, or one each"),
        ({"max_kv_size": 2, "decoder_input_ids": mx.array([[0, 4, 5]] * 2)}, "has no room beside"),
    ],
)
def test_prompts_that_cannot_be(given, message):
    options = {"decoder_start_token_id": 0, "max_new_tokens": 3, **given}
    with pytest.raises(ValueError, match=message):
        tiny_model().generate(pixels(), **options)


def test_a_start_token_for_each_image():
    model = tiny_model()
    tokens = model.generate(pixels(), decoder_start_token_id=[3, 7], max_new_tokens=2)
    assert tokens[:, 0].tolist() == [3, 7]
    alone = model.generate(pixels()[1:], decoder_start_token_id=7, max_new_tokens=2)
    assert tokens[1].tolist() == alone[0].tolist()


def test_what_generate_gives_as_an_object():
    model = tiny_model()
    options = {"decoder_start_token_id": 0, "max_new_tokens": 4, "eos_token_id": 2}
    plain = model.generate(pixels(), **options)
    out = model.generate(
        pixels(), return_dict_in_generate=True, output_scores=True, output_logits=True, **options
    )
    assert mx.array_equal(out.sequences, plain) and out.sequences_scores is None
    assert len(out.scores) == len(out.logits) == plain.shape[1] - 1
    assert out["sequences"] is out.sequences is out[0]
    scores = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    picked = mx.stack(out.logits, axis=1)
    picked = picked - mx.logsumexp(picked, axis=-1, keepdims=True)
    picked = mx.take_along_axis(picked, out.sequences[:, 1:, None], axis=2)[..., 0]
    assert mx.allclose(scores, picked, atol=1e-5)


def test_the_first_logits_are_the_forward_pass():
    model = tiny_model()
    out = model.generate(
        pixels(),
        decoder_start_token_id=0,
        max_new_tokens=1,
        return_dict_in_generate=True,
        output_logits=True,
    )
    logits = model(pixels(), mx.zeros((2, 1), mx.int32)).logits[:, 0]
    assert mx.allclose(out.logits[0], logits, atol=1e-5)
