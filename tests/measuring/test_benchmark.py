"""`benchmark`: what is timed and when it is waited for, how much is decoded, what is refused."""

import io
import json
import math
import re
from dataclasses import replace
from typing import Any

import mlx.core as mx
import pytest

from mlx_vedec import TrOCRConfig, ViTConfig, commands, load
from mlx_vedec.adapters.wrapping import add_adapters, save_adapters
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.commands.benchmark import SHAPES
from mlx_vedec.errors import ConfigError, OptionError, ProcessError
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.layers.computing import STATE
from mlx_vedec.measuring import shapes
from mlx_vedec.measuring.benchmark import benchmark, timed_load
from mlx_vedec.measuring.benchmark_report import Benchmark, Loading, Spread, Trial, Work
from mlx_vedec.reading.load import BUNDLED
from tests.benchmarks import growth
from tests.benchmarks.growth import exponent
from tests.support.tiny import TROCR, VIT, tiny_model

ONCE = {"num_trials": 1, "warmup": 0}
COSTS = {"pixels": 1000, "encode": 100, "step": 1}


class Watch:
    """What a model and a processor do, in order, and a clock that moves by it alone.

    Whenever somebody looks at the clock, all that was made before has to be computed.
    """

    def __init__(self, monkeypatch, **made_by):
        self.events, self.made, self.time = [], [], 0
        for name, owner in made_by.items():
            monkeypatch.setattr(owner, name, self.watched(name, getattr(owner, name)))
        evaluate = mx.eval
        monkeypatch.setattr(mx, "eval", lambda *x: (self.events.append("eval"), evaluate(*x)))

    def watched(self, name, work):
        def wrapper(*args, **kwargs):
            self.events.append(name)
            self.time += COSTS[name]
            self.made.append(work(*args, **kwargs))
            return self.made[-1]

        return wrapper

    def clock(self):
        self.events.append("clock")
        assert all(map(computed, self.made))
        return self.time


def computed(array):
    drawing = io.StringIO()
    mx.export_to_dot(drawing, array)
    return "->" not in drawing.getvalue()


def test_an_array_is_computed_or_not():
    array = mx.ones(3) + 1
    assert not computed(array)
    mx.eval(array)
    assert computed(array)


@pytest.mark.parametrize("beams", [1, 3])
def test_each_part_is_waited_for_and_counted_once(monkeypatch, beams):
    model, processor = load()
    watch = Watch(monkeypatch, encode=model, step=model, pixels=processor)
    kwargs = {"num_beams": beams, "max_tokens": 6, "batch_size": 2, **ONCE}
    [trial] = benchmark(model, processor, clock=watch.clock, **kwargs).trials
    run = watch.events[watch.events.index("clock") :]
    assert run == [
        *("clock", "pixels", "eval", "clock", "encode", "eval", "clock", "step", "eval"),
        *("clock", *["step"] * 5, "clock"),
    ]
    assert (trial.prepare, trial.encode, trial.prefill, trial.decode) == (1000, 100, 1, 5)
    assert (trial.first_token, trial.seconds) == (101, 1106)
    assert (trial.images, trial.tokens) == (2, 10)
    assert trial.generation_tps == 2 and trial.images_per_second == 2 / 1106


def test_runs_to_warm_up_do_not_count(monkeypatch):
    model = tiny_model()
    watch, seen = Watch(monkeypatch, encode=model, step=model), []
    settings = {"max_tokens": 4, "num_trials": 3, "warmup": 2}
    found = benchmark(model, clock=watch.clock, progress=seen.append, **settings)
    assert watch.events.count("encode") == 5
    assert len(found.trials) == 3 and tuple(seen) == found.trials
    assert found.spread("encode") == Spread(100, 100, 100)


