"""What is asked of every decoder, each with ViT's features to read."""

from __future__ import annotations

import shutil
from dataclasses import fields

import mlx.core as mx
import numpy as np

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.checkpoints.renames import Renames
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.decoders import DECODERS
from tests.parity.reference import (
    DECODER_SIZES,
    Row,
    close,
    config_of,
    image,
    pair,
    torch,
    transformers,
)

VIT: Row = ("ViT", {})
IDS = np.array([[2, 8, 9, 10, 11], [2, 7, 6, 5, 4]])


def built(row: Row) -> tuple:
    """(transformers' new decoder, ours), from one config that reads an image."""
    config = config_of(row, DECODER_SIZES)
    config.is_decoder = config.add_cross_attention = True
    family = DECODERS[config.model_type]
    ours = family(family.config_class.from_dict(config.to_dict()))
    return transformers.AutoModelForCausalLM.from_config(config), ours


def memory_of(ours, rows: int = 2) -> mx.array:
    """Random features (B, S, D) for a decoder to read."""
    shape = (rows, 5, ours.config.shape.memory_dims)
    return mx.array(np.random.default_rng(2).normal(size=shape).astype(np.float32))


def check_traces(folder, row: Row) -> None:
    """As many hidden states and attention weights as theirs, of their shapes and values."""
    theirs, ours = pair(folder, VIT, row)
    theirs.set_attn_implementation("eager")
    x, y = image(theirs)
    asked = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(IDS), **asked)
    out = ours(y, decoder_input_ids=mx.array(IDS), **asked)
    for name in ("decoder_hidden_states", "decoder_attentions", "cross_attentions"):
        assert len(out[name]) == len(expected[name]), name
        for mine, other in zip(out[name], expected[name], strict=True):
            close(mine, other)


def check_prompts(folder, row: Row) -> None:
    """Prompts with and without the start token, and longer ones, are continued alike."""
    theirs, ours = pair(folder, VIT, row)
    x, y = image(theirs)
    start = theirs.generation_config.decoder_start_token_id
    for ids in ([[8, 9], [9, 8]], [[start, 8], [start, 9]], [[8] * 5, [9, 10, 11, 12, 13]]):
        with torch.no_grad():
            expected = theirs.generate(
                x, decoder_input_ids=torch.tensor(ids), max_new_tokens=8, do_sample=False
            )
        tokens = ours.generate(y, decoder_input_ids=mx.array(ids), max_new_tokens=8)
        assert tokens.tolist() == expected.tolist()


def check_masks(folder, row: Row) -> None:
    """A masked prompt, padding inside a row, and embeddings in place of tokens."""
    theirs, ours = pair(folder, VIT, row)
    x, y = image(theirs)
    pad = theirs.config.pad_token_id
    ids = np.array([[pad, pad, 8, 9], [7, 6, pad, 5]])
    mask = np.array([[0, 0, 1, 1], [1, 1, 1, 1]])
    width = ours.decoder.embed_tokens.weight.shape[1]
    embedded = np.random.default_rng(3).normal(size=(2, 4, width)).astype(np.float32)
    with torch.no_grad():
        tokens = {"pixel_values": x, "decoder_input_ids": torch.from_numpy(ids)}
        masked = theirs(**tokens, decoder_attention_mask=torch.from_numpy(mask)).logits
        plain = theirs(**tokens).logits
        given = theirs(pixel_values=x, decoder_inputs_embeds=torch.from_numpy(embedded)).logits
    out = ours(y, decoder_input_ids=mx.array(ids), decoder_attention_mask=mx.array(mask)).logits
    close(out[0, 2:], masked[0, 2:])  # what a masked token gives is not defined
    close(out[1], masked[1])
    close(ours(y, decoder_input_ids=mx.array(ids)).logits, plain)
    close(ours(y, decoder_inputs_embeds=mx.array(embedded)).logits, given)


def check_cache(folder, row: Row) -> None:
    """Tokens one by one, or in pieces, give the logits of all at once: ours and theirs."""
    theirs, ours = pair(folder, VIT, row)
    x, y = image(theirs)
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(IDS)).logits
    for pieces in ([1] * IDS.shape[1], [2, 3]):
        cache, out, start = None, [], 0
        for length in pieces:
            ids = mx.array(IDS[:, start : start + length])
            step = ours(y, decoder_input_ids=ids, past_key_values=cache, use_cache=True)
            cache, start = step.past_key_values, start + length
            out.append(step.logits)
        close(mx.concatenate(out, axis=1), expected)


