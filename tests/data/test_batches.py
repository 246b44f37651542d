"""The checks before the first step, and the batches of an epoch."""

from __future__ import annotations

import re
import threading
from contextlib import closing

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from mlx_vedec import load
from mlx_vedec.data.augmentation import Augment
from mlx_vedec.data.batches import Batches, prefetched
from mlx_vedec.data.samples import Dataset, Sample
from mlx_vedec.errors import ConfigError, DataError, OptionError
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.images.image_processors import ImageProcessor
from mlx_vedec.reading.processor import Processor
from tests.support import training_parts as parts
from tests.support.training_parts import PAD

TEXTS = ["a", "tea", "tea and rice", "more tea", "rice", "b c d", "no", "fourteen long", "x y", "z"]


@pytest.fixture(scope="module")
def model():
    return parts.model()


@pytest.fixture(scope="module")
def processor():
    return parts.processor()


def data(count=10):
    return [(parts.picture(i), TEXTS[i % len(TEXTS)]) for i in range(count)]


def batches(model, processor, rows=None, **options):
    chosen = {"batch_size": 4, "leading": (), "workers": 0, **options}
    return Batches(data() if rows is None else rows, model, processor, **chosen)


def same(a, b):
    """Whether two batches are, bit for bit."""
    arrays = ("pixel_values", "decoder_input_ids", "labels")
    equal = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
    return equal and (a.tokens, a.indices, a.prompts) == (b.tokens, b.indices, b.prompts)


# --- checks


def test_all_problems_come_at_once(tmp_path, model, processor):
    parts.pictures(tmp_path, 1)
    (tmp_path / "no.png").write_bytes(b"no image")
    good = str(tmp_path / "000.png")
    rows = [
        Sample(str(tmp_path / "missing.png"), "a", where="d.jsonl:1"),
        Sample(str(tmp_path / "no.png"), "a", where="d.jsonl:2"),
        Sample(good, "  ", where="d.jsonl:3"),
        Sample(good, "a" * 19, where="d.jsonl:4"),
        Sample(good, "a</s>a", where="d.jsonl:5"),
        Sample(good, "tea" * 9, where="d.jsonl:6", tags=("<s_nm>", "</s_nm>")),
        {"image": good},
    ]
    with pytest.raises(DataError) as caught:
        batches(model, processor, rows)
    head, *lines = str(caught.value).split("\n")
    assert head == "7 problems in the data:"
    expected = [
        r"d\.jsonl:1: .*missing\.png does not exist",
        r"d\.jsonl:2: .*no\.png is in no format Pillow knows",
        r"d\.jsonl:3: the text is empty",
        r"d\.jsonl:4: the text has 21 tokens .* the position table ends at 20",
        r"d\.jsonl:5: the text has </s> inside",
        r"sample 6: the row has image",
        r"2 tags are no tokens yet: <s_nm> </s_nm>; add them with mlx_vedec\.add_tokens",
    ]
    for line, pattern in zip(lines, expected, strict=True):
        assert re.match("  " + pattern, line)


def test_the_longest_text_that_fits_is_learned(model, processor):
    made = batches(model, processor, [(parts.picture(), "a" * 18)])
    (batch,) = made.epoch(0)
    assert batch.labels.shape == (1, 20)
    assert model(**{name: getattr(batch, name) for name in FED}).loss.item() > 0


FED = ("pixel_values", "decoder_input_ids", "labels")


def test_ids_past_the_vocabulary(model):
    reader = parts.processor([f"<{i}>" for i in range(8)])
    batches(model, reader, [(parts.picture(), "<5>")])
    with pytest.raises(
        DataError, match="token <6> has the id 37, but the model's vocabulary has 37"
    ):
        batches(model, reader, [(parts.picture(), "<6>")])


def test_a_text_that_cannot_fit_is_refused_unread(model, processor, monkeypatch):
    """Twenty million characters are not made into tokens to find that they are too many."""
    asked = []
    monkeypatch.setattr(
        type(processor.tokenizer), "encode", lambda *_, **__: asked.append(1) or [1, 2]
    )
    with pytest.raises(DataError, match="has 2000000 characters, 'a a.*expected at most"):
        Batches([(parts.picture(), "a " * 10**6)], model, processor, batch_size=1, leading=[])
    assert not asked


def test_images_that_are_not_there_name_the_nearest(tmp_path, model, processor):
    parts.pictures(tmp_path, 1)
    (name,) = [path.name for path in tmp_path.iterdir()]
    with pytest.raises(DataError, match=f"does not exist; did you mean {name}"):
        Batches([(tmp_path / f"x{name}", "a")], model, processor, batch_size=1, leading=[])


def test_unknown_tokens_are_a_warning(model, processor):
    rows = [Sample(parts.picture(), text, where=f"f:{text}") for text in ("tea", "ABc", "é")]
    with pytest.warns(UserWarning) as caught:
        batches(model, processor, rows)
    (message,) = {str(warning.message) for warning in caught}
    assert message.startswith("2 of 3 texts have what the vocabulary lacks (4 tokens are <unk>)")
    assert "first at f:ABc: 'ABc'" in message


