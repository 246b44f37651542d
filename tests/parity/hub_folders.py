"""Folders of published configs as the Hub has them, but small: old names, pickles.

Depth and width are reduced, everything else stays: keys, ids, options, layouts, vocabulary.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from safetensors.torch import load_file  # noqa: E402

VIT = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 64}
SWIN = {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4], "hidden_size": 64}
SIDES = {2560: 640, 1920: 480, 1280: 640, 960: 480, 896: 448, 672: 336}  # of Swin's images
BART = {"d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 96}
BERT = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4}
SMALLER = {
    "vit": VIT,
    "deit": VIT,
    "donut-swin": SWIN,
    "trocr": BART,
    "mbart": BART,
    "bert": BERT,
    "gpt2": GPT2,
}


def smaller(values: dict) -> dict:
    """A parsed `config.json` of fewer and narrower layers."""
    values = json.loads(json.dumps(values))
    for half in ("encoder", "decoder"):
        own = values[half]
        own |= SMALLER[own["model_type"]]
    encoder, decoder = values["encoder"], values["decoder"]
    if encoder["model_type"] == "donut-swin":
        encoder["image_size"] = [SIDES.get(side, side) for side in encoder["image_size"]]
    if decoder.get("cross_attention_hidden_size"):
        decoder["cross_attention_hidden_size"] = encoder["hidden_size"]
    return values


def smaller_images(values: dict) -> dict:
    """A parsed `preprocessor_config.json` for images of those sizes."""
    size = values.get("size")
    if isinstance(size, list):
        return {**values, "size": [SIDES.get(side, side) for side in size]}
    if isinstance(size, dict):
        return {**values, "size": {key: SIDES.get(side, side) for key, side in size.items()}}
    return values


def reference(values: dict, folder: Path):
    """transformers' model of a config, with weights that matter, read from its own folder."""
    torch.manual_seed(0)
    config = transformers.VisionEncoderDecoderConfig.from_dict(values)
    model = transformers.VisionEncoderDecoderModel(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight += torch.randn_like(weight) * (0.5 if "embed" in name else 0.1)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return model.eval()


def write(published: Path, folder: Path, tokenizers: Path) -> transformers.PreTrainedModel:
    """Write a folder as the Hub's of this name is; the reference model of the same weights."""
    values = smaller(json.loads((published / "config.json").read_text()))
    saved = folder / "saved-by-transformers"
    model = reference(values, saved)
    folder.joinpath("config.json").write_text(json.dumps(values))
    torch.save(
        old_state(load_file(saved / "model.safetensors"), values), folder / "pytorch_model.bin"
    )
    shutil.rmtree(saved)
    for path in published.glob("*.json"):
        if path.name == "preprocessor_config.json":
            content = smaller_images(json.loads(path.read_text()))
            (folder / path.name).write_text(json.dumps(content))
        elif path.name != "config.json":
            shutil.copy(path, folder)
    if not (folder / "preprocessor_config.json").exists():
        (folder / "preprocessor_config.json").write_text(json.dumps(images_of(values["encoder"])))
    write_tokenizer(values, folder, tokenizers)
    return model


def images_of(encoder: dict) -> dict:
    """A `preprocessor_config.json` for a checkpoint that has none: as many means as channels."""
    size, channels = encoder["image_size"], encoder.get("num_channels", 3)
    moments = {"image_mean": [0.5] * channels, "image_std": [0.5] * channels}
    return {"image_processor_type": "ViTImageProcessor", "size": size, **moments}


def old_state(tensors: dict, values: dict) -> dict:
    """What older versions stored, too: buffers, and a tied head beside its embedding."""
    decoder = values["decoder"]
    if decoder["model_type"] == "gpt2":
        for layer in range(decoder["n_layer"]):
            name = f"decoder.transformer.h.{layer}.attn."
            tensors[name + "bias"] = torch.ones(1, 1, 8, 8, dtype=torch.uint8).tril()
            tensors[name + "masked_bias"] = torch.tensor(-1e4)
    if decoder["model_type"] == "bert":
        positions = torch.arange(decoder["max_position_embeddings"])[None]
        tensors["decoder.bert.embeddings.position_ids"] = positions
    heads = {"trocr": "decoder.output_projection.weight", "gpt2": "decoder.lm_head.weight"}
    head = heads.get(decoder["model_type"])
    embeddings = [name for name in tensors if name.endswith(("embed_tokens.weight", "wte.weight"))]
    if head and head not in tensors and embeddings:
        tensors[head] = tensors[embeddings[0]]
    return tensors


def write_tokenizer(values: dict, folder: Path, tokenizers: Path) -> None:
    """The files that the Hub's folder has its tokenizer in, made of those of the same kind."""
    encoder, decoder = values["encoder"]["model_type"], values["decoder"]
    if decoder["model_type"] == "gpt2":
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(tokenizers / "gpt2" / name, folder)
    elif decoder["model_type"] == "bert":
        shutil.copy(tokenizers / "manga-ocr" / "vocab.txt", folder)
    elif decoder["model_type"] == "mbart":
        shutil.copy(tokenizers / "nougat" / "tokenizer.json", folder)
    elif encoder == "deit":
        shutil.copy(tokenizers / "trocr-small" / "sentencepiece.bpe.model", folder)
    else:
        write_roberta(folder, tokenizers / "gpt2", decoder["vocab_size"])


def write_roberta(folder: Path, gpt2: Path, size: int) -> None:
    """RoBERTa's vocabulary: its own ids first, GPT-2's tokens, and a mask at the end."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *json.loads((gpt2 / "vocab.json").read_text())]
    tokens = tokens[: size - 1]
    tokens += [f"madeupword{n:04}" for n in range(size - 1 - len(tokens))] + ["<mask>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    known = set(tokens)
    version, *merges = (gpt2 / "merges.txt").read_text().splitlines()
    merges = [merge for merge in merges if {merge.replace(" ", ""), *merge.split()} <= known]
    (folder / "merges.txt").write_text("\n".join([version, *merges]) + "\n")
