"""Adapters and PEFT's: both directions, every encoder's names, fused folders in transformers."""

import json
import logging
import re
import shutil
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import mlx.core as mx  # noqa: E402

from mlx_vedec import VisionEncoderDecoderModel  # noqa: E402
from mlx_vedec.adapters.wrapping import (  # noqa: E402
    LoraConfig,
    add_adapters,
    export_peft,
    fuse,
    import_peft,
    load_adapters,
    save_adapters,
)
from mlx_vedec.checkpoints.quantizing import quantize  # noqa: E402
from mlx_vedec.errors import ConfigError, OptionError, WeightsError  # noqa: E402
from mlx_vedec.layers.lora import adapted_layers  # noqa: E402
from tests.adapters.test_adapters import stirred  # noqa: E402
from tests.parity.reference import ENCODER_SIZES, close, image, pair  # noqa: E402

IDS = np.array([[2, 5, 7, 9]] * 2)
UNTIED = {"tie_word_embeddings": False}


def quiet(call, *arguments, **keywords):
    """PEFT and transformers warn of what they do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments, **keywords)


def theirs_of(model, x):
    with torch.no_grad():
        return quiet(model, pixel_values=x, decoder_input_ids=torch.from_numpy(IDS)).logits


def ours_of(model, y):
    return model(y, mx.array(IDS)).logits


def adapted(model, **options):
    """transformers' model with random adapters of PEFT."""
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "lora_dropout": 0.1, **options})
    wrapped = quiet(peft.get_peft_model, model, config)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return wrapped.eval()


ROWS = [
    ("TrOCR", {}, {"target_modules": ["q_proj", "fc1"]}),
    ("TrOCR", {}, {"target_modules": ["q_proj", "v_proj"], "use_dora": True}),
    ("TrOCR", {}, {"target_modules": "all-linear", "use_rslora": True, "bias": "lora_only"}),
    ("TrOCR", {}, {"target_modules": ["q_proj", "embed_tokens"]}),
    ("TrOCR", {}, {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True}),
    ("TrOCR", UNTIED, {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True}),
    ("TrOCR", {}, {"target_modules": ["q_proj", "output_projection"]}),
    ("GPT2", {}, {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    (
        "GPT2",
        {},
        {
            "target_modules": ["c_attn", "q_attn"],
            "use_dora": True,
            "modules_to_save": ["enc_to_dec_proj", "ln_f", "c_fc"],
        },
    ),
    ("GPT2", {}, {"target_modules": ["c_attn"], "fan_in_fan_out": True, "bias": "all"}),
    ("Bert", {}, {"target_modules": "all-linear", "modules_to_save": ["enc_to_dec_proj"]}),
    ("Bert", {}, {"target_modules": ["query"], "modules_to_save": ["word_embeddings"]}),
    (
        "Bert",
        {},
        {
            "target_modules": ["query", "key"],
            "rank_pattern": {"query": 2},
            "alpha_pattern": {"layer.1.attention.self.query": 9},
        },
    ),
]


@pytest.mark.parametrize(("decoder", "changes", "options"), ROWS)
def test_import_export_and_fuse(tmp_path, decoder, changes, options):
    """PEFT's logits here, ours in PEFT, and those of the fused folder in transformers."""
    theirs, ours = pair(tmp_path / "base", ("ViT", {}), (decoder, changes))
    x, y = image(theirs)
    before, wrapped = ours_of(ours, y), adapted(theirs, **options)
    expected = theirs_of(wrapped, x)
    quiet(wrapped.save_pretrained, tmp_path / "peft")
    load_adapters(ours, tmp_path / "peft")
    close(ours_of(ours, y), expected)
    assert mx.abs(before - ours_of(ours, y)).max() > 0.1
    export_peft(ours, tmp_path / "back")
    base = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path / "base")
    again = quiet(peft.PeftModel.from_pretrained, base, tmp_path / "back").eval()
    close(ours_of(ours, y), theirs_of(again, x))
    assert torch.allclose(theirs_of(again, x), expected, atol=1e-5)
    fuse(ours)
    ours.save_pretrained(tmp_path / "fused")
    whole = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path / "fused").eval()
    close(ours_of(ours, y), theirs_of(whole, x))
    close(ours_of(ours, y), expected)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", sorted({*ENCODER_SIZES} - {"Tipsv2Vision"}))
