"""Adapters: what they change, which layers get them, what is trained, their files, refusals."""

import json
import logging
import math
import shutil

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlx_vedec import VisionEncoderDecoderModel, load
from mlx_vedec.adapters import base_model
from mlx_vedec.adapters.files import attach
from mlx_vedec.adapters.targets import targets_of
from mlx_vedec.adapters.wrapping import (
    LoraConfig,
    add_adapters,
    export_peft,
    load_adapters,
    remove_adapters,
    save_adapters,
)
from mlx_vedec.checkpoints.quantizing import dequantize, quantization_block, quantize
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.decoders import DECODERS
from mlx_vedec.encoders import ENCODERS
from mlx_vedec.errors import ConfigError, OptionError, WeightsError
from mlx_vedec.layers.lora import AdapterSettings, adapted_layers
from mlx_vedec.layers.packed import bits_per_weight, float_type
from mlx_vedec.layers.quantization_config import POSSIBLE, QuantizationConfig
from mlx_vedec.model.config import VisionEncoderDecoderConfig
from mlx_vedec.reading.load import BUNDLED
from tests.checkpoints.test_quantizing import small_model, tiny_decoder
from tests.support.sampled import one_in
from tests.support.tiny import VIT, pixels, tiny_model

IDS = mx.array([[2, 5, 7, 9]] * 2)
LABELS = mx.array([[5, 6, 7, 2], [8, 9, 2, -100]])
ALL = LoraConfig(rank=4, embeddings=True)
FORMATS = [(mode, bits) for mode, (all_bits, _) in POSSIBLE.items() for bits in all_bits]
TABLE = "decoder.embed_tokens"


def logits(model):
    return model(pixels(), IDS).logits


def trainable(model):
    return dict(tree_flatten(model.trainable_parameters()))


def gradients(model):
    """Of the loss, by parameter."""
    model.config.decoder_start_token_id, model.config.pad_token_id = 2, 1
    _, found = nn.value_and_grad(model, lambda m: m(pixels(), labels=LABELS).loss)(model)
    return dict(tree_flatten(found))


def stirred(model, scale=0.1):
    """The model, all that is trained moved at random."""
    mx.random.seed(1)
    moved = [
        (name, (x + scale * mx.random.normal(x.shape)).astype(x.dtype))
        for name, x in trainable(model).items()
    ]
    model.update(tree_unflatten(moved))
    return model


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(mx.array_equal(ours[n], theirs[n]) for n in ours)


# what adapters change


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_at_the_start_nothing_changes_and_afterwards_nothing_is_left(kind, dtype):
    model = tiny_model().astype(dtype)
    before, expected = parameters(model), logits(model)
    add_adapters(model, LoraConfig(kind, embeddings=True, dropout=0.5))
    assert mx.array_equal(logits(model), expected)
    assert {x.dtype for x in trainable(model).values()} == {mx.float32}
    changed = logits(stirred(model))
    assert changed.dtype == expected.dtype and mx.abs(changed - expected).max() > 0.1
    assert float_type(model) == expected.dtype and bits_per_weight(model) == bits_per_weight(
        tiny_model().astype(dtype)
    )
    remove_adapters(model)
    assert same(parameters(model), before) and not adapted_layers(model)
    assert trainable(model).keys() == before.keys()


PAIRS = sorted({(e, "bart") for e in ENCODERS} | {("vit", d) for d in DECODERS})


@pytest.mark.parametrize(("encoder", "decoder"), one_in(5, PAIRS))
def test_every_encoder_and_decoder_learns_by_adapters_alone(encoder, decoder):
    """One step changes the adapters and nothing else, and reaches each of them."""
    model = pair(encoder, decoder)
    frozen, expected = parameters(model), logits(model)
    add_adapters(model, LoraConfig("dora", rank=2, embeddings=True))
    assert mx.array_equal(logits(model), expected)
    found = gradients(model)
    assert found.keys() == trainable(model).keys()
    dead = [n for n, g in found.items() if n.endswith((".lora_b", ".m")) and not mx.any(g)]
    assert not dead
    stepped = [(name, x - 0.1 * found[name]) for name, x in trainable(model).items()]
    model.update(tree_unflatten(stepped))
    after = parameters(model)
    assert all(mx.array_equal(after[name], x) for name, x in frozen.items())
    assert not mx.allclose(logits(model), expected)


