"""Random models made by transformers, saved, and read by both libraries.

A row of the parity table is (class stem, changes to a tiny config): `("ViT", {"qkv_bias": False})`
stands for `ViTConfig` and the model that transformers builds from it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import mlx.core as mx  # noqa: E402

from mlx_vedec import VisionEncoderDecoderModel  # noqa: E402
from mlx_vedec.layers.outputs import GenerateOutput  # noqa: E402
from tests.support.tiny import TROCR, VIT  # noqa: E402

SWIN = {  # maps of 12, 6 and 3 places a side; the last is one window
    "embed_dim": 12,
    "depths": [2, 1, 2],
    "num_heads": [3, 1, 4],
    "window_size": 3,
    "image_size": 24,
    "patch_size": 2,
}
DINOV2 = {key: value for key, value in VIT.items() if key != "intermediate_size"}
HIERA = {  # maps of 8, 4 and 2 places a side; units of 4 places a side at first
    "embed_dim": 12,
    "depths": [2, 1, 2],
    "num_heads": [1, 2, 3],
    "image_size": [16, 16],
    "patch_size": [3, 3],
    "patch_stride": [2, 2],
    "patch_padding": [1, 1],
    "num_query_pool": 2,
    "masked_unit_size": [4, 4],
    "masked_unit_attention": [True, False, False],
}
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
    "ChineseCLIPVision": VIT,
    "Aimv2Vision": VIT,
    "InternVLVision": VIT,
    "Hiera": HIERA,
    "Pixio": DINOV2,
    "Tipsv2Vision": DINOV2,
    "Yolos": {**VIT, "image_size": [16, 12], "num_detection_tokens": 3},
    "IJepa": VIT,
    "DPT": VIT,
    "MLCDVision": {**VIT, "num_attention_heads": 6},
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
REM_BERT = {
    "input_embedding_size": 20,
    "output_embedding_size": 28,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
ROC_BERT = {
    "shape_embed_dim": 12,
    "shape_vocab_size": 11,
    "pronunciation_embed_dim": 10,
    "pronunciation_vocab_size": 9,
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
    "BigBirdPegasus": BART,
    "XGLM": XGLM,
    "Bert": BERT,
    "BertGeneration": BERT,
    "Electra": {**BERT, "embedding_size": 20},
    "Roberta": BERT,
    "XLMRoberta": BERT,
    "XLMRobertaXL": BERT,
    "Xmod": {**BERT, "languages": ["en_XX", "de_DE", "sw_KE"], "default_language": "de_DE"},
    "Ernie": {**BERT, "use_task_id": True},
    "RoFormer": {**BERT, "embedding_size": 20},
    "RemBert": {**BERT, **REM_BERT},
    "RoCBert": {**BERT, **ROC_BERT},
    "BigBird": {**BERT, "use_cache": False},  # with which transformers 5.24 mixes its attentions up
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
    model.generation_config.use_cache = getattr(decoder_config, "use_cache", True)
    return model.eval()


def pair(folder, encoder: Row = ("ViT", {}), decoder: Row = ("TrOCR", {})) -> tuple[Any, Any]:
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
    with torch.no_grad(), one_thread():
        expected = theirs(pixel_values=x, labels=torch.from_numpy(labels))
        tokens = theirs.generate(x, max_length=20, do_sample=False)
    out = ours(y, labels=mx.array(labels))
    close(out.logits, expected.logits)
    close(out.encoder_last_hidden_state, expected.encoder_last_hidden_state)
    assert abs(out.loss.item() - expected.loss.item()) <= 1e-5 * max(1, abs(expected.loss.item()))
    assert ours.generate(y, max_length=20).tolist() == tokens.tolist()


# generation


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch's threads wait for each other far longer than these models take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lively_pair(
    folder, encoder: Row = ("ViT", {}), decoder: Row = ("TrOCR", {}), seed: int = 0
) -> tuple[Any, Any]:
    """A pair whose next token depends on the image and on the tokens before it.

    Where head and embedding are one, a random model repeats its last token; and a large part of
    every state is the same, for which one token always wins. So the head is of its own, and does
    not see that part. Its logits are spread so that beams cross and many tokens are likely.
    """
    theirs = reference(encoder, (decoder[0], {"tie_word_embeddings": False, **decoder[1]}), seed)
    head, seen = theirs.decoder.get_output_embeddings(), []
    hook = head.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    ids = torch.from_numpy(np.random.default_rng(seed).integers(3, 37, (16, 12)))
    with torch.no_grad():
        theirs(pixel_values=image(theirs, 16)[0], decoder_input_ids=ids)
        states = seen[0].flatten(0, 1)
        mean = states.mean(0)
        head.weight.sub_(torch.outer(head.weight @ mean, mean) / (mean @ mean))
        head.weight.mul_(1.5 / (states @ head.weight.T).std())
    hook.remove()
    theirs.save_pretrained(folder)
    return theirs, VisionEncoderDecoderModel.from_pretrained(folder)


def generate_both(
    models, *, rows: int = 3, prompt: Any = None, mask: Any = None, **options: Any
) -> tuple[Any, Any]:
    """The `GenerateOutput` of both of a pair for the same random images, ours first.

    Functions among the options have to suit arrays of both libraries. `eos_token_id=None` unsets
    the checkpoint's in transformers, an empty list does so here.
    """
    theirs, ours = models
    x, y = image(theirs, rows)
    given = {"decoder_input_ids": prompt, "decoder_attention_mask": mask}
    given = {name: value for name, value in given.items() if value is not None}
    options |= {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    arrays = {name: torch.tensor(value) for name, value in given.items()}
    expected = theirs.generate(x, **arrays, **options)
    if options.get("eos_token_id", 0) is None:
        options["eos_token_id"] = []
    arrays = {name: mx.array(value) for name, value in given.items()}
    return ours.generate(y, **arrays, **options), expected


def same_sequences(ours: GenerateOutput, theirs: Any) -> None:
    """The same tokens; of beams also the same scores, and the same rows that tokens came from."""
    assert ours.sequences.tolist() == theirs.sequences.tolist()
    if ours.beam_indices is None:
        return
    assert ours.beam_indices.tolist() == theirs.beam_indices.tolist()
    np.testing.assert_allclose(
        np.array(ours.sequences_scores), theirs.sequences_scores, rtol=1e-5, atol=4e-6
    )


def same_generation(ours: GenerateOutput, theirs: Any, tolerance: float = 2e-5) -> None:
    """Besides, the same logits and scores in every row of every step, what is banned included."""
    same_sequences(ours, theirs)
    for name in ("logits", "scores"):
        steps = [np.stack(out) for out in (getattr(ours, name), getattr(theirs, name))]
        np.testing.assert_allclose(*steps, rtol=1e-5, atol=tolerance, err_msg=name)


PROMPTS = {  # three rows; with [2], which starts a row, or before it is put there
    "start": {},
    "started": {"prompt": [[2, 4, 5], [2, 7, 8], [2, 9, 9]]},
    "unstarted": {"prompt": [[4, 5], [7, 8], [9, 9]]},
    "padded": {
        "prompt": [[1, 2, 5], [2, 7, 8], [1, 1, 2]],
        "mask": [[0, 1, 1], [1, 1, 1], [0, 0, 1]],
    },
    "padded, unstarted": {"prompt": [[4, 5], [7, 8], [1, 9]], "mask": [[1, 1], [1, 1], [0, 1]]},
}


def allowed(image: int, tokens: Any) -> list[int]:
    """Nine ids that may follow, others for every image and every token: a prefix function."""
    return [(7 * image + 5 * int(tokens[-1]) + 3 * step) % 37 for step in range(9)]


def discouraged(tokens: Any, scores: Any) -> Any:
    """A rule of one's own, for arrays of either library: more or less against what stands out."""
    return scores - 0.05 * (1 + tokens[:, -1:] % 4) * scores * scores


