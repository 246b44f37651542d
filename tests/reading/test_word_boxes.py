"""Where words were read: the way back through the preprocessing, grids, boxes."""

from __future__ import annotations

import json
import math

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from mlx_vedec.encoders import ENCODERS
from mlx_vedec.encoders.encoder import Encoder
from mlx_vedec.errors import ConfigError, ImageError, OptionError, TokenError
from mlx_vedec.images.geometry import Geometry
from mlx_vedec.images.image_processors import ImageProcessor
from mlx_vedec.images.ink import dark_on_light, find_ink, leveled, spans_of
from mlx_vedec.layers.outputs import Seq2SeqLMOutput
from mlx_vedec.reading.processor import Processor
from mlx_vedec.reading.word_boxes import (
    WordBox,
    distinct,
    pixel_box,
    token_attentions,
    word_boxes,
)
from tests.conftest import DATA
from tests.support.tiny import TROCR, VIT, pixels, tiny_model
from tests.text.test_tokenizer import byte_level, made

# geometry

NUMBERED = np.arange(1, 13 * 17 * 3 + 1, dtype=np.uint16).reshape(13, 17, 3) % 251 + 1


def places(geometry: Geometry):
    """Every processed pixel, as (row, column), and the picture's pixels under it."""
    width, height = geometry.size
    for row, column in np.ndindex(height, width):
        yield (row, column), geometry.to_original((column, row, column + 1, row + 1))


@pytest.mark.parametrize(
    "options",
    [
        {"do_resize": False},
        {"size": [39, 51]},
        {"size": {"shortest_edge": 26}},
        {"size": [26, 51], "do_center_crop": True, "crop_size": [11, 20]},
        {"size": [13, 34], "do_center_crop": True, "crop_size": [30, 9]},
        {"do_resize": False, "do_center_crop": True, "crop_size": [20, 21]},
    ],
)
def test_every_pixel_goes_back_to_where_it_came_from(options):
    processor = ImageProcessor(**options, resample=0, do_rescale=False, do_normalize=False)
    picture = Image.fromarray(NUMBERED.astype(np.uint8))
    processed, geometry = processor([picture])[0], processor.geometry(picture.size)
    assert processed.shape[:2] == geometry.size[::-1]
    compared = 0
    for place, (left, top, right, bottom) in places(geometry):
        assert (right - left, bottom - top) == (1, 1)
        if processed[place].any():  # not padding
            assert np.array_equal(NUMBERED[top, left], processed[place])
            compared += 1
    assert compared >= min(9 * 13, geometry.size[0] * geometry.size[1])


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, 5])
def test_turns_and_what_follows_them(quarters):
    geometry = Geometry.of((17, 13)).turned(quarters).cropped((2, 3, 9, 8)).turned(1)
    turned = np.rot90(np.rot90(NUMBERED, quarters)[3:8, 2:9])
    assert turned.shape[:2] == geometry.size[::-1]
    for place, (left, top, right, bottom) in places(geometry):
        assert (right - left, bottom - top) == (1, 1)
        assert np.array_equal(NUMBERED[top, left], turned[place])


def test_a_box_takes_in_what_it_touches_and_no_more():
    geometry = Geometry.of((600, 50)).resized((384, 32))
    assert geometry.to_original((0, 0, 384, 32)) == (0, 0, 600, 50)
    assert geometry.to_original((8, 16, 16, 32)) == (12, 25, 25, 50)  # 12.5 to 25
    assert geometry.to_original((0.0, 0, 0.1, 32)) == (0, 0, 1, 50)
    thirds = Geometry.of((1000, 7)).resized((300, 21))  # 10/3 has no float
    assert thirds.to_original((3, 3, 6, 6)) == (10, 1, 20, 2)


def test_a_box_in_the_padding_is_the_nearest_pixel():
    geometry = Geometry.of((10, 6)).cropped((-5, -5, 15, 11))
    assert geometry.to_original((0, 0, 3, 3)) == (0, 0, 1, 1)
    assert geometry.to_original((18, 2, 20, 8)) == (9, 0, 10, 3)
    assert geometry.to_original((0, 0, 20, 16)) == (0, 0, 10, 6)