def pair(encoder, decoder):
    """A tiny encoder and decoder with weights that are not small."""
    sizes = {**VIT, "window_size": 2, "embed_dim": 12, "depths": (1, 2), "num_heads": (2, 4)}
    sizes |= {"num_query_pool": 1, "masked_unit_size": 2, "masked_unit_attention": (True, False)}
    sizes |= {"patch_padding": 0}
    family = ENCODERS[encoder].config_class
    known = vars(family())
    mx.random.seed(0)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        family(**{name: value for name, value in sizes.items() if name in known}),
        tiny_decoder(decoder),
    )
    model = VisionEncoderDecoderModel(config)
    model.apply(lambda x: mx.random.normal(x.shape, scale=0.1) + (x if x.ndim == 1 else 0))
    model.eval()
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize(("mode", "bits"), FORMATS)
def test_quantized_layers_learn_as_their_floats_do(mode, bits, kind):
    """Every format: adapters on packed weights have the gradient that they have on floats."""
    model = small_model()
    quantize(model, QuantizationConfig(bits, mode=mode, recipe="uniform"))
    floats = small_model()
    quantize(floats, QuantizationConfig(bits, mode=mode, recipe="uniform"))
    dequantize(floats)
    before, saved = logits(model), quantization_block(model)
    for one in (model, floats):
        mx.random.seed(0)
        add_adapters(one, LoraConfig(kind, rank=4, embeddings=True))
    assert mx.array_equal(logits(model), before) and quantization_block(model) == saved
    stirred(model), stirred(floats)
    packed, plain = gradients(model), gradients(floats)
    assert packed.keys() == plain.keys() and len(packed) == (3 if kind == "dora" else 2) * 43
    for name in packed:
        scale = mx.abs(plain[name]).max()
        assert scale > 0 and mx.abs(packed[name] - plain[name]).max() < 2e-3 * scale + 1e-6, name


def test_dropout_acts_in_training_alone():
    model = stirred(add(tiny_model(decoder={"dropout": 0.0}), LoraConfig(dropout=0.5)))
    plain = logits(model)
    assert mx.array_equal(plain, logits(model))
    model.train()
    assert not mx.array_equal(logits(model), logits(model))
    model.eval()
    assert mx.array_equal(plain, logits(model))


def add(model, config=None):
    add_adapters(model, config)
    return model


def test_gradient_checkpointing_changes_no_gradient():
    model = stirred(add(tiny_model(decoder={"dropout": 0.0}), LoraConfig("dora")))
    model.train()
    plain = gradients(model)
    model.gradient_checkpointing_enable()
    again = gradients(model)
    assert all(mx.allclose(plain[name], again[name], atol=1e-6) for name in plain)


def test_gradient_checkpointing_draws_the_same_dropouts_twice():
    """The gradient is that of the loss as it was drawn: by differences, along one direction."""
    model = stirred(add(tiny_model(decoder={"dropout": 0.0}), LoraConfig(dropout=0.5)))
    model.train()
    model.gradient_checkpointing_enable()
    model.config.decoder_start_token_id, model.config.pad_token_id = 2, 1
    mx.random.seed(3)
    found, place = gradients(model), trainable(model)
    losses = []
    for step in (-1e-2, 1e-2):
        scale = step / mx.sqrt(sum(mx.sum(g * g) for g in found.values()))
        model.update(tree_unflatten([(n, x + scale * found[n]) for n, x in place.items()]))
        mx.random.seed(3)
        losses.append(model(pixels(), labels=LABELS).loss.item())
    length = mx.sqrt(sum(mx.sum(g * g) for g in found.values())).item()
    assert (losses[1] - losses[0]) / 2e-2 == pytest.approx(length, rel=2e-2)