def test_labels_longer_than_generation_goes_are_a_warning(processor):
    model = parts.model(max_length=6)
    batches(model, processor, [(parts.picture(), "abcd")])
    with pytest.warns(
        UserWarning, match="1 of 2 labels .* sample 1: 7 tokens, but max_length is 6"
    ):
        batches(model, processor, [(parts.picture(), "abcd"), (parts.picture(), "abcde")])


def test_a_picture_that_is_no_line_is_a_warning():
    """Of a checkpoint that reads lines; with what a training can do about it."""
    made = Batches([(Image.new("L", (1200, 30), 255), "tea")], *load(), batch_size=1, workers=0)
    with pytest.warns(UserWarning, match=r"is 40\.0:1, .* canvas of 24:1; it is learned squeezed;"):
        next(made.epoch(0))


def test_without_samples_or_images(model, processor):
    with pytest.raises(DataError, match="there are no samples"):
        batches(model, processor, [])
    with pytest.raises(ConfigError, match="no image processor"):
        batches(model, Processor(tokenizer=parts.tokenizer()))


def test_wrong_options(model, processor):
    for options, message in [
        ({"batch_size": 0}, "batch_size is 0; expected a whole number, at least 1"),
        ({"seed": -1}, "seed is -1; expected a whole number, at least 0"),
        ({"workers": -1}, "workers is -1"),
        ({"world": 0}, "world is 0"),
        ({"rank": 2, "world": 2}, "rank is 2 of 2 processes; expected 0 to 1"),
    ]:
        with pytest.raises(OptionError, match=message):
            batches(model, processor, **options)
    made = batches(model, processor)
    for given_, message in [((-1,), "epoch is -1"), ((0, 4), "start is 4; expected at most 3")]:
        with pytest.raises(OptionError, match=message):
            made.epoch(*given_)