# grids

SWIN = {
    "embed_dim": 12,
    "depths": (1, 1, 1),
    "num_heads": (3, 1, 4),
    "window_size": 3,
    "image_size": 24,
    "patch_size": 2,
    "pretrained_window_sizes": (0, 0, 0),
}
HIERA = {
    "embed_dim": 12,
    "depths": (1, 1, 1),
    "num_heads": (1, 2, 3),
    "image_size": 16,
    "patch_size": 3,
    "patch_stride": 2,
    "patch_padding": 1,
    "num_query_pool": 2,
    "masked_unit_size": 4,
    "masked_unit_attention": (True, True, False),
}
WIDE_CELLS = {"swin", "donut-swin", "swinv2", "hiera"}  # of several patches
NONE = {*WIDE_CELLS, "siglip_vision_model", "aimv2_vision_model", "ijepa"}
REGISTERS = {"dinov2_with_registers", "dinov3_vit", "tipsv2_vision_model"}
PREFIXES = {"deit": 2, "pixio": 2, **dict.fromkeys(REGISTERS, 4), **dict.fromkeys(NONE, 0)}


def tiny_encoder(name: str) -> Encoder:
    kind = ENCODERS[name]
    sizes = {**VIT, "hidden_act": "gelu"}
    sizes |= {"num_register_tokens": 3, "num_detection_tokens": 5, "n_cls_tokens": 2}
    sizes = HIERA if name == "hiera" else SWIN if "swin" in name else sizes
    mx.random.seed(0)
    encoder = kind(kind.config_class.from_dict(sizes))
    encoder.eval()
    return encoder


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [(16, 16), (24, 24), (19, 38)])
def test_the_grid_has_every_feature(name, size):
    encoder = tiny_encoder(name)
    size = (16, 40) if name == "hiera" and size[0] % 8 else size  # whole units
    grid = encoder.grid(*size)
    out = encoder(pixels(1, *size), interpolate_pos_encoding=True).last_hidden_state
    assert grid.prefix == PREFIXES.get(name, 1)
    assert grid.features == out.shape[1]
    assert grid.cell == ((8, 8) if name in WIDE_CELLS else (4, 4))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_feature_is_where_the_grid_says(name):
    """A change of the image in one place changes that place's feature most."""
    encoder, size = tiny_encoder(name), (24, 40)
    grid, before = encoder.grid(*size), pixels(1, *size)
    for row, column in [(0, 0), (0, grid.columns - 1), (1, 2), (grid.rows - 1, 1)]:
        top, left = row * grid.cell[0], column * grid.cell[1]
        after = np.array(before)
        after[:, top : top + grid.cell[0], left : left + grid.cell[1]] *= -1
        seen = [encoder(mx.array(x), interpolate_pos_encoding=True) for x in (before, after)]
        change = np.abs(np.array(seen[0].last_hidden_state - seen[1].last_hidden_state)[0]).sum(1)
        places = change[grid.prefix : grid.features - grid.suffix]
        assert places.argmax() == row * grid.columns + column


def test_there_may_be_no_registers():
    kind = ENCODERS["dinov2_with_registers"]
    assert kind(kind.config_class.from_dict({**VIT, "num_register_tokens": 0})).prefix_tokens == 1


def test_an_encoder_without_patches_has_no_grid():
    class Dense(Encoder):
        """Features of the image as a whole."""

    with pytest.raises(ConfigError, match=r"Dense has no patches.*give it a grid\(height, width"):
        Dense(ENCODERS["vit"].config_class.from_dict(VIT)).grid(16, 16)


# boxes