def test_every_encoder_has_transformers_names(tmp_path, encoder):
    """Exported, PEFT finds each layer; and what it saves is found here."""
    theirs, ours = pair(tmp_path / "base", (encoder, {}), ("Marian", {}))
    x, y = image(theirs)
    add_adapters(ours, LoraConfig(rank=2, train_modules="enc_to_dec_proj", train_norms=True))
    stirred(ours)
    export_peft(ours, tmp_path / "out", base="owner/name")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert len(config["target_modules"]) == len(adapted_layers(ours)) > 20
    assert config["base_model_name_or_path"] == "owner/name"
    wrapped = quiet(peft.PeftModel.from_pretrained, theirs, tmp_path / "out").eval()
    close(ours_of(ours, y), theirs_of(wrapped, x))
    quiet(wrapped.save_pretrained, tmp_path / "back")
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path / "base")
    import_peft(again, tmp_path / "back")
    assert mx.array_equal(ours_of(again, y), ours_of(ours, y))


def test_layers_that_transformers_splits_have_no_name(tmp_path):
    """TIPSv2's queries, keys and values are one layer in files and here, and three in memory."""
    theirs, ours = pair(tmp_path / "base", ("Tipsv2Vision", {}), ("Marian", {}))
    add_adapters(ours, LoraConfig(rank=2))
    with pytest.raises(OptionError, match="no name for encoder.blocks.0.*the decoder alone; fuse"):
        export_peft(ours, tmp_path / "out")
    decoder = VisionEncoderDecoderModel.from_pretrained(tmp_path / "base")
    add_adapters(decoder, LoraConfig(rank=2, targets="decoder.*"))
    stirred(decoder)
    export_peft(decoder, tmp_path / "out")
    x, y = image(theirs)
    wrapped = quiet(peft.PeftModel.from_pretrained, theirs, tmp_path / "out").eval()
    close(ours_of(decoder, y), theirs_of(wrapped, x))


@pytest.mark.parametrize("decoder", ["TrOCR", "Bert", "GPT2"])
def test_the_adapter_of_a_tied_embedding_becomes_two(tmp_path, decoder):
    theirs, ours = pair(tmp_path / "base", ("ViT", {}), (decoder, {}))
    x, y = image(theirs)
    add_adapters(ours, LoraConfig(rank=3, targets=("decoder", "cross"), embeddings=True))
    expected = ours_of(stirred(ours), y)
    export_peft(ours, tmp_path / "out")
    wrapped = quiet(peft.PeftModel.from_pretrained, theirs, tmp_path / "out").eval()
    close(expected, theirs_of(wrapped, x))
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path / "base")
    import_peft(again, tmp_path / "out")
    assert mx.abs(ours_of(again, y) - expected).max() < 1e-4 and not again.ties_head


def test_names_of_transformers_4_and_pickles(tmp_path):
    """Adapters of older versions have the names on disk, and lie in a pickle."""
    theirs, ours = pair(tmp_path / "base")
    x, y = image(theirs)
    wrapped = adapted(theirs, target_modules=["q_proj"])
    quiet(wrapped.save_pretrained, tmp_path / "peft")
    path = tmp_path / "peft" / "adapter_model.safetensors"
    old = {
        name.replace("encoder.layers.", "encoder.encoder.layer.").replace(
            "attention.q_proj", "attention.attention.query"
        ): torch.from_numpy(np.array(tensor))
        for name, tensor in mx.load(str(path)).items()
    }
    assert any("attention.attention.query" in name for name in old)
    torch.save(old, tmp_path / "peft" / "adapter_model.bin")
    path.unlink()
    load_adapters(ours, tmp_path / "peft")
    close(ours_of(ours, y), theirs_of(wrapped, x))


def test_fused_from_our_files(tmp_path):
    """Trained here, saved, loaded, fused: transformers computes the same."""
    for kind in ("lora", "dora"):
        theirs, ours = pair(tmp_path / "base", ("ViT", {}), ("GPT2", {}))
        x, y = image(theirs)
        add_adapters(ours, LoraConfig(kind, rank=3, embeddings=True, train_norms=True))
        expected = ours_of(stirred(ours), y)
        save_adapters(ours, tmp_path / kind)
        again = VisionEncoderDecoderModel.from_pretrained(tmp_path / "base")
        load_adapters(again, tmp_path / kind)
        fuse(again)
        again.save_pretrained(tmp_path / "fused")
        whole = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path / "fused").eval()
        close(expected, theirs_of(whole, x))


# a larger vocabulary, and convolutions

GROWN = [
    {"modules_to_save": ["embed_tokens", "word_embeddings", "wte"]},
    {"modules_to_save": ["embed_tokens", "word_embeddings", "wte", "output_projection", "lm_head"]},
    {"trainable_token_indices": [37, 40, 38, 39, 5]},
    {"embedding": ["embed_tokens", "word_embeddings", "wte"]},
    {"save_embedding_layers": True},
]


