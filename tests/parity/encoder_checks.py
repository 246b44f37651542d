"""What is asked of every encoder, each with TrOCR's decoder behind it."""

from __future__ import annotations

import shutil
from dataclasses import fields

import mlx.core as mx
import numpy as np

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.checkpoints.renames import Renames
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.encoders import ENCODERS
from tests.parity.reference import (
    ENCODER_SIZES,
    Row,
    close,
    config_of,
    image,
    pair,
    torch,
    transformers,
)

TROCR: Row = ("TrOCR", {})


def built(row: Row) -> tuple:
    """(transformers' new encoder, ours), from one config."""
    config = config_of(row, ENCODER_SIZES)
    family = ENCODERS[config.model_type]
    ours = family(family.config_class.from_dict(config.to_dict()))
    return getattr(transformers, f"{row[0]}Model")(config), ours


def sides(config) -> tuple[int, int]:
    """Height and width of the images of an encoder's config."""
    size = config.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def check_traces(folder, row: Row) -> None:
    """As many hidden states and attention weights as theirs, of their shapes and values."""
    theirs, ours = pair(folder, row)
    theirs.set_attn_implementation("eager")
    x, y = image(theirs)
    asked = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        expected = theirs.encoder(x, **asked)
    out = ours.encoder(y, **asked)
    for name in ("hidden_states", "attentions"):
        assert len(out[name]) == len(expected[name])
        for mine, other in zip(out[name], expected[name], strict=True):
            close(mine, other)


def check_sizes(folder, row: Row, extras: list[tuple[int, int]], scale: int = 1, **asked) -> None:
    """Images larger, smaller, not square or not of whole patches give the same features."""
    theirs, ours = pair(folder, row)
    for extra in extras:
        x, y = image(theirs, scale=scale, extra=extra)
        with torch.no_grad():
            expected = theirs.encoder(x, **asked).last_hidden_state
        close(ours.encode(y, **asked), expected)


def check_saved(folder, row: Row) -> None:
    """transformers opens what we save, tensors and the encoder's config unchanged."""
    theirs, ours = pair(folder / "theirs", row)
    again = check_opens(folder / "ours", theirs, ours)
    own = [{**m.config.encoder.to_dict(), "dtype": None} for m in (theirs, again)]
    assert own[0] == own[1]


def check_opens(folder, theirs, ours):
    """transformers' model of a folder that ours saves: nothing missing or left over, all equal."""
    ours.save_pretrained(folder)
    again, report = transformers.VisionEncoderDecoderModel.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values()), report
    before, after = theirs.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    return again


def check_names(folder, row: Row, rename) -> None:
    """The same features from a checkpoint under other names, which opens when it is saved again.

    rename -- from transformers' model to its tensors under those names.
    """
    theirs, ours = pair(folder / "theirs", row)
    shutil.copytree(folder / "theirs", folder / "renamed")
    tensors = {name: mx.array(tensor.numpy()) for name, tensor in rename(theirs).items()}
    mx.save_safetensors(
        str(folder / "renamed" / "model.safetensors"), tensors, metadata={"format": "pt"}
    )
    again = VisionEncoderDecoderModel.from_pretrained(folder / "renamed")
    _, y = image(theirs)
    assert mx.array_equal(ours.encode(y), again.encode(y))
    check_opens(folder / "again", theirs, again)


def check_rows(rows: list[Row]) -> None:
    """Every row of a family's table names a parameter of one of these models, both ways."""
    encoders = [built(row)[1] for row in rows]
    names = {name for encoder in encoders for name in parameters(encoder)}
    table = encoders[0].renames
    assert all(table.ours(table.on_disk(name)) == name for name in names)
    for disk, ours in (*table.pairs, *table.aliases):
        assert any(Renames(((ours, disk),)).ours(name) for name in names), disk


def check_halves(folder, row: Row) -> None:
    """float16 and bfloat16 stay in their type, and near float32."""
    theirs, ours = pair(folder, row)
    _, y = image(theirs)
    exact = ours.encode(y)
    for dtype, tolerance in ((mx.float16, 1e-2), (mx.bfloat16, 1e-1)):
        half = VisionEncoderDecoderModel.from_pretrained(folder, dtype=dtype)
        out = half(y, labels=mx.array([[8, 9], [9, 8]]), output_hidden_states=True)
        kept = (*out.encoder_hidden_states, out.encoder_last_hidden_state, out.logits)
        assert {array.dtype for array in kept} == {dtype}
        error = mx.abs(out.encoder_last_hidden_state.astype(mx.float32) - exact).max()
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
        assert mine.size == other.size, name
        if mine.size:
            error = max(mine.std(), other.std()) / np.sqrt(mine.size)
            assert abs(mine.std() - other.std()) <= 6 * error + 1e-8, name
            assert abs(mine.mean() - other.mean()) <= 6 * error + 1e-8, name


def check_dropout(row: Row, *names: str) -> None:
    """Each of these rates makes training random and leaves evaluation alone."""
    for name in names:
        mx.random.seed(0)
        _, ours = built((row[0], {**row[1], name: 0.5}))
        y = mx.random.normal((2, *sides(ours.config), ours.config.num_channels))
        assert not mx.array_equal(ours.train()(y)[0], ours(y)[0]), name
        assert mx.array_equal(ours.eval()(y)[0], ours(y)[0]), name


def check_drop_path(row: Row) -> None:
    """In training, each branch of an image is left out or doubled, apart from the other images."""
    mx.random.seed(0)
    _, ours = built((row[0], {**row[1], "drop_path_rate": 0.5, "num_hidden_layers": 1}))
    height, width = sides(ours.config)
    y = mx.broadcast_to(mx.random.normal((1, height, width, 3)), (24, height, width, 3))
    layer = ours.layers[0]
    whole = layer.drop_path
    wanted = []
    for attended in (0, 2):
        for transformed in (0, 2):
            factors = iter((attended, transformed))
            layer.drop_path = lambda x, factors=factors: x * next(factors)
            wanted.append(np.array(ours.eval()(y[:1])[0])[0])
    layer.drop_path = whole
    out = np.array(ours.train()(y)[0])
    chosen = [
        min(range(4), key=lambda place: np.abs(wanted[place] - features).max()) for features in out
    ]
    assert set(chosen) == {0, 1, 2, 3}
    np.testing.assert_allclose(out, np.stack([wanted[place] for place in chosen]), atol=1e-5)


def check_defaults(stem: str) -> None:
    """Every field of ours has the default of transformers' config."""
    theirs = getattr(transformers, f"{stem}Config")()
    ours = ENCODERS[theirs.model_type].config_class()
    for field in fields(ours):
        if field.name != "extra":
            assert getattr(ours, field.name) == getattr(theirs, field.name), field.name
