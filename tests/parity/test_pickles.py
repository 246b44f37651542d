"""Files that torch saved, read without it: the same numbers as `torch.load`'s."""

import json
from collections import OrderedDict

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.checkpoints import pickles
from tests.parity.reference import Row, close, image, reference, torch
from tests.support import torch_files

BASE = torch.arange(24.0)
TENSORS = {
    "whole": BASE.reshape(2, 3, 4),
    "permuted": BASE.reshape(2, 3, 4).permute(2, 0, 1),
    "part": BASE[5:9],
    "every third": BASE[1::3],
    "expanded": torch.tensor([1.0, 2, 3]).expand(5, 3),
    "position_ids": torch.arange(4).expand((1, -1)),
    "diagonal": BASE[:16].reshape(4, 4).diagonal(),
    "windows": BASE.unfold(0, 6, 3),
    "scalar": torch.tensor(3.5),
    "masked_bias": torch.tensor(-1e4),
    "none": torch.zeros(0, 3),
    "none of many": torch.zeros(2, 0, 2),
    "parameter": torch.nn.Parameter(torch.ones(2, 2)),
    "double": torch.tensor([1 / 3], dtype=torch.float64),
    "half": torch.tensor([1 / 3, torch.inf]).half(),
    "brain": torch.tensor([1 / 3, torch.nan]).bfloat16(),
    "long": torch.tensor([2**62, -1]),
    "int": torch.tensor([-(2**31)], dtype=torch.int32),
    "short": torch.tensor([-(2**15)], dtype=torch.int16),
    "char": torch.tensor([-128, 127], dtype=torch.int8),
    "byte": torch.tensor([255], dtype=torch.uint8),
    "mask": torch.ones(4, 4).tril().bool(),
}


def same(ours, theirs) -> None:
    """Equal in every bit, the type included."""
    theirs = theirs.detach()
    assert str(ours.dtype).removeprefix("mlx.core.").rstrip("_") == str(theirs.dtype)[6:]
    if theirs.dtype == torch.bfloat16:
        ours, theirs = ours.astype(mx.float32), theirs.float()
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_array_equal(np.array(ours), theirs.numpy())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_every_type_and_view(tmp_path, protocol, kind):
    path = tmp_path / "pytorch_model.bin"
    torch.save(kind(TENSORS), path, pickle_protocol=protocol)
    ours, theirs = pickles.read(path), torch.load(path, weights_only=False)
    assert list(ours) == list(theirs) == list(TENSORS)
    for name, tensor in theirs.items():
        same(ours[name], tensor)


def test_torch_reads_what_the_tests_make(tmp_path):
    """The files of `tests/support/torch_files.py` are such as torch's own."""
    arrays = {name: x.numpy() for name, x in TENSORS.items() if name in ("whole", "long", "mask")}
    torch_files.save(tmp_path / "x.bin", arrays)
    for name, tensor in torch.load(tmp_path / "x.bin").items():
        np.testing.assert_array_equal(tensor.numpy(), arrays[name])


def test_the_older_format_is_named(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    with pytest.raises(pickles.WeightsError, match=r"is of torch before 1\.6, which is not read"):
        pickles.read(path)
    torch.save(torch.load(path, weights_only=True), path)  # what the message says to do
    assert list(pickles.read(path)) == list(TENSORS)


REFUSED = {
    "sparse": {"x": torch.eye(3).to_sparse()},
    "quantized": {"x": torch.ones(3).to(torch.float8_e4m3fn)},
    "complex": {"x": torch.ones(3, dtype=torch.complex64)},
    "conjugate": {"x": torch.ones(3, dtype=torch.complex64).conj().imag},
    "module": {"x": torch.nn.Linear(1, 1)},
    "number": {"x": torch.ones(3), "epoch": 3},
    "storage": {"x": torch.ones(3).untyped_storage()},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(tmp_path, kind):
    path = tmp_path / "pytorch_model.bin"
    torch.save(REFUSED[kind], path)
    with pytest.raises(pickles.WeightsError, match="of which weights have no need and nothing was"):
        pickles.read(path)


# whole models


def pickled_pair(folder, decoder: Row, change=lambda state: state, shards: int = 1):
    """transformers' model and ours, which is read from a pickle of its state dict."""
    theirs = reference(("ViT", {}), decoder)
    theirs.config.save_pretrained(folder)
    theirs.generation_config.save_pretrained(folder)
    state = change(theirs.state_dict())
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
    else:
        split(state, folder, shards)
    return theirs, VisionEncoderDecoderModel.from_pretrained(folder)


def split(state, folder, shards):
    index = {}
    for number in range(shards):
        name = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = {key: state[key] for key in list(state)[number::shards]}
        torch.save(part, folder / name)
        index |= dict.fromkeys(part, name)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "pytorch_model.bin.index.json").write_text(text)


def check(theirs, ours) -> None:
    x, y = image(theirs)
    ids = np.array([[2, 8, 9], [2, 12, 13]])
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(ids)).logits
    close(ours(y, mx.array(ids)).logits, expected)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("decoder", ["TrOCR", "GPT2", "Bert"])
def test_models(tmp_path, decoder, tied, shards):
    """A tied head is stored beside the embedding, on one storage with it."""
    check(*pickled_pair(tmp_path, (decoder, {"tie_word_embeddings": tied}), shards=shards))


def test_a_tied_head_is_read_once(tmp_path):
    theirs, _ = pickled_pair(tmp_path, ("GPT2", {"tie_word_embeddings": True}))
    got = pickles.read(tmp_path / "pytorch_model.bin")
    assert got["decoder.lm_head.weight"] is got["decoder.transformer.wte.weight"]
    for name, tensor in theirs.state_dict().items():
        same(got[name], tensor)


def test_buffers_of_older_versions(tmp_path):
    """As in nlpconnect/vit-gpt2-image-captioning: masks in bytes, and what replaces a score."""

    def older(state):
        causal = torch.ones(20, 20, dtype=torch.uint8).tril().view(1, 1, 20, 20)
        for layer in range(2):
            for attention in ("attn", "crossattention"):
                state[f"decoder.transformer.h.{layer}.{attention}.bias"] = causal
                state[f"decoder.transformer.h.{layer}.{attention}.masked_bias"] = torch.tensor(-1e4)
        return state

    check(*pickled_pair(tmp_path, ("GPT2", {}), older))


def test_positions_of_older_versions(tmp_path):
    """As in kha-white/manga-ocr-base: the numbers of the positions, int64."""

    def older(state):
        ids = torch.arange(24).expand((1, -1))
        return {**state, "decoder.bert.embeddings.position_ids": ids}

    check(*pickled_pair(tmp_path, ("Bert", {}), older))


def test_checkpoints_of_trainers(tmp_path):
    def wrapped(state):
        parallel = {f"module.{name}": tensor for name, tensor in state.items()}
        return {"state_dict": parallel, "epoch": 3, "optimizer": {"state": {}, "lr": 1e-3}}

    check(*pickled_pair(tmp_path, ("TrOCR", {}), wrapped))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(tmp_path, dtype):
    """The file's own type, but on a CPU float32 unless it is asked for."""

    def halves(state):
        return {name: x.to(getattr(torch, dtype)) for name, x in state.items()}

    theirs, ours = pickled_pair(tmp_path, ("TrOCR", {}), halves)
    expected = halves(theirs.state_dict())["decoder.model.decoder.embed_tokens.weight"]
    same(ours.decoder.embed_tokens.weight, expected.float())
    ours = VisionEncoderDecoderModel.from_folder(tmp_path)
    same(ours.decoder.embed_tokens.weight, expected)