@pytest.mark.parametrize("options", GROWN, ids=["table", "both", "tokens", "adapter", "base"])
@pytest.mark.parametrize("decoder", ["TrOCR", "Bert", "GPT2"])
@pytest.mark.parametrize("changes", [{}, UNTIED], ids=["tied", "untied"])
def test_adapters_of_a_larger_vocabulary(tmp_path, caplog, options, decoder, changes):
    """The base has 37 rows and the adapters 41: the model grows, and computes what PEFT does.

    Rows that PEFT does not store are random, in transformers too, so their logits are left out.
    """
    theirs, ours = pair(tmp_path / "base", ("ViT", {}), (decoder, changes))
    options = dict(options)
    save = {key: options.pop(key) for key in ("save_embedding_layers",) if key in options}
    names = ["q_proj", "query", "c_attn", *options.pop("embedding", ())]
    theirs.decoder.resize_token_embeddings(41, mean_resizing=False)
    theirs.config.decoder.vocab_size = 41
    wrapped = adapted(theirs, target_modules=names, **options)
    quiet(wrapped.save_pretrained, tmp_path / "peft", **save)
    x, y = image(theirs)
    with caplog.at_level(logging.WARNING, "mlx_vedec"):
        load_adapters(ours, tmp_path / "peft")
    assert "the vocabulary grows from 37 to 41" in caplog.text
    assert ours.config.decoder.vocab_size == 41
    new = np.array([[2, 5, 37, 40]] * 2)
    with torch.no_grad():
        expected = quiet(wrapped, pixel_values=x, decoder_input_ids=torch.from_numpy(new)).logits
    known = stored_rows(tmp_path / "peft", changes)
    got = ours(y, mx.array(new)).logits
    assert got.shape == expected.shape
    close(got[..., :known], expected[..., :known])
    fuse(ours)
    assert mx.abs(ours(y, mx.array(new)).logits - got).max() < 1e-3


def stored_rows(folder, changes):
    """How many rows of the head the adapters determine: all that they store, or the base's."""
    names = mx.load(str(folder / "adapter_model.safetensors"))
    head = any(".output_projection.weight" in n or ".lm_head.weight" in n for n in names)
    head |= any("cls.predictions.decoder.weight" in n for n in names)
    tied = not changes
    table = any("base_layer.weight" in n for n in names)
    return 41 if head or (tied and table) else 37


def test_rows_that_are_no_rows_here(tmp_path):
    theirs, _ = pair(tmp_path / "base")
    wrapped = adapted(theirs, target_modules=["q_proj"], trainable_token_indices=[3, 4])
    quiet(wrapped.save_pretrained, tmp_path / "peft")
    for indices, message in (
        ([3], r"of \(2, 32\) for 1 tokens"),
        ([3, 10**6], r"for 2 tokens up to 1000000; expected \(2, 32\) in a table of 37"),
        ("x", "expected list or dict"),
        ({"wte": [3, 4]}, "expected token ids"),
    ):
        place = tmp_path / str(len(message))
        kind = (WeightsError, ConfigError)
        said = import_error(tmp_path, place, kind, trainable_token_indices=indices)
        assert re.search(message, said)


@pytest.mark.parametrize("encoder", ["ViT", "DeiT", "Dinov2", "CLIPVision", "Swin"])
def test_adapters_of_the_patch_convolution(tmp_path, encoder):
    theirs, ours = pair(tmp_path / "base", (encoder, {}))
    x, y = image(theirs)
    names = ["projection", "patch_embedding", "q_proj"]
    wrapped = adapted(theirs, target_modules=names, use_rslora=True, alpha_pattern={names[0]: 11})
    quiet(wrapped.save_pretrained, tmp_path / "peft")
    before = ours_of(ours, y)
    load_adapters(ours, tmp_path / "peft")
    close(ours_of(ours, y), theirs_of(wrapped, x))
    assert mx.abs(before - ours_of(ours, y)).max() > 0.01
    name = next(
        n for n in mx.load(str(tmp_path / "peft" / "adapter_model.safetensors")) if "patch" in n
    )
    message = import_error(tmp_path, tmp_path / "x", WeightsError, {name: mx.zeros((3, 3, 3, 3))})
    assert "is a convolution of" in message


def test_dora_of_the_patch_convolution_is_refused(tmp_path):
    theirs, _ = pair(tmp_path / "base")
    wrapped = adapted(theirs, target_modules=["projection", "q_proj"], use_dora=True)
    quiet(wrapped.save_pretrained, tmp_path / "peft")
    message = import_error(tmp_path, tmp_path / "x", WeightsError)
    assert "patch_embeddings.projection is a convolution with DoRA" in message