class Looking:
    """A model that looks at given cells (row, column) of 3·4 for each token after its prompt.

    sink -- share of its attention that goes to the last cell whatever the token
    """

    def __init__(self, cells: list[list[tuple[int, int]]], sink: float = 0.0) -> None:
        kind = ENCODERS["vit"]
        sizes = {**VIT, "image_size": [48, 64], "patch_size": 16}
        self.encoder = kind(kind.config_class.from_dict(sizes))
        self.cells, self.sink = cells, sink
        self.encoded = 0

    def encode(self, x: mx.array) -> mx.array:
        self.encoded += 1
        return self.encoder(x).last_hidden_state

    def __call__(self, *, encoder_outputs, decoder_input_ids, **options):
        assert options == {"output_attentions": True, "use_cache": False}
        length = decoder_input_ids.shape[1]
        weights = np.zeros((length, 13), np.float32)
        weights[:, 0] = 0.25  # the class token
        for row, cells in zip(weights[-len(self.cells) :], self.cells, strict=True):
            for down, across in cells:
                row[1 + 4 * down + across] = 0.75 * (1 - self.sink) / len(cells)
        weights[:, -1] += 0.75 * self.sink
        last = mx.array(np.stack([weights * 0.5, weights * 1.5])[None])  # two heads
        first = mx.random.uniform(shape=last.shape)
        return Seq2SeqLMOutput(cross_attentions=(first, last.astype(mx.float16)))


PICTURE = Image.new("RGB", (100, 60), "white")
CROPPED = {"height": 48, "width": 64}  # at (16, 8) of what the picture is resized to


def reader() -> Processor:
    size = {"height": 64, "width": 96}
    return Processor(
        ImageProcessor(size=size, do_center_crop=True, crop_size=CROPPED), made(byte_level())
    )


def read(model, text: str, logprobs: list[float] | None = None, **options) -> tuple[WordBox, ...]:
    processor = reader()
    ids = [processor.tokenizer.backend.token_to_id(c.replace(" ", "Ġ")) for c in text] + [2]
    logprobs = [0.0] * len(ids) if logprobs is None else logprobs
    return word_boxes(model, processor, PICTURE, ids, logprobs, **{"prompt": [2], **options})


@pytest.mark.parametrize("sink", [0.0, 0.4])
@pytest.mark.parametrize("prompt", [[2], [2, 9, 8]])
def test_boxes_go_back_through_crop_and_resize(sink, prompt):
    cells = [[(1, 0)], [(1, 1)], [(2, 3)], [(0, 2), (0, 3)], [(2, 0)]]
    model = Looking(cells, sink)
    words = read(model, "ab c", [-1.0, -3.0, -9.0, -0.5, -9.0], prompt=prompt)
    assert words == (
        # pixels (0, 16, 32, 32), of the resized picture (16, 24, 48, 40); 100/96 and 60/64 of that
        WordBox("ab", (16, 22, 50, 38), math.exp(-2.0)),
        WordBox("c", (50, 7, 84, 23), math.exp(-0.5)),
    )


def test_one_token_and_tokens_alike_look_where_they_look():
    expected = (33, 22, 50, 38)
    processor, model = reader(), Looking([[(1, 1)]])
    [word] = word_boxes(model, processor, PICTURE, [9], [0.0], prompt=[2])  # type: ignore
    assert word.box == expected
    [word] = read(Looking([[(1, 1)]] * 3), "ab")
    assert word.box == expected


def test_features_are_computed_only_if_they_are_not_given():
    model = Looking([[(1, 1)], [(0, 0)]])
    features = model.encode(reader().pixels([PICTURE]))
    assert read(model, "a", features=features) == read(Looking(model.cells), "a")
    assert model.encoded == 1


def test_no_words_no_pass():
    model = Looking([])
    assert read(model, "") == read(model, "  ") == ()
    assert word_boxes(model, reader(), PICTURE, [], [], prompt=[2]) == ()  # type: ignore
    assert model.encoded == 0