# One of each rule, with ids that `lively_pair` comes to; each changes what it generates.
RULES: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"repetition_penalty": 1.7},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "bad_words_ids": {"bad_words_ids": [[15], [31, 31], [34, 25], [7]]},
    "sequence_bias": {"sequence_bias": {(31,): -2.0, (34, 36): 3.0, (21, 0): -9.0}},
    "min_length": {"min_length": 9},
    "min_new_tokens": {"min_new_tokens": 7},
    "prefix_allowed_tokens_fn": {"prefix_allowed_tokens_fn": allowed},
    "forced_bos_token_id": {"forced_bos_token_id": 9},
    "forced_eos_token_id": {"forced_eos_token_id": 2},
    "remove_invalid_values": {"remove_invalid_values": True, "bad_words_ids": [[21], [7]]},
    "exponential_decay": {"exponential_decay_length_penalty": (2, 1.4)},
    "suppress_tokens": {"suppress_tokens": [31, 15]},
    "begin_suppress_tokens": {"begin_suppress_tokens": [34, 15]},
    "logits_processor": {"logits_processor": [discouraged]},
    "renormalize_logits": {"renormalize_logits": True, "repetition_penalty": 0.8},
    "manga-ocr": {"no_repeat_ngram_size": 3, "length_penalty": 2.0, "early_stopping": True},
}