# what is refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base, and adapters of PEFT for its cross-attention."""
    place = tmp_path_factory.mktemp("peft")
    theirs, _ = pair(place / "base")
    wrapped = adapted(theirs, target_modules=["encoder_attn.q_proj", "embed_tokens"])
    quiet(wrapped.save_pretrained, place / "peft")
    return place


def import_error(folder, place, kind, tensors=None, quantized=False, **values):
    """The error of the adapters with tensors or values changed; None takes away."""
    shutil.copytree(folder / "peft", place / "peft")
    path = place / "peft" / "adapter_model.safetensors"
    found = {**mx.load(str(path)), **(tensors or {})}
    mx.save_safetensors(str(path), {n: x for n, x in found.items() if x is not None})
    path = place / "peft" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    model = VisionEncoderDecoderModel.from_pretrained(folder / "base")
    if quantized:
        quantize(model, 8)
    with pytest.raises(kind) as caught:
        load_adapters(model, place / "peft")
    assert not adapted_layers(model)
    return str(caught.value)


LAYER = "base_model.model.decoder.model.decoder.layers.0.encoder_attn.q_proj"


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (ConfigError, {"peft_type": "LOHA"}, "is of type LOHA; expected LORA"),
        (ConfigError, {"lora_bias": True}, "has lora_bias, which there is not here"),
        (
            ConfigError,
            {"init_lora_weights": "pissa_niter_4"},
            "initialised by pissa_niter_4, which",
        ),
        (
            WeightsError,
            {"tensors": {f"{LAYER}.lora_A.weight": None}},
            "1 missing: decoder.model.decoder.layers.0.encoder_attn.q_proj.lora_a",
        ),
        (
            WeightsError,
            {"tensors": {f"{LAYER}.lora_B.weight": mx.zeros((5, 4))}},
            "1 misshapen: decoder.model.decoder.layers.0.encoder_attn.q_proj.lora_b is (4, 5)",
        ),
        (
            WeightsError,
            {"tensors": {"base_model.model.a.lora_A.weight": mx.zeros((5, 4))}},
            "tensors of no layer here: base_model.model.a.lora_A.weight",
        ),
        (
            WeightsError,
            {
                "tensors": {
                    "base_model.model.decoder.model.decoder.embed_tokens.base_layer.weight": (
                        mx.zeros((37, 32))
                    )
                }
            },
            "stores decoder.model.decoder.embed_tokens.weight, which differs from the one here",
        ),
    ],
)
def test_what_cannot_be_imported(folder, tmp_path, kind, changes, message):
    assert message in import_error(folder, tmp_path, kind, **changes)


def test_a_quantized_tied_table_is_not_parted(tmp_path):
    sizes = {"d_model": 64, "decoder_ffn_dim": 64}
    theirs, _ = pair(tmp_path / "base", ("ViT", {}), ("TrOCR", sizes))
    quiet(adapted(theirs, target_modules=["embed_tokens"]).save_pretrained, tmp_path / "peft")
    message = import_error(tmp_path, tmp_path / "x", WeightsError, quantized=True)
    assert "which are one quantized matrix here; load them on the model's floats" in message


def test_another_base_and_tying_are_warned_of(folder, caplog, tmp_path):
    shutil.copytree(folder / "peft", tmp_path / "peft")
    path = tmp_path / "peft" / "adapter_config.json"
    values = {"base_model_name_or_path": "owner/name", "ensure_weight_tying": True}
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    model = VisionEncoderDecoderModel.from_pretrained(folder / "base")
    with caplog.at_level(logging.WARNING, "mlx_vedec"):
        load_adapters(model, tmp_path / "peft")
    assert "was trained with owner/name, and is loaded into" in caplog.text
    assert "ensure_weight_tying has no effect" in caplog.text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LoraConfig("full", targets="cross"), "the model has no adapters; save_pretrained writes"),
        (LoraConfig(train_modules="cls_token"), "cannot say that encoder.embeddings.cls_token are"),
        (LoraConfig("dora", embeddings=True), "no DoRA for an embedding that is the head too"),
        (
            LoraConfig(targets="mlp", train_modules="encoder.norm.weight"),
            "cannot say that encoder.layernorm.weight are trained alone",
        ),
    ],
)
def test_what_cannot_be_exported(folder, tmp_path, config, message):
    model = VisionEncoderDecoderModel.from_pretrained(folder / "base")
    add_adapters(model, config)
    with pytest.raises(OptionError) as caught:
        export_peft(model, tmp_path / "out")
    assert message in str(caught.value) and not (tmp_path / "out").exists()
