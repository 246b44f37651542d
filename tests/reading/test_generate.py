"""generate, stream_generate, batch_generate."""

import math

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import batch_generate, generate, load_image, stream_generate
from mlx_vedec.errors import ImageError, OptionError
from tests.conftest import DATA
from tests.support.readers import reads_again

LINE = DATA / "lines" / "seen_006.png"


@pytest.fixture(scope="module")
def reader():
    return reads_again()


def test_generate(reader):
    result = generate(*reader, LINE)
    assert str(result) == result.text == "wheel 206,3"
    assert result.finish_reason == "stop" and result.tokens[-1] == 2
    assert (result.prompt_tokens, result.generation_tokens) == (1, len("wheel 206,3") + 1)
    assert result.score == pytest.approx(np.mean(result.token_logprobs), rel=1e-5)
    assert result.confidence == pytest.approx(math.exp(result.score), rel=1e-5)
    assert min(result.prompt_tps, result.generation_tps, result.peak_memory) > 0


@pytest.mark.parametrize("kind", ["str", "bytes", "pil", "numpy", "mlx"])
def test_any_kind_of_image(reader, kind):
    image = load_image(LINE)
    source = {
        "str": str(LINE),
        "bytes": LINE.read_bytes(),
        "pil": image,
        "numpy": np.array(image),
        "mlx": mx.array(np.array(image)),
    }[kind]
    assert generate(*reader, source).text == "wheel 206,3"


def test_options_reach_the_decoder(reader):
    cut = generate(*reader, LINE, max_tokens=3)
    assert (cut.text, cut.finish_reason, cut.generation_tokens) == ("whe", "length", 3)
    with pytest.raises(OptionError, match="did you mean max_tokens"):
        generate(*reader, LINE, max_token=3)


def test_prompt_is_continued_and_not_repeated(reader):
    result = generate(*reader, LINE, "whe")
    assert (result.text, result.prompt_tokens) == ("el 206,3", 4)


def test_verbose_reports_on_stderr(reader, capsys):
    generate(*reader, LINE, verbose=True)
    out = capsys.readouterr()
    assert out.out == "" and "wheel 206,3" in out.err and "Generation: 12 tokens" in out.err


def test_stream_joins_to_the_text(reader):
    responses = list(stream_generate(*reader, LINE))
    result = generate(*reader, LINE)
    assert "".join(r.text for r in responses) == result.text
    assert tuple(r.token for r in responses) == result.tokens
    assert [r.finish_reason for r in responses] == [None] * 11 + ["stop"]
    assert [r.generation_tokens for r in responses] == list(range(1, 13))
    picked = [r.logprobs[r.token].item() for r in responses]
    np.testing.assert_allclose(picked, result.token_logprobs, atol=1e-4)
    cut = list(stream_generate(*reader, LINE, max_tokens=3))
    assert "".join(r.text for r in cut) == "whe" and cut[-1].finish_reason == "length"


def test_batches_keep_the_order_and_go_on_after_an_error(reader):
    names = ["seen_000.png", "held_000.png", "missing.png", "seen_006.png", "seen_009.png"]
    paths = [DATA / "lines" / name for name in names]
    singles = [generate(*reader, path).text for path in paths if path.exists()]
    for size in (2, 16):
        results = list(batch_generate(*reader, iter(paths), batch_size=size))
        assert isinstance(results[2].error, ImageError) and results[2].text == ""
        assert [r.text for r in results if r.error is None] == singles


def test_batches_are_read_as_they_are_wanted(reader):
    taken = []

    def images():
        for _ in range(6):
            taken.append(1)
            yield LINE

    results = batch_generate(*reader, images(), batch_size=2)
    next(results)
    assert len(taken) == 2


def test_prompts_of_unequal_length(reader):
    prompts = ["w", "wheel", "wh", "wheel"]
    results = batch_generate(*reader, [LINE] * 4, prompts)
    assert [p + r.text for p, r in zip(prompts, results, strict=True)] == ["wheel 206,3"] * 4
    with pytest.raises(OptionError, match="1 prompts for more images"):
        list(batch_generate(*reader, [LINE] * 2, ["w"]))
    with pytest.raises(OptionError, match="2 prompts for 1 images"):
        list(batch_generate(*reader, [LINE], ["w", "wh"]))


def test_streams_of_several_images(reader):
    lines = [DATA / "lines" / name for name in ("seen_006.png", "seen_000.png", "held_000.png")]
    texts, last = ["", "", ""], [None] * 3
    for response in stream_generate(*reader, lines):
        assert last[response.index] is None
        texts[response.index] += response.text
        last[response.index] = response.finish_reason
    assert texts == [generate(*reader, line).text for line in lines] and set(last) == {"stop"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seen_006.png", "held_000.png", "held_001.png"])
@pytest.mark.parametrize("options", [{}, {"early_stopping": True, "length_penalty": 2.0}])
def test_streams_of_beams_give_what_no_beam_can_change(reader, name, options):
    line = DATA / "lines" / name
    options = {"num_beams": 3, **options}
    responses = list(stream_generate(*reader, line, **options))
    result = generate(*reader, line, **options)
    assert "".join(r.text for r in responses) == result.text
    assert tuple(r.token for r in responses) == result.tokens
    assert [r.finish_reason for r in responses[:-1]] == [None] * (len(responses) - 1)
    assert responses[-1].finish_reason == result.finish_reason
    several = list(stream_generate(*reader, [line, LINE], **options))
    assert tuple(r.token for r in several if r.index == 0) == result.tokens


def test_sampled_streams_end_and_can_be_left(reader):
    mx.random.seed(0)
    responses = list(stream_generate(*reader, LINE, temp=1.0, max_tokens=5))
    assert len(responses) == 5 and responses[-1].finish_reason == "length"
    before = mx.get_active_memory()
    left = stream_generate(*reader, [LINE] * 8)
    next(left)
    assert mx.get_active_memory() > before + 1e6
    left.close()
    del responses
    assert mx.get_active_memory() < before + 1e5


def test_streams_that_cannot_be(reader):
    with pytest.raises(OptionError, match="a stream is of one sequence per image"):
        stream_generate(*reader, LINE, num_beams=2, num_return_sequences=2)
    with pytest.raises(OptionError, match="there are no images to read"):
        stream_generate(*reader, [])


def test_stop_strings_need_no_tokenizer_here(reader):
    result = generate(*reader, LINE, stop_strings=["el 2"])
    assert (result.text, result.finish_reason) == ("wheel 2", "stop")
    pieces = stream_generate(*reader, LINE, stop_strings="el 2")
    assert "".join(piece.text for piece in pieces) == "wheel 2"


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}])
def test_smaller_memories_of_the_text(reader, options):
    """Quantized keys and values read the same here; a window cuts what a token sees."""
    result = generate(*reader, LINE, **options)
    assert generate(*reader, LINE, kv_bits=8, **options).text == result.text
    assert generate(*reader, LINE, max_kv_size=48, **options).tokens == result.tokens
    window = [*batch_generate(*reader, [LINE] * 3, ["w", "wh", "wheel"], max_kv_size=8, **options)]
    alone = [generate(*reader, LINE, p, max_kv_size=8, **options) for p in ("w", "wh", "wheel")]
    assert [r.tokens for r in window] == [r.tokens for r in alone]
    with pytest.raises(OptionError, match="kv_group_size|group"):
        generate(*reader, LINE, kv_bits=8, kv_group_size=128)
    with pytest.warns(UserWarning, match="past the end of the position table") as said:
        generate(*reader, LINE, max_kv_size=8, max_length=1000)
    assert len(said) == 1
