"""Values of wrong types for the public functions of reading and pages: our errors, nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import mlx_vedec
from mlx_vedec.errors import OptionError
from mlx_vedec.pages.layout import Line, Region
from tests.conftest import DATA

LINE = DATA / "lines" / "seen_006.png"
TEXT = "wheel 206,3"
WRONG = [5, 2.5, "x", b"x", [], {}, object(), None, True, [[]], np.zeros(3), float("nan")]
WRONG += ["\0", "\ud800", 10**40, "x" * 10_000]


@pytest.fixture(scope="module")
def reader():
    return mlx_vedec.load()


def test_one_image_is_taken_alone(reader):
    """A path, a picture or an array is no iterable of images."""
    for one in (LINE, str(LINE), Image.open(LINE), np.asarray(Image.open(LINE)), LINE.read_bytes()):
        assert [result.text for result in mlx_vedec.batch_generate(*reader, one)] == [TEXT]


@pytest.mark.parametrize(
    "name",
    [
        *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
        "return_dict_in_generate",
    ],
)
def test_what_a_result_has_no_place_for_is_refused(reader, name):
    for call in (mlx_vedec.generate, mlx_vedec.batch_generate, mlx_vedec.stream_generate):
        with pytest.raises(OptionError, match=f"{name} is for model.generate"):
            call(*reader, LINE, compile=True, **{name: True})
    assert str(mlx_vedec.generate(*reader, LINE, **{name: False})) == TEXT


def test_model_and_processor_swapped(reader):
    model, processor = reader
    for call in (mlx_vedec.generate, mlx_vedec.batch_generate, mlx_vedec.stream_generate):
        with pytest.raises(OptionError, match="model is a Processor; expected a VisionEncoder"):
            call(processor, model, LINE)
    for call in (mlx_vedec.read_page, mlx_vedec.read_pages, mlx_vedec.read_lines):
        with pytest.raises(OptionError, match="processor is None; expected a Processor; "):
            call(model, None, LINE)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"images": 5}, "images is 5; expected images, paths or URLs"),
        ({"prompts": 32}, "prompt is 32; expected a text"),
        ({"prompts": [32]}, "prompt is 32; expected a text"),
        ({"prompts": "a" * 131_073}, "prompt has 131,073 characters; expected 131,072 at most"),
        ({"prompts": "\ud800"}, r"prompt is '.ud800', with half a surrogate pair"),
        ({"batch_size": "x"}, "batch_size is 'x'; expected a whole number"),
        ({"batch_size": 2.5}, "batch_size is 2.5; expected a whole number"),
        ({"batch_size": True}, "batch_size is True; expected a whole number"),
        ({"fallback": 5}, "fallback is 5; expected a list of options"),
        ({"fallback": [5]}, "fallback is a list; expected a list of options"),
        ({"fallback_score": "x"}, "fallback_score is 'x'; expected a number"),
        ({"progress": 5}, "progress is 5; expected a function"),
    ],
)
def test_wrong_options(reader, options, message):
    given = {"images": [LINE], **options}
    with pytest.raises(OptionError, match=message):
        list(mlx_vedec.batch_generate(*reader, given.pop("images"), **given))


@pytest.mark.slow
def test_any_value_for_any_argument(reader, tmp_path, monkeypatch):
    """Only our errors come, and never of more than a few hundred characters."""
    monkeypatch.chdir(tmp_path)  # some values are names of files
    page = mlx_vedec.Page(regions=(Region((Line("tea"),)),), size=(9, 9))
    calls = [
        lambda value: mlx_vedec.generate(*reader, value, max_new_tokens=1),
        lambda value: mlx_vedec.generate(*reader, LINE, value, max_new_tokens=1),
        lambda value: list(mlx_vedec.stream_generate(*reader, value, max_new_tokens=1)),
        lambda value: list(mlx_vedec.stream_generate(*reader, LINE, value, max_new_tokens=1)),
        lambda value: list(mlx_vedec.batch_generate(*reader, value, max_new_tokens=1)),
        lambda value: list(mlx_vedec.batch_generate(*reader, [LINE], value, max_new_tokens=1)),
        lambda value: list(mlx_vedec.batch_generate(*reader, [LINE], batch_size=value)),
        lambda value: list(mlx_vedec.batch_generate(*reader, [LINE], fallback=value)),
        lambda value: list(mlx_vedec.batch_generate(*reader, [LINE], fallback_score=value)),
        lambda value: mlx_vedec.read_page(*reader, value, boxes=False, max_new_tokens=1),
        lambda value: mlx_vedec.read_page(*reader, LINE, layout=value, max_new_tokens=1),
        lambda value: mlx_vedec.read_page(*reader, LINE, batch_size=value, max_new_tokens=1),
        lambda value: list(mlx_vedec.read_pages(*reader, value, max_new_tokens=1)),
        lambda value: list(mlx_vedec.read_pages(*reader, [LINE], layouts=value, max_new_tokens=1)),
        lambda value: list(mlx_vedec.read_pages(*reader, [LINE], prompt=value, max_new_tokens=1)),
        lambda value: mlx_vedec.Page.from_file(value),
        lambda value: page.save(value, "text"),
        lambda value: page.save(tmp_path / "a.txt", value),
        lambda value: page.to_bytes(value),
        lambda value: page.overlay(width=value),
        lambda value: mlx_vedec.load(value, lazy=True),
        lambda value: mlx_vedec.load(adapter_path=value, lazy=True),
        lambda value: mlx_vedec.load_image(value),
        lambda value: mlx_vedec.load_dataset(value),
        lambda value: mlx_vedec.load_dataset(tmp_path, split=value),
        lambda value: mlx_vedec.load_splits(value),
        lambda value: reader[1](images=value),
        lambda value: reader[1](text=value),
    ]
    wrong = []
    for place, call in enumerate(calls):
        for value in WRONG:
            try:
                call(value)
            except Exception as error:
                kind = type(error)
                if kind.__module__ != "mlx_vedec.errors" or len(str(error)) > 1500:
                    wrong.append((place, repr(value)[:30], kind.__name__, str(error)[:90]))
    assert not wrong, "\n".join(map(str, wrong))