def test_generating_with_adapters_is_the_argmax_of_the_forward_pass():
    model = stirred(add(tiny_model(), ALL))
    model.config.decoder_start_token_id, model.config.pad_token_id = 2, 1
    tokens = model.generate(pixels(), max_new_tokens=6, eos_token_id=[])
    out = model(pixels(), tokens[:, :-1]).logits
    assert mx.array_equal(mx.argmax(out, axis=-1), tokens[:, 1:])


def test_a_tied_head_shares_the_tables_adapter():
    model = stirred(add(tiny_model(), LoraConfig(targets=(), embeddings=True)))
    assert trainable(model).keys() == {f"{TABLE}.lora_a", f"{TABLE}.lora_b"}
    table = model.decoder.embed_tokens
    whole = table.merged()
    x = mx.random.normal((3, 32))
    assert mx.allclose(table.as_linear(x), x @ whole.T, atol=1e-4)
    assert mx.allclose(table(IDS), whole[IDS], atol=1e-5)


# which layers, and what is trained beside them


WHOLE = tiny_model()


def chosen(*targets, model=WHOLE, **options):
    return {*targets_of(model, LoraConfig(targets=targets, **options)).layers}


def test_presets_narrow_each_other_and_globs_add():
    every = chosen("all")
    assert len(every) == 2 * 6 + 3 * 10 + 1 and "enc_to_dec_proj" in every
    encoder, decoder = chosen("encoder"), chosen("decoder")
    assert encoder | decoder == every == chosen("encoder", "decoder")
    assert {path.split(".")[0] for path in encoder} == {"encoder"} and not encoder & decoder
    attention, mlp, cross = chosen("attention"), chosen("mlp"), chosen("cross")
    assert attention | mlp | cross == every == chosen("attention", "mlp", "cross")
    assert len(attention) == 2 * 4 + 3 * 8 and len(mlp) == 2 * 2 + 3 * 2
    assert cross == {p for p in decoder if ".cross_attn." in p} | {"enc_to_dec_proj"}
    assert chosen("decoder", "attention") == attention & decoder
    assert chosen("decoder", "mlp", "cross") == (mlp | cross) & decoder
    one = {"encoder.layers.1.mlp.fc1"}
    assert chosen("encoder.layers.1.mlp.fc1") == one
    assert chosen("encoder.encoder.layer.1.intermediate.dense") == one
    assert chosen("decoder", "attention", "encoder.layers.1.mlp.fc1") == attention & decoder | one
    assert len(chosen("q_proj", "v_proj")) == 2 * (2 + 3 + 3)
    assert chosen("encoder.*.[qk]_proj") == {p for p in encoder if p.endswith(("q_proj", "k_proj"))}
    assert chosen("decoder.layers.2") == {p for p in decoder if "layers.2." in p}
    assert chosen("encoder", embeddings=True) == encoder | {TABLE}


def test_the_last_blocks():
    near = chosen("all", num_layers=1)
    assert near == {p for p in chosen("all") if "encoder.layers.1." in p or "layers.2." in p}
    assert chosen("all", num_layers=3) == chosen("all") - {"enc_to_dec_proj"}
    assert chosen("q_proj", "enc_to_dec_proj", num_layers=1) == {
        p for p in near if p.endswith("q_proj")
    } | {"enc_to_dec_proj"}
    swin = chosen("encoder", model=pair("swin", "bart"), num_layers=2)
    assert {p.rpartition(".layers.")[0] + p.rpartition(".layers.")[2][:1] for p in swin} == {
        "encoder.stages.10",
        "encoder.stages.11",
    }


