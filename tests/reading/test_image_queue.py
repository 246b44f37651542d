"""Any number of images as one stream of work, on the bundled model."""

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from mlx_vedec import batch_generate, generate, load, load_image
from mlx_vedec.errors import ImageError, OptionError, TokenError
from mlx_vedec.reading.image_queue import Ladder
from mlx_vedec.reading.results import GenerationResult
from tests.conftest import DATA
from tests.support.readers import reads_again

LINES = sorted((DATA / "lines").glob("*.png"))[:4]


@pytest.fixture(scope="module")
def reader():
    return reads_again()


BEAMS = {"num_beams": 3, "num_return_sequences": 2, "no_repeat_ngram_size": 3}


@pytest.fixture(scope="module", params=[{}, BEAMS])
def alone(reader, request):
    """Options, and what each line is by itself."""
    return request.param, [generate(*reader, line, **request.param) for line in LINES]


@pytest.mark.parametrize("size", [3, 16])
def test_the_same_as_one_by_one(reader, alone, size):
    options, singles = alone
    results = list(batch_generate(*reader, iter(LINES), batch_size=size, **options))
    for result, single in zip(results, singles, strict=True):
        assert (result.tokens, result.finish_reason) == (single.tokens, single.finish_reason)
        np.testing.assert_allclose(result.score, single.score, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            result.token_logprobs, single.token_logprobs, rtol=1e-4, atol=1e-5
        )
        assert [a.tokens for a in result.alternatives] == [a.tokens for a in single.alternatives]


def test_kept_within_the_batch_size_while_others_join(reader, monkeypatch):
    model, processor = reader
    rows = []
    step = type(model).step
    monkeypatch.setattr(
        type(model), "step", lambda m, t, c, k: rows.append(len(t)) or step(m, t, c, k)
    )
    results = list(batch_generate(model, processor, LINES * 2, batch_size=4))
    assert len(results) == 8 and max(rows) == 4
    widths = [n for n in rows if n > 1]
    assert sum(rows) / len(rows) > 2 and widths  # refilled, not run down to one row each time


def test_a_folder_by_name(reader, tmp_path):
    for name, line in zip(("b", "a"), LINES, strict=False):
        load_image(line).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("no image")
    texts = [r.text for r in batch_generate(*reader, tmp_path)]
    assert texts == [generate(*reader, line).text for line in (LINES[1], LINES[0])]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="has no images; name image files, or another folder"):
        batch_generate(*reader, tmp_path / "empty")


def test_images_of_unequal_size_share_no_batch_but_an_order():
    model, processor = load()
    processor.image_processor.do_resize = False
    wide = load_image(LINES[0]).resize((768, 32))
    images = [wide, Image.new("RGB", (100, 32)), wide, Image.new("RGB", (100, 32)), wide]
    results = list(batch_generate(model, processor, images, batch_size=3))
    assert [r.error is None for r in results] == [True, False, True, False, True]
    assert "image is 32×100 but this encoder was built for 32×768" in str(results[1].error)
    assert results[0].tokens == results[2].tokens == results[4].tokens


def test_what_is_wrong_with_a_prompt_stays_with_its_image(reader):
    prompts = ["w", "x" * 90, None]
    results = list(batch_generate(*reader, LINES[:3], prompts))
    assert [type(r.error) for r in results] == [type(None), OptionError, type(None)]


def test_prompts_of_unequal_length_are_one_flow(reader):
    line = DATA / "lines" / "seen_006.png"
    prompts = ["w", "wheel", "", "wh", "wheel 2"]
    for beams in (1, 2):
        results = list(batch_generate(*reader, [line] * 5, prompts, batch_size=2, num_beams=beams))
        joined = [p + r.text for p, r in zip(prompts, results, strict=True)]
        assert joined == ["wheel 206,3"] * 5


def test_results_before_the_one_that_raises(reader):
    def images():
        yield LINES[0]
        yield LINES[1]
        raise RuntimeError("the disk is gone")

    results = batch_generate(*reader, images(), batch_size=16)
    assert next(results).text and next(results).text
    with pytest.raises(RuntimeError, match="the disk is gone"):
        next(results)


def test_nothing_to_read(reader):
    for nothing in ([], iter(())):
        with pytest.raises(OptionError, match="there are no images to read"):
            list(batch_generate(*reader, nothing))