# --- batches


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 4, 7, 16])
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_sample_comes_once_over_all_ranks(model, processor, world, size, shuffle):
    options = {"batch_size": size, "world": world, "shuffle": shuffle}
    ranks = [batches(model, processor, rank=rank, **options) for rank in range(world)]
    for epoch in (0, 3):
        shares = [list(made.epoch(epoch)) for made in ranks]
        assert {len(share) for share in shares} == {len(ranks[0])} == {-(-10 // size)}
        indices = [i for share in shares for batch in share for i in batch.indices]
        assert sorted(indices) == list(range(10))
        counted = sum(batch.tokens for share in shares for batch in share)
        assert counted == sum(len(TEXTS[i]) + 1 for i in range(10))


def test_shares_are_the_batch_of_one_process(model, processor):
    options = {"batch_size": 3, "augment": Augment(noise=20, rotate=3)}
    whole = list(batches(model, processor, **options).epoch(1))
    ranks = [
        list(batches(model, processor, rank=rank, world=2, **options).epoch(1)) for rank in (0, 1)
    ]
    for batch, *shares in zip(whole, *ranks, strict=True):
        assert sum(share.tokens for share in shares) == batch.tokens
        for row, index in enumerate(batch.indices):
            share, place = shares[row % 2], row // 2
            assert share.indices[place] == index
            for name in FED:
                own, expected = getattr(share, name)[place], getattr(batch, name)[row]
                assert np.array_equal(own, expected)


def test_rows_that_fill_up_count_for_nothing(model, processor):
    shares = [batches(model, processor, data(5), rank=r, world=2) for r in (0, 1)]
    short = [min(made.epoch(0), key=lambda batch: len(batch.indices)) for made in shares]
    assert [len(batch.indices) for batch in short] == [1, 0]
    assert [batch.tokens > 0 for batch in short] == [True, False]
    for batch in short:
        filling = slice(len(batch.indices), None)
        assert batch.labels.shape[0] == 2
        assert (batch.labels[filling] == -100).all().item()
        assert (batch.decoder_input_ids[filling] == PAD).all().item()
        assert not batch.pixel_values[filling].any().item()
        assert mx.isfinite(model(batch.pixel_values, batch.decoder_input_ids).logits).all().item()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_epoch_from_its_middle(model, processor, workers):
    options = {"augment": Augment(blur=1, contrast=0.5, shift=0.1), "workers": workers}
    all_of_it = list(batches(model, processor, **options).epoch(2))
    other = batches(model, processor, **options)
    for start in range(len(other) + 1):
        rest = list(other.epoch(2, start))
        assert len(rest) == len(all_of_it) - start
        assert all(same(a, b) for a, b in zip(rest, all_of_it[start:], strict=True))


def test_epochs_and_seeds_differ(model, processor):
    made = [batches(model, processor, data(40), seed=seed) for seed in (0, 0, 1)]

    def order(number, epoch):
        return [part.tolist() for part in made[number].indices(epoch)]

    assert order(0, 0) == order(1, 0)
    assert len({str(order(number, epoch)) for number in (0, 2) for epoch in (0, 1)}) == 4


def test_batches_are_of_one_length_in_random_order(processor):
    model = parts.tiny_model(decoder={"max_position_embeddings": 60})
    for name, value in parts.IDS.items():
        setattr(model.config, name, value)
    model.generation_config = GenerationConfig(**parts.IDS)
    lengths = np.random.default_rng(0).integers(1, 55, 101)
    image = parts.picture()
    rows = [(image, "a" * int(length)) for length in lengths]
    made = batches(model, processor, rows, batch_size=8)
    bounds = [16, 32, 48, 60]
    assert made.widths.tolist() == [next(b for b in bounds if b >= n + 1) for n in lengths]
    widths = [[int(made.widths[part].max()) for part in made.indices(epoch)] for epoch in range(20)]
    mixed = [len(set(made.widths[part])) > 1 for epoch in range(20) for part in made.indices(epoch)]
    assert sum(mixed) <= 20 * (len(bounds) - 1)  # only where one length ends and another begins
    assert all(row != sorted(row) for row in widths)
    short = {widths[e][[len(p) for p in made.indices(e)].index(5)] for e in range(20)}
    assert len(short) > 1
    shapes = {batch.labels.shape for batch in made.epoch(0)}
    assert shapes <= {(8, bound) for bound in bounds}
    assert batches(model, processor, rows, batch_size=8, shuffle=False).indices(4)[1].tolist() == [
        *range(8, 16)
    ]


def test_pixels_are_the_processors(model, processor):
    rows = data(3)
    (batch,) = batches(model, processor, rows, shuffle=False).epoch(0)
    expected = processor.pixels([image for image, _ in rows])
    assert np.array_equal(batch.pixel_values, expected)
    assert (batch.pixel_values.dtype, batch.labels.dtype) == (mx.float32, mx.int32)
    changed = batches(
        model, processor, rows, shuffle=False, augment=lambda image, _: image.rotate(90)
    )
    (batch,) = changed.epoch(0)
    assert np.array_equal(batch.pixel_values, processor.pixels([i.rotate(90) for i, _ in rows]))


def test_augmentation_is_drawn_for_each_sample_and_epoch(model, processor):
    image, augment = parts.picture(), Augment(noise=60, probability=1)
    made = batches(model, processor, [(image, "a")] * 4, shuffle=False, augment=augment)
    epochs = [np.array(next(made.epoch(number)).pixel_values) for number in (0, 1, 0)]
    assert np.array_equal(epochs[0], epochs[2])
    drawn = {row.tobytes() for epoch in epochs for row in epoch}
    assert len(drawn) == 8


# --- in the background


def threads():
    return [thread for thread in threading.enumerate() if "mlx_vedec" in thread.name]


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_threads_end_with_the_iterator(model, processor, taken):
    made = batches(model, processor, workers=2)
    with closing(made.epoch(0)) as epoch:
        for _ in range(taken):
            next(epoch)
        assert bool(threads()) == (taken > 0)
    assert not threads()
    list(made.epoch(0))
    assert not threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_comes_out_by_file_and_line(tmp_path, model, processor, workers):
    paths = parts.pictures(tmp_path, 4)
    paths[2].write_bytes(paths[2].read_bytes()[:-300])
    rows = [Sample(str(path), "a", where=f"t.tsv:{n}") for n, path in enumerate(paths)]
    made = batches(model, processor, rows, batch_size=1, shuffle=False, workers=workers)
    epoch = made.epoch(0)
    assert [next(epoch).indices for _ in range(2)] == [(0,), (1,)]
    with pytest.raises(DataError, match=r"^t\.tsv:2: .*002\.png is damaged"):
        next(epoch)
    assert not threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_augmentation_comes_out(model, processor, workers):
    def fail(image, random):
        raise KeyError("mine")

    made = batches(model, processor, augment=fail, workers=workers)
    with pytest.raises(DataError, match="sample .: 'mine'"):
        next(made.epoch(0))
    assert not threads()


def test_images_of_several_sizes(model):
    reader = Processor(ImageProcessor(do_resize=False), parts.tokenizer())
    rows = [(parts.picture(0, (16, 16)), "a"), (parts.picture(0, (20, 16)), "a")]
    with pytest.raises(DataError, match=r"come out in shapes \[\(16, 16, 3\), \(16, 20, 3\)\]"):
        list(batches(model, reader, rows).epoch(0))


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("ahead", [1, 3, 20])
def test_results_come_in_order(workers, ahead):
    assert list(prefetched(lambda n: n * n, range(12), workers=workers, ahead=ahead)) == [
        n * n for n in range(12)
    ]
    assert not threads()


def test_little_is_made_ahead():
    begun, go = [], threading.Event()

    def make(number):
        begun.append(number)
        go.wait()
        return number

    made = prefetched(make, range(100), workers=3, ahead=2)
    go.set()
    with closing(made):
        assert next(made) == 0
        assert next(made) == 1
    assert len(begun) <= 5
    assert not threads()


def test_dataset_of_python_is_read_when_needed(model, processor):
    asked = []

    class Rows(Dataset):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    made = batches(model, processor, Rows(data(6)), batch_size=2)
    assert asked == list(range(6))
    asked.clear()
    (*_, last) = made.epoch(0, 2)
    assert sorted(asked) == sorted(last.indices)