def test_what_is_trained_beside_adapters():
    model = tiny_model()
    config = LoraConfig(
        targets=("decoder", "cross"),
        num_layers=1,
        train_biases=True,
        train_norms=True,
        train_modules=(
            "enc_to_dec_proj",
            "encoder.cls_token",
            "decoder.layers.2.cross_attn.o_proj",
        ),
    )
    add_adapters(model, config)
    cross = {"decoder.layers.2.cross_attn." + name for name in ("q_proj", "k_proj", "v_proj")}
    assert {*adapted_layers(model)} == cross
    norms = {f"decoder.layers.2.{n}" for n in ("self_attn_norm", "cross_attn_norm", "mlp_norm")}
    whole = norms | {"enc_to_dec_proj", "decoder.layers.2.cross_attn.o_proj"}
    expected = {f"{path}.{leaf}" for path in cross for leaf in ("lora_a", "lora_b", "bias")}
    expected |= {f"{path}.{leaf}" for path in whole for leaf in ("weight", "bias")}
    assert {*trainable(model)} == expected | {"encoder.cls_token"}


def test_full_fine_tuning():
    def trained(*targets, **options):
        found = targets_of(WHOLE, LoraConfig("full", targets=targets, **options))
        assert not found.layers
        return {*found.trained}

    every = {*parameters(WHOLE)}
    assert trained("all") == every
    assert trained("encoder") == {name for name in every if name.startswith("encoder.")}
    last = {n for n in every if n.startswith(("encoder.layers.1.", "decoder.layers.2."))}
    assert trained("all", num_layers=1) == last
    cross = trained("cross")
    assert cross == {n for n in every if ".cross_attn." in n or n.startswith("enc_to_dec_proj")}
    assert trained("encoder.norm") == {"encoder.norm.weight", "encoder.norm.bias"}


def test_what_is_frozen_stays_out_of_what_is_chosen():
    def left(*freeze, model=WHOLE):
        config = LoraConfig("full", freeze=freeze)
        return {*parameters(model)} - {*targets_of(model, config).trained}

    every = {*parameters(WHOLE)}
    encoder = {name for name in every if name.startswith("encoder.")}
    tables = {"decoder.embed_tokens.weight", "decoder.embed_positions.weight"}
    tables |= {f"decoder.embed_norm.{leaf}" for leaf in ("weight", "bias")}
    tables |= {n for n in encoder if n.startswith(("encoder.patches", "encoder.cls", "encoder.po"))}
    assert left("encoder") == encoder
    assert left("embeddings") == tables
    assert left("norms") == {n for n in every if "norm." in n}
    assert left("encoder", "mlp") == encoder | {n for n in every if ".mlp." in n}
    assert left("encoder.layers.0", "fc?") == {
        n for n in every if n.startswith("encoder.layers.0.") or ".fc" in n
    }
    bert = pair("vit", "bert")
    assert left("head", model=bert) == {n for n in parameters(bert) if n.startswith("decoder.head")}
    layers = targets_of(WHOLE, LoraConfig(freeze=("encoder", "decoder.layers.0"))).layers
    assert {name.split(".layers.")[-1][0] for name in layers} == {"1", "2", "e"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (LoraConfig(freeze="encodr"), "freeze 'encodr' is no preset.*did you mean encoder"),
        (LoraConfig(freeze="head"), "freeze 'head' is nothing that this model has"),
        (LoraConfig(freeze=("encoder", "decoder")), "nothing .* not frozen by encoder, decoder"),
        (
            LoraConfig(freeze="embeddings", train_modules="embed_tokens"),
            "both name decoder.embed_tokens.weight",
        ),
    ],
)
def test_what_cannot_be_frozen(config, said):
    with pytest.raises(OptionError, match=said):
        targets_of(WHOLE, config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"fine_tune_type": "qlora"},
            "fine_tune_type is 'qlora'; expected one of lora, dora, full",
        ),
        ({"rank": 0}, "rank is 0; expected a whole number, 1 or more"),
        ({"rank": 2.0}, "rank is 2.0; expected a whole number, 1 or more"),
        ({"dropout": -0.1}, "dropout is -0.1; expected a number from 0 on and below 1"),
        ({"dropout": 1}, "dropout is 1"),
        ({"num_layers": 0}, "num_layers is 0; expected a whole number, 1 or more, or -1"),
        ({"scale": 0}, "scale is 0; expected a number above 0"),
        ({"scale": "2"}, "scale is '2'; expected a number above 0"),
        ({"rank": 2**31}, "rank is 2147483648; expected a whole number, 2147483647 or less"),
        ({"targets": (3,)}, "targets is (3,); expected names"),
        ({"train_modules": 3}, "train_modules is (3,); expected names"),
        ({"embeddings": 1}, "embeddings is 1; expected True or False"),
        ({"alpha": float("nan")}, "alpha is nan; expected a number above 0"),
        ({"scale": 1, "alpha": 8}, "scale and alpha are both given; expected one"),
        ({"rslora": True}, "rslora is given without alpha"),
        ({"targets": ()}, "there are no targets, and nothing else to train"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(OptionError) as caught:
        LoraConfig(**options)
    assert message in str(caught.value)


def test_scales():
    assert LoraConfig().multiplier == 2 and LoraConfig(scale=20).multiplier == 20
    assert LoraConfig(rank=16, alpha=32).multiplier == 2
    assert LoraConfig(rank=16, alpha=32, rslora=True).multiplier == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"targets": ("q_prj", "encodr")},
            "target 'q_prj' is no preset, and no layer's name; did you mean",
        ),
        ({"targets": ("encodr",)}, "did you mean encoder"),
        ({"targets": ("*.zzz",)}, "target '*.zzz'"),
        ({"train_modules": ("enc_to_dec",)}, "did you mean enc_to_dec_proj"),
        ({"targets": ("encoder", "cross")}, "the targets encoder, cross choose nothing"),
    ],
)
def test_targets_that_are_not_there(options, message):
    model = tiny_model()
    with pytest.raises(OptionError) as caught:
        add_adapters(model, LoraConfig(**options))
    assert message in str(caught.value)
    assert {*trainable(model)} == {*parameters(model)}