def test_wrong_options_show_before_an_image_is_read(reader):
    def images():
        raise AssertionError("read")
        yield

    with pytest.raises(OptionError, match="did you mean num_beams"):
        batch_generate(*reader, images(), num_beam=2)
    with pytest.raises(OptionError, match="temp and temperature"):
        batch_generate(*reader, images(), fallback=[{"temp": 1.0, "temperature": 1.0}])
    with pytest.raises(OptionError, match="batch_size is 0"):
        batch_generate(*reader, images(), batch_size=0)


def test_progress_is_told_of_every_result(reader):
    told = []
    results = list(
        batch_generate(*reader, [*LINES, "missing.png"], batch_size=4, progress=told.append)
    )
    assert sorted(map(id, told)) == sorted(map(id, results))


def test_leaving_early_frees_what_the_batch_held(reader):
    list(batch_generate(*reader, LINES[:2]))
    before = mx.get_active_memory()
    results = batch_generate(*reader, LINES, batch_size=9)
    next(results)
    assert mx.get_active_memory() > before + 1e6
    results.close()
    assert mx.get_active_memory() < before + 1e5


def test_words_and_where_they_stand(reader):
    line = DATA / "lines" / "seen_006.png"
    [result] = batch_generate(*reader, [line], boxes=True)
    assert [word.text for word in result.boxes] == result.text.split()
    left, right = result.boxes[0].box, result.boxes[1].box
    width, height = load_image(line).size
    assert 0 <= left[0] < left[2] <= right[0] + width * 0.05 and right[2] <= width
    assert right[3] <= height and generate(*reader, line, boxes=True).boxes == result.boxes
    assert generate(*reader, line).boxes == ()


def test_several_sequences_best_first(reader):
    line = DATA / "lines" / "seen_006.png"
    result = generate(*reader, line, num_beams=4, num_return_sequences=4)
    scores = [result.score, *(other.score for other in result.alternatives)]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)
    assert len({result.tokens, *(other.tokens for other in result.alternatives)}) == 4
    assert result.text == "wheel 206,3" and result.confidence > 0.9


def test_a_ladder_is_climbed_only_as_far_as_needed(reader):
    line = DATA / "lines" / "seen_006.png"
    sure = generate(*reader, line, fallback=[{"max_tokens": 2}], fallback_score=-5.0)
    assert sure.text == "wheel 206,3"
    steps = [{"max_tokens": 2}, {"max_tokens": 4}]
    unsure = generate(*reader, line, fallback=steps, fallback_score=1.0)  # no score is above 0
    tried = [generate(*reader, line, **step) for step in ({}, *steps)]
    assert unsure.tokens == max(tried, key=lambda r: r.score).tokens


def test_what_a_ladder_takes():
    ladder = Ladder([{}], score=-1.0)
    fine = GenerationResult(tokens=(1,), token_logprobs=(-0.5,), score=-0.5, finish_reason="stop")
    assert ladder.takes(fine) and not Ladder([{}], score=-0.1).takes(fine)
    circles = GenerationResult(finish_reason="repetition")
    assert not ladder.takes(circles) and not Ladder([{}]).takes(circles)
    assert not Ladder([{}]).takes(GenerationResult(error=ImageError("gone")))


def test_an_attempt_that_fails_does_not_take_the_place_of_a_text(reader):
    line = DATA / "lines" / "seen_006.png"
    broken = {"decoder_start_token_id": [2, 2]}  # two ids for one image
    result = generate(*reader, line, fallback=[broken], fallback_score=-1e-9)
    assert (result.text, result.error) == ("wheel 206,3", None)


def test_a_text_in_circles_is_tried_again(reader):
    """A model made to repeat itself stops for it, and the ladder blocks it."""
    line = DATA / "lines" / "seen_006.png"
    bias = {"logit_bias": {(20,): 100.0}, "eos_token_id": 2, "min_length": 40}
    looped = generate(*reader, line, stop_on_repetition="ngram", **bias)
    assert looped.finish_reason == "repetition" and set(looped.tokens) == {20}
    again = generate(*reader, line, fallback=[{"no_repeat_ngram_size": 1}], **bias)
    assert again.finish_reason != "repetition" and len(set(again.tokens)) == len(again.tokens)


def test_errors_of_one_image_are_raised_for_it_alone(reader):
    with pytest.raises(ImageError):
        generate(*reader, "missing.png")
    with pytest.raises((TokenError, OptionError)):
        generate(*reader, LINES[0], "x" * 90)