@pytest.mark.parametrize("beams", [1, 2])
def test_nothing_ends_a_text_before_its_length(monkeypatch, beams):
    model = tiny_model()
    model.generation_config = GenerationConfig(
        decoder_start_token_id=2,
        eos_token_id=[*range(36)],  # one has to be left for min_length
        forced_eos_token_id=3,
        min_length=3,
        stop_on_repetition="ngram",
        exponential_decay_length_penalty=[2, 1.5],
        max_time=1e-9,
        num_return_sequences=1,
        do_sample=True,
        num_beams=beams,
    )
    pixels = mx.zeros((1, 16, 16, 3))
    assert model.generate(pixels).shape[1] < 5
    watch = Watch(monkeypatch, step=model)
    found = benchmark(model, clock=watch.clock, max_tokens=19, **ONCE)
    assert watch.events.count("step") == 19 and found.work.num_beams == beams


def test_tokens_by_default_are_what_there_is_room_for():
    assert benchmark(tiny_model(), **ONCE).work.max_tokens == 19
    longer = tiny_model(decoder={"max_position_embeddings": 90})
    assert benchmark(longer, **ONCE).work.max_tokens == 32


def test_bytes():
    model = tiny_model()
    settings = {"max_tokens": 5, **ONCE}
    one, two, beams = (
        benchmark(model, **settings, **more) for more in ({}, {"batch_size": 2}, {"num_beams": 4})
    )
    assert one.weights == sum(x.nbytes for x in parameters(model).values())
    features, layers, width = 17, 3, 32
    [trial] = one.trials
    assert trial.image_cache == layers * 2 * features * width * 4
    assert two.trials[0].image_cache == 2 * trial.image_cache
    assert beams.trials[0].image_cache == trial.image_cache  # which all beams read
    assert beams.trials[0].own_cache == 4 * trial.own_cache > 0
    assert trial.peak_memory > one.weights + trial.image_cache + trial.own_cache
    assert one.peak_memory == trial.peak_memory / 1e9


def test_images_are_read_in_turn(monkeypatch):
    model, processor = load()
    lines = [f"tests/data/lines/seen_00{i}.png" for i in range(2)]
    seen, pixels = [], processor.pixels
    monkeypatch.setattr(processor, "pixels", lambda x: (seen.append(x), pixels(x))[1])
    found = benchmark(model, processor, images=lines, batch_size=3, max_tokens=2, **ONCE)
    assert seen[-1] == [*lines, lines[0]] and found.work.batch_size == 3
    assert benchmark(model, processor, images=lines, max_tokens=2, **ONCE).work.batch_size == 2
    assert benchmark(model, processor, images=lines[0], max_tokens=2, **ONCE).work.batch_size == 1


@pytest.mark.parametrize("size", [(16, 16), (8, 24), 20])
def test_random_pixels_of_a_size(size):
    found = benchmark(tiny_model(), image_size=size, max_tokens=2, **ONCE)
    assert found.work.image_size == ((20, 20) if size == 20 else size)
    assert found.work.random_pixels and "random" in str(found.work)


def test_types_and_quantization():
    model, _ = load(quantize=4)
    found = benchmark(model, image_size=(32, 768), max_tokens=2, **ONCE)
    assert found.quantization["bits"] == 4 and found.bits_per_weight < 12
    assert found.dtype == "float32" and "4 bits (affine)" in str(found)
    model = tiny_model().astype("bfloat16")
    assert benchmark(model, max_tokens=2, **ONCE).dtype == "bfloat16"


def test_loading_is_timed_twice_and_waited_for(tmp_path, capsys):
    model, _ = load()
    add_adapters(model)
    save_adapters(model, tmp_path)
    looks = []

    def clock():
        looks.append(len(looks) ** 2)
        return looks[-1]

    loaded, times = timed_load(BUNDLED, adapter_path=tmp_path, clock=clock)
    assert times == Loading(1, 5)  # of looks at 0, 1, 4 and 9
    assert all(map(computed, parameters(loaded).values()))
    assert parameters(loaded).keys() == parameters(model).keys()
    assert commands.main(["benchmark", "--adapter-path", str(tmp_path), "-m", "2", "-n", "1"]) == 0
    assert f"the bundled line reader + {tmp_path}" in capsys.readouterr().out


def test_random_pixels_need_no_processor(tmp_path, capsys):
    tiny_model().save_pretrained(tmp_path)
    command = ["benchmark", "--model", str(tmp_path), "-m", "2", "-n", "1"]
    assert commands.main(command) == 1
    assert commands.main([*command, "--image-size", "16x16"]) == 0
    assert "16×16 random pixels" in capsys.readouterr().out