def test_what_a_model_with_adapters_does_not_do(tmp_path):
    model = add(tiny_model(), ALL)
    fuse_them = "the model has adapters; fuse them, or remove_adapters, before"
    for act, message in (
        (lambda: add_adapters(model), f"{fuse_them} others are put on it"),
        (lambda: load_adapters(model, saved(tmp_path / "a")), f"{fuse_them} others are put on it"),
        (lambda: quantize(model, 4), f"{fuse_them} it is quantized"),
        (lambda: dequantize(model), f"{fuse_them} it is dequantized"),
        (lambda: model.save_pretrained(tmp_path / "b"), f"{fuse_them} it is saved as a checkpoint"),
        (lambda: model.resize_token_embeddings(50), "the embedding has an adapter"),
    ):
        with pytest.raises(ValueError, match=message):
            act()
    assert not (tmp_path / "b").exists()


def test_packed_weights_are_not_trained_themselves():
    model = small_model()
    quantize(model, 8)
    for config in (LoraConfig("full"), LoraConfig(train_modules=("encoder.layers.0.mlp.fc1",))):
        with pytest.raises(OptionError, match=r"cannot be trained themselves: .*; give them adapt"):
            add_adapters(model, config)
    add_adapters(model, LoraConfig(train_biases=True, train_norms=True))
    assert {x.dtype for x in trainable(model).values()} == {mx.float32}
    assert gradients(model).keys() == trainable(model).keys()
    remove_adapters(model)
    assert not any(name.endswith(".scales") for name in trainable(model))


# files


def saved(folder, config=ALL):
    save_adapters(stirred(add(tiny_model(), config)), folder)
    return folder