def test_maps_and_boxes_of_more_than_one_row():
    maps = np.zeros((2, 3, 5), np.float32)
    maps[0, 1:, 1] = 1, 0.6
    maps[1, 1, 2:5] = 1, 0.5, 0.2  # the last is less than half
    assert pixel_box(maps, (10, 4)) == (4, 10, 16, 30)
    maps += 0.2  # what all look at
    assert pixel_box(distinct(maps), (10, 4)) == (4, 10, 16, 30)


def test_what_cannot_be_boxed_says_why():
    model = Looking([[(1, 1)], [(0, 0)]])
    with pytest.raises(OptionError, match="2 tokens have 1 log-prob.*expected one each"):
        read(model, "a", [0.0])
    with pytest.raises(TokenError, match="the prompt is empty; expected.*the start first"):
        read(model, "a", prompt=[])
    with pytest.raises(ImageError, match=r"\(1, 9, 24\), but.*1 \+ 3·4.*give those of this"):
        read(model, "a", features=mx.zeros((1, 9, 24)))
    with pytest.raises(ConfigError, match="has no image processor; give one"):
        textual = Processor(None, made(byte_level()))
        word_boxes(model, textual, PICTURE, [9], [0.0], prompt=[2])  # type: ignore


def test_attention_of_a_model_with_a_prompt():
    """The row of a token is that of the position whose logits gave it."""
    model = tiny_model()
    x = pixels(1)
    features, grid = model.encode(x), model.encoder.grid(16, 16)
    [maps] = token_attentions(model, features, [[2, 7]], [[8, 9, 2]], grid)
    assert maps.shape == (3, 4, 4)
    out = model(x, decoder_input_ids=mx.array([[2, 7, 8]]), output_attentions=True)
    expected = np.array(out.cross_attentions[TROCR["decoder_layers"] - 1].mean(1))[0, -2:, 1:]
    np.testing.assert_allclose(maps[:2].reshape(2, 16), expected, atol=1e-6)


# the bundled model


def inked(picture: Image.Image, count: int) -> list[tuple[int, int]]:
    """Left and right of each of so many words of a line, parted at its widest gaps."""
    ink = find_ink(leveled(dark_on_light(picture), 6))
    spans = spans_of(ink.any(axis=0))
    gaps = [after[0] - before[1] for before, after in zip(spans, spans[1:], strict=False)]
    widest = sorted(sorted(range(len(gaps)), key=lambda gap: -gaps[gap])[: count - 1])
    starts, ends = [0, *(gap + 1 for gap in widest)], [*widest, len(spans) - 1]
    return [(spans[a][0], spans[b][1]) for a, b in zip(starts, ends, strict=True)]


def overlap(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Intersection over union of two spans."""
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / (max(one[1], other[1]) - min(one[0], other[0]))


@pytest.mark.slow
def test_words_of_printed_lines():
    """Mean horizontal IoU with the ink, 0.87 when it was measured (MLX 0.32.4, CPU)."""
    from mlx_vedec import load, load_image

    model, processor = load()
    overlaps = []
    for line in json.loads((DATA / "lines" / "reference.json").read_text()):
        picture = load_image(DATA / "lines" / line["file"])
        start, *tokens = line["ids"]
        words = word_boxes(
            model, processor, picture, tokens, line["token_logprobs"], prompt=[start]
        )
        assert [word.text for word in words] == line["text"].split()
        assert all(0.3 < word.confidence <= 1 for word in words)
        width, height = picture.size
        spans = [(word.box[0], word.box[2]) for word in words]
        assert spans == sorted(spans)
        assert all(0 <= left < right <= width for left, right in spans)
        _, (_, top, _, bottom) = processor.image_processor.on_canvas(picture)
        heights = max(0, top), min(height, bottom)
        assert {(word.box[1], word.box[3]) for word in words} == {heights}
        truth = inked(picture, len(words))
        overlaps += [overlap(*pair) for pair in zip(spans, truth, strict=True)]
    assert len(overlaps) == 36
    assert np.mean(overlaps) > 0.85
    assert min(overlaps) > 0.4
