"""Random models made by transformers, saved, and read by both libraries.

A row of the parity table is (class stem, changes to a tiny config): `("ViT", {"qkv_bias": False})`
stands for `ViTConfig` and the model that transformers builds from it.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import mlx.core as mx  # noqa: E402

from mlx_vedec import VisionEncoderDecoderModel  # noqa: E402
from tests.tiny import TROCR, VIT  # noqa: E402

SWIN = {  # maps of 12, 6 and 3 places a side; the last is one window
    "embed_dim": 12,
    "depths": [2, 1, 2],
    "num_heads": [3, 1, 4],
    "window_size": 3,
    "image_size": 24,
    "patch_size": 2,
}
DINOV2 = {key: value for key, value in VIT.items() if key != "intermediate_size"}
ENCODER_SIZES = {
    "ViT": VIT,
    "DeiT": VIT,
    "ViTMSN": VIT,
    "Beit": VIT,
    "Data2VecVision": VIT,
    "Swin": SWIN,
    "DonutSwin": SWIN,
    "Swinv2": SWIN,
    "Dinov2": DINOV2,
    "Dinov2WithRegisters": DINOV2,
    "DINOv3ViT": VIT,
    "CLIPVision": VIT,
    "SiglipVision": VIT,
}
BART = {  # the half that is not built has its size in transformers' cache
    **TROCR,
    "encoder_layers": 3,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
XGLM = {
    "vocab_size": 37,
    "d_model": 32,
    "num_layers": 3,
    "attention_heads": 4,
    "ffn_dim": 48,
    "max_position_embeddings": 20,
}
BERT = {
    "vocab_size": 37,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
}
GPT2 = {
    "vocab_size": 37,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 20,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
DECODER_SIZES = {
    "TrOCR": TROCR,
    "Bart": BART,
    "PLBart": BART,
    "Mvp": BART,
    "MBart": BART,
    "Blenderbot": {**BART, "encoder_no_repeat_ngram_size": 0},
    "BlenderbotSmall": BART,
    "Pegasus": BART,
    "Marian": BART,
    "XGLM": XGLM,
    "Bert": BERT,
    "BertGeneration": BERT,
    "Electra": {**BERT, "embedding_size": 20},
    "Roberta": BERT,
    "XLMRoberta": BERT,
    "Camembert": BERT,
    "Data2VecText": BERT,
    "RobertaPreLayerNorm": BERT,
    "GPT2": GPT2,
}
IDS = ("pad_token_id", "decoder_start_token_id", "eos_token_id", "bos_token_id")
Row = tuple[str, dict]


def config_of(row: Row, sizes: dict[str, dict]):
    """transformers' config of a row, tiny but for what the row changes."""
    stem, changes = row
    return getattr(transformers, f"{stem}Config")(**{**sizes[stem], **changes})


def reference(encoder: Row, decoder: Row, seed: int = 0):
    """A random transformers model whose weights are large enough for every part to matter."""
    encoder_config = config_of(encoder, ENCODER_SIZES)
    changes = dict(decoder[1])
    if changes.get("cross_attention_hidden_size") == "encoder":
        changes["cross_attention_hidden_size"] = encoder_config.hidden_size
    decoder_config = config_of((decoder[0], changes), DECODER_SIZES)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder_config, decoder_config
    )
    ids = {"pad_token_id": 1, "decoder_start_token_id": 2, "eos_token_id": 2, "bos_token_id": 0}
    for key in IDS:
        value = getattr(decoder_config, key, None)
        setattr(config, key, ids[key] if value is None else value)
    torch.manual_seed(seed)
    model = transformers.VisionEncoderDecoderModel(config=config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # others are tables that are computed
                parameter.add_(torch.randn_like(parameter) * 0.2)
    for key in IDS:
        setattr(model.generation_config, key, getattr(config, key))
    return model.eval()


def pair(folder, encoder: Row = ("ViT", {}), decoder: Row = ("TrOCR", {})):
    """(transformers' model, ours read from the folder that it saved)."""
    theirs = reference(encoder, decoder)
    theirs.save_pretrained(folder)
    return theirs, VisionEncoderDecoderModel.from_pretrained(folder)


def image(model, rows: int = 2, scale: int = 1, extra: tuple[int, int] = (0, 0)):
    """The same random pixels as torch's (B, C, H, W) and ours (B, H, W, C)."""
    size, channels = model.config.encoder.image_size, model.config.encoder.num_channels
    height, width = (size, size) if isinstance(size, int) else size
    shape = (rows, channels, height * scale + extra[0], width * scale + extra[1])
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return torch.from_numpy(values), mx.array(values.transpose(0, 2, 3, 1))


def close(ours: mx.array, theirs, tolerance: float = 1e-4) -> None:
    """Equal to a tolerance relative to the scale of the values."""
    theirs = theirs.detach().numpy()
    scale = max(1.0, np.abs(theirs).max())
    np.testing.assert_allclose(np.array(ours), theirs, rtol=0, atol=tolerance * scale)


def check_pair(folder, encoder: Row, decoder: Row) -> None:
    """Logits, features, loss and greedy tokens of one pair agree."""
    theirs, ours = pair(folder, encoder, decoder)
    x, y = image(theirs)
    labels = np.array([[8, 9, 10, 11, 6], [12, 13, -100, -100, -100]])
    with torch.no_grad():
        expected = theirs(pixel_values=x, labels=torch.from_numpy(labels))
        tokens = theirs.generate(x, max_length=20, do_sample=False)
    out = ours(y, labels=mx.array(labels))
    close(out.logits, expected.logits)
    close(out.encoder_last_hidden_state, expected.encoder_last_hidden_state)
    assert abs(out.loss.item() - expected.loss.item()) <= 1e-5 * max(1, abs(expected.loss.item()))
    assert ours.generate(y, max_length=20).tolist() == tokens.tolist()