@pytest.mark.parametrize(
    "config",
    [
        ALL,
        LoraConfig("dora", rank=3, alpha=6, dropout=0.25, embeddings=True),
        LoraConfig("full", targets=("encoder.patches", "cross")),
        LoraConfig(targets="cross", train_norms=True, train_biases=True, train_modules="cls_token"),
    ],
)
def test_saved_and_loaded(tmp_path, config):
    """To the bit, and trained on as before; once more from what was loaded."""
    model = stirred(add(tiny_model(), config))
    save_adapters(model, tmp_path)
    again = tiny_model()
    load_adapters(again, tmp_path)
    assert same(parameters(again), parameters(model)) and same(trainable(again), trainable(model))
    kinds = [{p: x.settings for p, x in adapted_layers(one).items()} for one in (model, again)]
    assert kinds[0] == kinds[1] and mx.array_equal(logits(model), logits(again))
    save_adapters(again, tmp_path / "again")
    for name in ("adapters.safetensors", "adapter_config.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_layers_that_differ(tmp_path):
    model, kinds = tiny_model(), {"encoder.layers.0.mlp.fc1": AdapterSettings(2, 1.5, 0.1)}
    kinds |= {f"decoder.layers.{n}.mlp.fc2": AdapterSettings(3, 1.0) for n in range(2)}
    attach(model, kinds, ())
    save_adapters(stirred(model), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert [*config["overrides"]] == ["encoder.encoder.layer.0.intermediate.dense"]
    again = tiny_model()
    load_adapters(again, tmp_path)
    assert {path: layer.settings for path, layer in adapted_layers(again).items()} == kinds
    assert mx.array_equal(logits(model), logits(again))
    with pytest.raises(OptionError, match="PEFT has one dropout for all layers"):
        export_peft(again, tmp_path / "peft")


def test_what_is_in_the_files(tmp_path):
    saved(tmp_path, LoraConfig(rank=4, scale=3, targets=("encoder", "mlp")))
    tensors, metadata = mx.load(str(tmp_path / "adapters.safetensors"), return_metadata=True)
    assert metadata == {"format": "mlx"} and len(tensors) == 2 * 2 * 2
    assert tensors["encoder.encoder.layer.1.intermediate.dense.lora_a"].shape == (24, 4)
    assert tensors["encoder.encoder.layer.1.intermediate.dense.lora_b"].shape == (4, 40)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["fine_tune_type"] == "lora" and config["trained"] == []
    keys = config["lora_parameters"].pop("keys")
    assert config["lora_parameters"] == {"rank": 4, "scale": 3, "dropout": 0.0, "dora": False}
    assert {f"{key}.lora_a" for key in keys} < {*tensors}
    assert config["base"]["model_types"]["encoder"] == "vit"


def test_convolutions_and_turned_layers_are_stored_as_in_checkpoints(tmp_path):
    model = pair("vit", "gpt2")
    add_adapters(model, LoraConfig("full", targets=("projection", "decoder.*.fc1")))
    save_adapters(stirred(model), tmp_path)
    tensors = mx.load(str(tmp_path / "adapters.safetensors"))
    assert tensors["encoder.embeddings.patch_embeddings.projection.weight"].shape == (24, 3, 4, 4)
    assert tensors["decoder.transformer.h.0.mlp.c_fc.weight"].shape == (64, 256)
    again = pair("vit", "gpt2")
    load_adapters(again, tmp_path)
    assert same(parameters(again), parameters(model))


def test_nothing_to_save(tmp_path):
    model = tiny_model()
    model.freeze()
    with pytest.raises(OptionError, match="no adapters, and nothing is trained"):
        save_adapters(model, tmp_path)


def changed(folder, tensors=None, **values):
    """The folder with tensors or values of the config replaced; None takes away."""
    path = folder / "adapters.safetensors"
    found = {**mx.load(str(path)), **(tensors or {})}
    mx.save_safetensors(str(path), {n: x for n, x in found.items() if x is not None})
    config = json.loads((folder / "adapter_config.json").read_text())
    config = {k: x for k, x in {**config, **values}.items() if x is not None}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def load_error(folder, model=None, kind=WeightsError, **options):
    model = model or tiny_model()
    before = logits(model)
    with pytest.raises(kind) as caught:
        load_adapters(model, folder, **options)
    assert mx.array_equal(logits(model), before) and not adapted_layers(model)
    return str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"rank": 0},
            {"rank": 2**40},
            {"rank": "4"},
            {"rank": 4.0},
            {"rank": True},
            {"rank": None},
        ),
        *({"scale": "3"}, {"scale": math.nan}, {"scale": 10**400}, {"dropout": 1}, {"dropout": -1}),
        *({"dora": 2}, {"dora": "no"}, {"keys": 7}, {"keys": None}),
    ],
)
def test_settings_of_a_file_that_no_adapter_has(tmp_path, wrong):
    folder = saved(tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    folder = changed(folder, lora_parameters={**config["lora_parameters"], **wrong})
    assert "is not what save_adapters writes" in load_error(folder, kind=ConfigError)


@pytest.mark.parametrize("base", [7, [], "x", {"shapes": 7, "model_types": [1]}])
def test_a_base_of_another_form(tmp_path, base):
    message = load_error(changed(saved(tmp_path), base=base), kind=ValueError)
    assert "is for another model" in message or "says neither what model it is for" in message


def test_tensors_of_an_adapter_that_are_no_matrices(tmp_path):
    name = "encoder.encoder.layer.0.output.dense.lora_a"
    for wrong in (mx.array(1.0), mx.zeros((40, 4), mx.int8), mx.zeros((40, 4, 1))):
        assert f"1 misshapen: {name} is" in load_error(changed(saved(tmp_path), {name: wrong}))


def test_a_rank_above_all_sides_of_the_weights():
    with pytest.raises(OptionError, match="rank is 1000000000; expected 32 or less, the shorter"):
        add_adapters(tiny_model(), LoraConfig(rank=10**9))


def test_tensors_that_do_not_fit_are_all_named(tmp_path):
    name = "encoder.encoder.layer.0.output.dense"
    wrong = {f"{name}.lora_a": mx.zeros((3, 3)), f"{name}.lora_b": None, "strange": mx.zeros(1)}
    message = load_error(changed(saved(tmp_path), wrong))
    assert (
        f"1 missing: {name}.lora_b; 1 extra: strange; 1 misshapen: {name}.lora_a is (3, 3) of "
        in (message)
        and message.endswith("float32, expected floats (40, 4)")
    )


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"base": None}, ConfigError, "says neither what model it is for"),
        ({"lora_parameters": {"rank": 4}}, ConfigError, "is not what save_adapters writes"),
        ({"lora_parameters": 3}, ConfigError, "is not what save_adapters writes"),
        ({"trained": ["a.b"]}, WeightsError, "names a.b, which the model does not have"),
        ({"trained": None}, ConfigError, "expected trained, and lora_parameters with rank"),
        (
            {"lora_parameters": {"rank": 4, "scale": 2, "dropout": 0, "dora": 0, "keys": ["a"]}},
            WeightsError,
            "names a, which the model does not have",
        ),
    ],
)
def test_configs_that_do_not_fit(tmp_path, values, kind, message):
    assert message in load_error(changed(saved(tmp_path), **values), kind=kind)