def check_saved(folder, row: Row) -> None:
    """transformers opens what we save: no key missing or left over, tensors and config equal."""
    theirs, ours = pair(folder / "theirs", VIT, row)
    ours.save_pretrained(folder / "ours")
    again, report = transformers.VisionEncoderDecoderModel.from_pretrained(
        folder / "ours", output_loading_info=True
    )
    assert not any(report.values()), report
    before, after = theirs.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = [{**m.config.decoder.to_dict(), "dtype": None} for m in (theirs, again)]
    assert {key: value for key, value in own[1].items() if key in own[0]} == own[0]
    assert not any(own[1][key] for key in own[1].keys() - own[0].keys())


def check_names(folder, row: Row, rename) -> None:
    """The same logits from the checkpoint under other names: `rename` takes and gives tensors."""
    theirs, ours = pair(folder / "theirs", VIT, row)
    shutil.copytree(folder / "theirs", folder / "renamed")
    stored = mx.load(str(folder / "theirs" / "model.safetensors"))
    path = folder / "renamed" / "model.safetensors"
    mx.save_safetensors(str(path), rename(stored), metadata={"format": "pt"})
    again = VisionEncoderDecoderModel.from_pretrained(folder / "renamed")
    _, y = image(theirs)
    ids = mx.array(IDS)
    expected = ours(y, decoder_input_ids=ids).logits
    assert mx.array_equal(expected, again(y, decoder_input_ids=ids).logits)


def check_rows(rows: list[Row]) -> None:
    """Every row of a family's table names a parameter of one of these models, both ways."""
    decoders = [built(row)[1] for row in rows]
    names = {name for decoder in decoders for name in parameters(decoder)}
    table = decoders[0].renames
    assert all(table.ours(table.on_disk(name)) == name for name in names)
    for disk, ours in (*table.pairs, *table.aliases):
        assert any(Renames(((ours, disk),)).ours(name) for name in names), disk


def check_halves(folder, row: Row) -> None:
    """float16 and bfloat16 stay in their type, and near float32."""
    theirs, ours = pair(folder, VIT, row)
    _, y = image(theirs)
    labels = mx.array(IDS)
    exact = ours(y, labels=labels).logits
    for dtype, tolerance in ((mx.float16, 1e-2), (mx.bfloat16, 1e-1)):
        half = VisionEncoderDecoderModel.from_pretrained(folder, dtype=dtype)
        out = half(y, labels=labels, output_hidden_states=True, output_attentions=True)
        kept = (*out.decoder_hidden_states, *out.cross_attentions, out.logits)
        assert {array.dtype for array in kept} == {dtype}
        error = mx.abs(out.logits.astype(mx.float32) - exact).max()
        assert error.item() <= tolerance * mx.abs(exact).max().item()


def check_new_weights(folder, row: Row) -> None:
    """New parameters have the deviation and the mean of theirs, to six errors of the estimate."""
    torch.manual_seed(0)
    mx.random.seed(0)
    theirs, ours = built(row)
    theirs.save_pretrained(folder)
    stored = mx.load(str(folder / "model.safetensors"))
    for name, value in parameters(ours).items():
        mine, other = np.array(value), np.array(stored[ours.renames.on_disk(name)])
        error = max(mine.std(), other.std()) / np.sqrt(mine.size)
        assert abs(mine.std() - other.std()) <= 6 * error + 1e-8, name
        assert abs(mine.mean() - other.mean()) <= 6 * error + 1e-8, name
    pad = ours.config.pad_token_id
    if pad is not None:
        table = ours.renames.on_disk("embed_tokens.weight")
        assert mx.array_equal(ours.embed_tokens.weight[pad], stored[table][pad])


def check_dropout(row: Row, *names: str) -> None:
    """Each of these rates makes training random and leaves evaluation alone."""
    none = dict.fromkeys(names, 0.0)
    for name in (None, *names):
        mx.random.seed(0)
        rates = none if name is None else {**none, name: 0.5}
        _, ours = built((row[0], {**row[1], **rates}))
        memory, ids = memory_of(ours), mx.array(IDS)
        seen = [ours.train()(ids, None, memory).logits for _ in range(8)]
        calm = [ours.eval()(ids, None, memory).logits for _ in range(2)]
        assert all(mx.array_equal(seen[0], out) for out in seen) == (name is None), name
        assert mx.array_equal(*calm), name


def check_defaults(stem: str) -> None:
    """Every field of ours has the default of transformers' config, where that has the field."""
    theirs = getattr(transformers, f"{stem}Config")()
    ours = DECODERS[theirs.model_type].config_class()
    for field in fields(ours):
        if field.name not in ("extra", "cross_attention_hidden_size"):
            value = getattr(ours, field.name)
            absent = None if value is None else False  # not every family's config has every id
            assert value == getattr(theirs, field.name, absent), field.name
    assert theirs.attribute_map.items() <= ours.aliases.items()
