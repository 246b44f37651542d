"""ViT and DeiT with TrOCR's decoder against transformers, through folders it saved."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from tests.parity.reference import check_pair, close, image, pair, reference, torch, transformers
from tests.support.tiny import TROCR, VIT

ENCODERS = {
    "vit": ("ViT", {}),
    "deit": ("DeiT", {}),
    "vit-no-qkv-bias": ("ViT", {"qkv_bias": False, "hidden_act": "gelu_new"}),
    "vit-oblong": ("ViT", {"image_size": [8, 24], "patch_size": [4, 3], "num_channels": 1}),
    "vit-same-width": ("ViT", {"hidden_size": 32, "num_attention_heads": 2, "hidden_act": "relu"}),
    "deit-eps": ("DeiT", {"layer_norm_eps": 1e-3, "hidden_act": "quick_gelu", "qkv_bias": False}),
}
DECODERS = {
    "trocr": {},
    "cross-width": {"cross_attention_hidden_size": "encoder"},
    "untied": {"tie_word_embeddings": False, "activation_function": "relu"},
    "bare": {"layernorm_embedding": False, "scale_embedding": True, "decoder_layers": 1},
    "ids": {"pad_token_id": 3, "decoder_start_token_id": 5, "eos_token_id": 6, "bos_token_id": 7},
}
SINUSOIDAL = {"use_learned_position_embeddings": False, "tie_word_embeddings": False}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_logits_loss_and_tokens(tmp_path, encoder, decoder):
    check_pair(tmp_path, ENCODERS[encoder], ("TrOCR", DECODERS[decoder]))


def test_sinusoidal_positions():
    """transformers 5.23 cannot run it after `from_pretrained`, so its model stays in memory."""
    theirs = reference(("ViT", {}), ("TrOCR", {**SINUSOIDAL, "d_model": 36}))
    weights = theirs.decoder.state_dict()
    from mlx_vedec import TrOCRConfig, TrOCRForCausalLM
    from mlx_vedec.checkpoints.weights import load

    ours = TrOCRForCausalLM(TrOCRConfig(**{**TROCR, **SINUSOIDAL, "d_model": 36}))
    load(ours, {k: mx.array(v.numpy()) for k, v in weights.items()}, ours.renames, "memory")
    ours.eval()
    tokens = np.array([[2, 5, 6, 1, 1, 9], [1, 2, 1, 7, 8, 9]])  # 1 is padding, inside a row too
    memory = np.random.default_rng(2).normal(size=(2, 5, 36)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.decoder(
            torch.from_numpy(tokens), encoder_hidden_states=torch.from_numpy(memory)
        )
    out = ours(mx.array(tokens), None, mx.array(memory))
    close(out.logits, expected.logits)
    cache = ours.make_cache(mx.array(memory))
    cached = [ours(mx.array(tokens[:, :3]), past_key_values=cache).logits]
    with torch.no_grad():
        first = theirs.decoder(
            torch.from_numpy(tokens[:, :3]),
            encoder_hidden_states=torch.from_numpy(memory),
            use_cache=True,
        )
        second = theirs.decoder(
            torch.from_numpy(tokens[:, 3:]),
            encoder_hidden_states=torch.from_numpy(memory),
            past_key_values=first.past_key_values,
        )
    close(cached[0], first.logits)
    close(ours(mx.array(tokens[:, 3:]), past_key_values=cache).logits, second.logits)


def test_hidden_states_and_attentions(tmp_path):
    theirs, ours = pair(tmp_path)
    theirs.set_attn_implementation("eager")
    x, y = image(theirs)
    ids = np.array([[2, 8, 9, 10]] * 2)
    asked = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(ids), **asked)
    out = ours(y, decoder_input_ids=mx.array(ids), **asked)
    for name in (
        "decoder_hidden_states",
        "decoder_attentions",
        "cross_attentions",
        "encoder_hidden_states",
        "encoder_attentions",
    ):
        mine, other = out[name], expected[name]
        assert len(mine) == len(other), name
        for a, b in zip(mine, other, strict=True):
            close(a, b)


def test_mask_embeddings_and_cache(tmp_path):
    theirs, ours = pair(tmp_path)
    x, y = image(theirs)
    ids = np.array([[1, 2, 8, 9], [2, 7, 6, 5]])
    mask = np.array([[0, 1, 1, 1], [1, 1, 1, 1]])
    embedded = np.random.default_rng(3).normal(size=(2, 4, 32)).astype(np.float32)
    with torch.no_grad():
        masked = theirs(
            pixel_values=x,
            decoder_input_ids=torch.from_numpy(ids),
            decoder_attention_mask=torch.from_numpy(mask),
        )
        given = theirs(pixel_values=x, decoder_inputs_embeds=torch.from_numpy(embedded))
    out = ours(y, decoder_input_ids=mx.array(ids), decoder_attention_mask=mx.array(mask))
    close(out.logits, masked.logits)
    close(ours(y, decoder_inputs_embeds=mx.array(embedded)).logits, given.logits)


def test_prompts(tmp_path):
    """The start token is put before a prompt unless some row begins with it."""
    theirs, ours = pair(tmp_path)
    x, y = image(theirs)
    for ids in ([[8, 9], [9, 8]], [[2, 8], [2, 9]], [[2, 8], [9, 8]]):
        with torch.no_grad():
            expected = theirs.generate(
                x, decoder_input_ids=torch.tensor(ids), max_new_tokens=6, do_sample=False
            )
        tokens = ours.generate(y, decoder_input_ids=mx.array(ids), max_new_tokens=6)
        assert tokens.tolist() == expected.tolist()


def test_forced_tokens(tmp_path):
    theirs, ours = pair(tmp_path)
    x, y = image(theirs)
    options = {"forced_bos_token_id": 9, "forced_eos_token_id": 2, "max_length": 8}
    with torch.no_grad():
        expected = theirs.generate(x, do_sample=False, **options)
    tokens = ours.generate(y, **options)
    assert tokens.tolist() == expected.tolist() and (tokens[:, 1] == 9).all().item()


@pytest.mark.parametrize("name", ["ViT", "DeiT"])
@pytest.mark.parametrize("scale", [2, 3])
def test_interpolated_positions(tmp_path, name, scale):
    theirs, ours = pair(tmp_path, (name, {}))
    x, y = image(theirs, scale=scale)
    with torch.no_grad():
        expected = theirs.encoder(x, interpolate_pos_encoding=True).last_hidden_state
    close(ours.encode(y, interpolate_pos_encoding=True), expected)


def test_saved_folder_opens_in_transformers(tmp_path):
    """No key missing, none left over, tensors bit-equal, the unused pooler carried."""
    theirs, ours = pair(tmp_path / "theirs", ("DeiT", {}))
    ours.save_pretrained(tmp_path / "ours")
    again, report = transformers.VisionEncoderDecoderModel.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    before, after = theirs.state_dict(), again.state_dict()
    assert "encoder.pooler.dense.weight" in after
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = [{**m.config.decoder.to_dict(), "dtype": None} for m in (theirs, again)]
    assert own[0] == own[1]


def test_new_weights_are_spread_as_theirs(tmp_path):
    """Deviation by kind of parameter; biases, the pad row and DeiT's own tokens are zero."""
    from mlx_vedec.checkpoints.weights import parameters
    from tests.support.tiny import tiny_config

    big = {"hidden_size": 96, "intermediate_size": 128}, {"d_model": 128, "vocab_size": 200}
    for deit in (False, True):
        ours = VisionEncoderDecoderModel(tiny_config(*big, deit=deit))
        kind = "DeiT" if deit else "ViT"
        encoder = getattr(transformers, f"{kind}Config")(**{**VIT, **big[0]})
        decoder = transformers.TrOCRConfig(**{**TROCR, **big[1]})
        config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
            encoder, decoder
        )
        transformers.VisionEncoderDecoderModel(config=config).save_pretrained(tmp_path)
        theirs = mx.load(str(tmp_path / "model.safetensors"))
        for name, value in parameters(ours).items():
            mine, other = np.array(value), np.array(theirs[ours.renames.on_disk(name)])
            spread = 4 / np.sqrt(2 * mine.size)  # four deviations of an estimated deviation
            assert abs(mine.std() - other.std()) <= 2 * spread * 0.02 + 1e-8, name
            assert abs(mine.mean() - other.mean()) <= 8 * 0.02 / np.sqrt(mine.size) + 1e-8, name
        assert not np.array(ours.decoder.embed_tokens.weight[1]).any()