def test_adapters_of_another_model(tmp_path):
    folder = saved(tmp_path)
    message = load_error(folder, tiny_model(decoder={"vocab_size": 40}))
    assert "decoder.model.decoder.embed_tokens.weight is 37 x 32, 1 times there and 40 x 32" in (
        message
    )
    message = load_error(folder, tiny_model(encoder={"num_hidden_layers": 3}))
    assert "2 times there and" in message and "3 times here" in message and "more;" in message
    assert message.count(" there and ") == base_model.SHOWN == 4
    assert "model_types encoder is vit there and deit here" in load_error(
        folder, tiny_model(deit=True)
    ).replace("  ", " ")


def test_adapters_of_another_quantization(tmp_path, caplog):
    model = small_model()
    quantize(model, 4)
    save_adapters(stirred(add(model, ALL)), tmp_path)
    assert "another quantization: bits is 4 there and missing here" in load_error(
        tmp_path, small_model()
    )
    other = small_model()
    quantize(other, 8)
    assert "bits is 4 there and 8 here" in load_error(tmp_path, other)
    with caplog.at_level(logging.WARNING, "mlx_vedec"):
        load_adapters(other, tmp_path, requantized=True)
    assert "was trained with another quantization" in caplog.text


@pytest.mark.parametrize("missing", ["adapters.safetensors", "adapter_config.json"])
def test_a_file_that_is_not_there(tmp_path, missing):
    (saved(tmp_path) / missing).unlink()
    assert missing in load_error(tmp_path, kind=ValueError)