def test_a_fork_is_refused(monkeypatch):
    """MLX would wait there for ever."""
    monkeypatch.setitem(STATE, "forked", True)
    with pytest.raises(ProcessError, match="spawn"):
        benchmark(tiny_model(), max_tokens=2, **ONCE)


def trial(**parts):
    zeros = dict.fromkeys(("peak_memory", "image_cache", "own_cache"), 0)
    seconds = {"prepare": 0.5, "encode": 1.0, "prefill": 0.25, "decode": 2.0}
    return Trial(**{**zeros, **seconds, "images": 3, "tokens": 30, **parts})


def test_medians_and_quartiles():
    trials = tuple(trial(decode=seconds) for seconds in (1.0, 2.0, 3.0, 4.0, 5.0))
    found = Benchmark("a model", Work(3, (4, 4), True, 1, 11), trials, "float32", 8, 4, 32.0)
    assert found.spread("decode") == Spread(3.0, 2.0, 4.0)
    assert found.spread("generation_tps") == Spread(10.0, 7.5, 15.0)
    assert found.spread("images_per_second").median == pytest.approx(3 / 4.75)
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0)
    assert Spread.of([1.0, 2.0]) == Spread(1.5, 1.25, 1.75)
    assert "10 (7.5 to 15) tokens/s" in str(found)
    assert "10 tokens/s" in str(Benchmark(**{**vars(found), "trials": trials[2:3]}))


def test_a_step_reads_the_decoder_and_the_caches():
    """On a chip whose memory is known, as a share of what it gives."""
    runs = tuple(trial(decode=2.0, image_cache=30, own_cache=20) for _ in range(3))
    place: dict[str, Any] = {"machine": {"processor": "a CPU"}, "versions": {"mlx": "1"}}
    place["device"] = {"type": "gpu", "device_name": "Apple M1 Pro"}
    work = Work(3, (4, 4), True, 1, 11)
    found = Benchmark("m", work, runs, "float32", 10**9, 10**9 - 40, 32.0, **place)
    assert found.bandwidth == 10**9 * 10 / 2.0
    head, line, row = found.table().splitlines()
    assert row.startswith("| Apple M1 Pro | mlx 1 | m | float32 | 3 images of 4×4 random pixels")
    assert row.endswith("| 1000.0 ms | 1250.0 ms | 15 tokens/s | 5 GB/s | 2% |")
    assert head.count("|") == line.count("|") == row.count("|")
    assert str(replace(work, compiled=True)) == f"{work}, compiled"
    place["device"] = {"type": "cpu"}
    other = Benchmark("m", work, runs, "float32", 10**9, 10**9 - 40, 32.0, **place)
    assert other.chip == "a CPU" and other.table().endswith("| unknown |")


def test_all_of_it_is_json():
    found = benchmark(tiny_model(), max_tokens=3, **ONCE).of("a model", Loading(2.0, 1.0))
    values = json.loads(json.dumps(found.to_dict()))
    assert values["work"]["max_tokens"] == 3 and values["load"] == {"first": 2.0, "again": 1.0}
    assert values["device"]["type"] == mx.default_device().type.name
    assert values["machine"]["cores"] > 0 and values["versions"].keys() > {"python", "mlx"}
    assert set(values["generation_tps"]) == {"median", "low", "high"}
    assert "2 s as found, 1 s from the file cache" in str(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_trials": 0}, "num_trials is 0; expected 1 or more"),
        ({"warmup": -1}, "warmup is -1; expected 0 or more"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"max_tokens": 1}, "max_tokens is 1; expected 2 or more"),
        ({"num_beams": 38}, "num_beams=38 is more than the vocabulary has ids, 37"),
        ({"images": ["x.png"]}, "without a processor"),
    ],
)
def test_what_cannot_be_done(options, message):
    with pytest.raises(OptionError, match=message):
        benchmark(tiny_model(), **options)


@pytest.mark.parametrize("size", [(3, 16), 0, (16, -4)])
def test_images_that_an_encoder_cannot_take(size):
    with pytest.raises(ConfigError, match="does not fit|positive"):
        benchmark(tiny_model(), image_size=size)


@pytest.mark.parametrize(
    "options", [{"batch_size": 10**7}, {"image_size": (40000, 40000)}], ids=lambda x: [*x][0]
)
def test_what_does_not_fit_is_refused_before_it_is_computed(options):
    model = shapes.random_model("trocr-base")
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    with pytest.raises(ValueError, match=r"takes up to .* MB: weights .*; the device has"):
        benchmark(model, **options)
    assert mx.get_peak_memory() - before < 1e6


@pytest.fixture
def tiny_shape(monkeypatch):
    monkeypatch.setitem(shapes.SHAPES, "tiny", lambda: (ViTConfig(**VIT), TrOCRConfig(**TROCR)))


def test_the_command_on_the_bundled_model(capsys):
    assert commands.main(["benchmark", "-m", "4", "-n", "2", "--warmup", "0"]) == 0
    out, err = capsys.readouterr()
    assert "1 image of 32×768 pixels, 4 tokens each, greedy; no end token" in out
    for line in ("machine", "device", "versions", "load", "time to first token", "peak memory"):
        assert f"\n{line}" in "\n" + out
    assert out.splitlines()[-3].startswith("| chip | versions | model |")
    assert [line[:9] for line in err.splitlines()] == ["Trial 1: ", "Trial 2: "]


def test_the_command_on_a_shape(tiny_shape, capsys):
    flags = ["--shape", "tiny", "--image-size", "8x24", "-b", "2", "--num-beams", "3", "-n", "1"]
    assert commands.main(["benchmark", *flags, "--dtype", "float16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["work"]["image_size"] == [8, 24] and found["dtype"] == "float16"
    assert (found["work"]["batch_size"], found["work"]["num_beams"]) == (2, 3)
    assert found["load"] is None and math.isfinite(found["images_per_second"]["median"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shape", "trocr-bse"], "did you mean trocr-base?"),
        (["--shape", "tiny", "--model", "x"], "--shape has random weights and pixels; leave out"),
        (["--shape", "tiny", "--image", "x.png"], "leave out it or --image"),
        (["--shape", "tiny", "--adapter-path", "x"], "leave out it or --adapter-path"),
        (["--shape", "tiny", "-n", "0"], "num_trials is 0"),
        (
            ["--shape", "tiny", "-b", "99999999"],
            "batch_size is 99999999; expected 1 or more",
        ),
        (["--shape", "tiny", "--num-beams", "99999999"], "num_beams"),
        (["--shape", "tiny", "--image-size", "2x2"], "does not fit"),
        (["--shape", "tiny", "--quantize", "9"], "bits"),
        (["--shape", "donut-base", "-b", "9999999"], "the device has"),
        (["--image", "missing.png"], "missing.png"),
        (["--image", "x.png", "--image-size", "32x384"], "images are given"),
        (["--model", "missing/folder/x"], "neither a folder nor a Hub id"),
    ],
)
def test_the_command_refuses(tiny_shape, capsys, flags, message):
    assert commands.main(["benchmark", *flags]) == 1
    out, err = capsys.readouterr()
    assert message in err and not out


def test_the_help_names_all_shapes():
    assert set(re.findall(r"[\w-]+", SHAPES)) - {"or"} == set(shapes.SHAPES)


def test_a_size_that_is_none(capsys):
    with pytest.raises(SystemExit):
        commands.main(["benchmark", "--image-size", "large"])
    assert "'large' is no size; expected HxW" in capsys.readouterr().err


def test_growth_is_measured_in_turn(monkeypatch):
    axis = growth.AXES["beams"]
    watch = Watch(monkeypatch)
    monkeypatch.setattr(growth, "small_model", tiny_model)
    monkeypatch.setattr(growth, "clock", watch.clock)
    table = growth.measured(axis, (1, 2, 4), rounds=2)
    assert watch.events.count("clock") == 5 * 3 * 3  # with the round that warms up
    assert [len(column) for column in table.values()] == [3] * 5
    assert exponent([1, 2, 4], table["text's cache"]) == pytest.approx(1)
    assert exponent([1, 2, 4], table["image's cache"]) == pytest.approx(0)