# through `load`


def test_load_with_adapters(tmp_path, caplog):
    """Of the bundled model, its folder moved, cast and quantized as it is loaded."""
    model, _ = load()
    add_adapters(model, LoraConfig(targets=("decoder", "cross")))
    save_adapters(stirred(model, 0.02), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["model"] == str(BUNDLED)
    again, _ = load(adapter_path=tmp_path)
    assert same(parameters(again), parameters(model)) and not again.training
    assert not caplog.records
    half, _ = load(adapter_path=tmp_path, dtype="float16", quantize=8)
    types = {x.dtype for name, x in parameters(half).items() if ".lora_" in name}
    assert types == {mx.float32} and float_type(half) == mx.float16 and quantization_block(half)
    assert "another quantization" in caplog.text
    caplog.clear()
    shutil.copytree(BUNDLED, tmp_path / "moved", ignore=shutil.ignore_patterns("lines"))
    load(tmp_path / "moved", adapter_path=tmp_path)
    assert "was trained with" in caplog.text


# PEFT's files, without PEFT

QUERY = "base_model.model.encoder.encoder.layer.0.attention.attention.query"


def peft_folder(folder, tensors=None, **config):
    found = {f"{QUERY}.lora_A.weight": mx.ones((2, 24)), f"{QUERY}.lora_B.weight": mx.ones((24, 2))}
    found |= tensors or {}
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), found)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, **config}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def scale_of(folder):
    model = tiny_model()
    load_adapters(model, folder)
    return model.encoder.layers[0].attn.q_proj.settings.scale


def test_patterns_of_peft(tmp_path):
    assert scale_of(peft_folder(tmp_path)) == 2
    patterns = {"key": 9, r"layer\.\d\..*query": 8, "query": 7}
    assert scale_of(peft_folder(tmp_path, alpha_pattern=patterns)) == 4
    assert scale_of(peft_folder(tmp_path, alpha_pattern={"(.*)*(.*)*x": 9, "query": 7})) == 3.5
    for pattern in ("(", "(?i)query", "["):
        folder = peft_folder(tmp_path, alpha_pattern={pattern: 8})
        assert "is not understood; expected the name" in load_error(folder, kind=ConfigError)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"r": "8"}, {"r": 2.5}, {"r": [2]}, {"lora_alpha": "16"}, {"lora_alpha": math.nan}),
        *({"lora_alpha": 10**400}, {"lora_dropout": "0"}, {"lora_dropout": 1}, {"use_dora": "yes"}),
        *(
            {"alpha_pattern": [1]},
            {"alpha_pattern": {"q": "9"}},
            {"alpha_pattern": {"q": math.inf}},
        ),
        *({"rank_pattern": 7}, {"target_modules": 7}, {"modules_to_save": "all"}),
        *({"base_model_name_or_path": 7}, {"init_lora_weights": [1]}, {"use_rslora": 1}),
        {"alpha_pattern": {"q": math.inf}},
        *(
            {"kasa_config": {"a": 1}},
            {"use_new_kind": True},
            {"peft_type": "KASA"},
            {"peft_type": 1},
        ),
    ],
)
def test_configs_of_peft_that_are_refused(tmp_path, wrong):
    message = load_error(peft_folder(tmp_path, **wrong), kind=ConfigError)
    assert next(iter(wrong)) in message or f"is of type {wrong['peft_type']}" in message


@pytest.mark.parametrize("shape", [(), (0, 24), (24,), (2, 2, 24)])
def test_matrices_of_peft_that_are_none(tmp_path, shape):
    folder = peft_folder(tmp_path, {f"{QUERY}.lora_A.weight": mx.zeros(shape)})
    assert "query" in load_error(folder)
