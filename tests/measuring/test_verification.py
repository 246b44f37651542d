"""Two models side by side: every figure against a plain reference, and the report of them."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from PIL import Image

from mlx_vedec import ImageProcessor, Processor, QuantizationConfig, Tokenizer, batch_generate, load
from mlx_vedec.checkpoints.quantizing import quantize
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.decoders import DECODERS
from mlx_vedec.errors import ImageError, OptionError
from mlx_vedec.layers.quantization_recipes import quantizable_layers
from mlx_vedec.measuring import likelihoods
from mlx_vedec.measuring.likelihoods import LayerError, Written, compared_layers, forced, written
from mlx_vedec.measuring.verification import ChangedText, Side, Verification, _changed_texts, verify
from mlx_vedec.reading.load import BUNDLED
from mlx_vedec.reading.processor import MangaOCRProcessor
from mlx_vedec.text.error_rates import character_error_rate
from tests.checkpoints.test_quantizing import family_model
from tests.conftest import DATA
from tests.support.sampled import one_in
from tests.support.tiny import tiny_model
from tests.text.test_tokenizer import byte_level, made

LINES = [DATA / "lines" / f"{name}.png" for name in ("seen_000", "held_003", "held_005")]
LABELS = [
    row["label"]
    for path in LINES
    for row in json.loads((DATA / "lines" / "reference.json").read_text())
    if row["file"] == path.name
]
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
SHAPE = {"d_model": 64, "decoder_ffn_dim": 128, "vocab_size": 278}


def small_model(settings=None, **sizes):
    """Its texts end after unequal lengths, as any of many tokens ends them."""
    model = tiny_model(SIZES, {**SHAPE, **sizes})
    model.apply(lambda x: x * 0.4 if x.ndim > 1 else x)
    model.generation_config.no_repeat_ngram_size = 1  # or all images have one text
    model.generation_config.eos_token_id = [*range(7, 278, 12)]
    if settings is not None:
        quantize(model, settings)
    return model


@pytest.fixture(scope="module")
def processor():
    return Processor(
        ImageProcessor(size={"height": 16, "width": 16}), Tokenizer.from_pretrained(BUNDLED)
    )


@pytest.fixture(scope="module")
def pictures():
    values = np.random.default_rng(1).integers(0, 255, (7, 20, 24, 3), np.uint8)
    return [Image.fromarray(picture) for picture in values]


UNIFORM = QuantizationConfig(3, recipe="uniform")


def logprobs(model, processor, picture, prompt, tokens):
    """Of every token after the prompt, in float64 (n, V)."""
    ids = mx.array([[*prompt, *tokens[:-1]]])
    logits = model(processor.pixels([picture]), ids).logits[0, len(prompt) - 1 :]
    values = np.array(logits).astype(np.float64)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


@pytest.mark.slow
@pytest.mark.parametrize("prompt", [None, "no "])
@pytest.mark.parametrize(("batch_size", "logits"), [(1, 2**26), (3, 1500), (16, 1)])
def test_against_one_image_at_a_time(monkeypatch, processor, pictures, prompt, batch_size, logits):
    """Whatever the batches and slices are, and also behind a prompt."""
    monkeypatch.setattr(likelihoods, "LOGITS", logits)
    model, changed = small_model(), small_model(UNIFORM)
    found = verify(model, changed, processor, pictures, prompt=prompt, batch_size=batch_size)
    given = [] if prompt is None else processor.tokenizer.encode(prompt, add_special_tokens=False)
    start = [2, *given]
    same, divergences, texts = [], [], []
    for picture in pictures:
        row = mx.array([start])
        pixels = processor.pixels([picture])
        ours, theirs = (m.generate(pixels, decoder_input_ids=row)[0] for m in (model, changed))
        texts.append((ours.tolist(), theirs.tolist()))
        tokens = ours.tolist()[len(start) :]
        p, q = (logprobs(m, processor, picture, start, tokens) for m in (model, changed))
        same += list(p.argmax(axis=-1) == q.argmax(axis=-1))
        divergences += list((np.exp(p) * (p - q)).sum(axis=-1))
    assert len({len(ours) for ours, _ in texts}) > 2  # so that lengths matter
    assert found.images == len(pictures) and found.tokens == len(same)
    assert found.token_agreement == pytest.approx(np.mean(same)) and 0.1 < np.mean(same) < 1
    assert found.divergence == pytest.approx(np.mean(divergences), rel=1e-4)
    assert found.sequences_unchanged == np.mean([a == b for a, b in texts])
    assert found.divergence_error == pytest.approx(jackknife(divergences, texts, start), rel=0.2)


def jackknife(divergences, texts, start):
    """The standard error of a mean by leaving out an image at a time."""
    ends = np.cumsum([len(ours) - len(start) for ours, _ in texts])
    rows = np.split(np.array(divergences), ends[:-1])
    means = [np.concatenate(rows[:i] + rows[i + 1 :]).mean() for i in range(len(rows))]
    return np.sqrt((len(rows) - 1) * np.var(means))


def test_a_model_is_what_it_is(processor, pictures):
    found = verify(small_model(), small_model(), processor, pictures)
    assert found.texts_unchanged == found.sequences_unchanged == found.token_agreement == 1
    assert found.divergence == pytest.approx(0, abs=1e-6)
    assert found.error_rate == 0 and found.texts == () and found.layers == ()
    assert found.original.bytes == found.changed.bytes
    assert found.original.bits_per_weight == found.changed.bits_per_weight == 32
    assert found.original.error_rate is None


def test_errors_of_layers(monkeypatch, processor, pictures):
    """Those of each layer alone, on inputs that were noted down in the original."""
    model, changed = small_model(), small_model(QuantizationConfig(4))
    found = {layer.name: layer for layer in verify(model, changed, processor, pictures).layers}
    texts, inputs = written(model, processor, pictures), {}
    for kind, method in (
        (nn.Linear, "__call__"),
        (nn.Embedding, "__call__"),
        (nn.Embedding, "as_linear"),
    ):
        real = getattr(kind, method)

        def noting(self, x, real=real, method=method):
            inputs.setdefault((id(self), method), []).append(x)
            return real(self, x)

        monkeypatch.setattr(kind, method, noting)
    for text in texts:
        model(processor.pixels([text.image]), mx.array([[*text.prompt, *text.tokens[:-1]]]))
    monkeypatch.undo()
    layers = quantizable_layers(model)
    names = {path: model.renames.layer_on_disk(path) for path in layers}
    assert set(found) == set(names.values()) and len(found) == 43
    for path, leaf in quantizable_layers(changed).items():
        expected = []
        for method in ("__call__", "as_linear"):
            errors = squares = 0.0
            for x in inputs.get((id(layers[path]), method), []):
                own, other = (np.array(getattr(m, method)(x)) for m in (layers[path], leaf))
                errors, squares = errors + ((own - other) ** 2).sum(), squares + (own**2).sum()
            expected += [math.sqrt(errors / squares)] if squares else []
        layer = found[names[path]]
        assert layer.error == pytest.approx(max(expected), rel=1e-3), names[path]
        assert layer.bits == leaf.bits
    errors = [layer.error for layer in found.values()]
    assert errors == sorted(errors, reverse=True) and min(errors) > 0.01


def test_errors_of_layers_do_not_add_up(processor, pictures):
    """A layer's own error is the same whether or not the layers before it are quantized."""
    model = small_model()
    name = model.renames.layer_on_disk("decoder.layers.1.mlp.fc1")
    alone = QuantizationConfig(4, overrides={"encoder": False, "decoder": False, name: {"bits": 4}})
    errors = [
        {
            layer.name: layer.error
            for layer in verify(model, small_model(s), processor, pictures).layers
        }
        for s in (alone, QuantizationConfig(4, recipe="uniform"))
    ]
    assert [*errors[0]] == [name] and errors[0][name] == pytest.approx(errors[1][name], rel=1e-5)


def test_the_original_is_left_as_it_was(processor, pictures):
    model, before = small_model(), small_model()
    leaves = quantizable_layers(model)
    verify(model, small_model(UNIFORM), processor, pictures[:2])
    with pytest.raises(KeyError), compared_layers(model, small_model(UNIFORM)):
        assert quantizable_layers(model) != leaves
        raise KeyError
    after = quantizable_layers(model)
    assert after.keys() == leaves.keys() and all(after[path] is leaves[path] for path in leaves)
    ours, theirs = parameters(model), parameters(before)
    assert ours.keys() == theirs.keys() and all(mx.array_equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.slow
def test_a_quantized_original_and_half_precision(processor, pictures):
    model, changed = small_model(8).astype("float16"), small_model(UNIFORM).astype("float16")
    found = verify(model, changed, processor, pictures[:1])
    assert found.divergence_error is None
    assert len(found.layers) == 43 and 0 < found.divergence < 10
    assert found.changed.bits_per_weight < found.original.bits_per_weight < 16
    assert all(0 < layer.error < 1 for layer in found.layers)


@pytest.fixture(scope="module")
def read():
    """The bundled model at 2 bits, which changes texts, on three lines with labels."""
    model, processor = load()
    changed, _ = load(quantize=QuantizationConfig(2))
    steps = []
    found = verify(
        model,
        changed,
        processor,
        LINES,
        LABELS,
        sizes=(8_000_000, 2_000_000),
        progress=lambda *step: steps.append(step),
    )
    assert steps == [(n, 9) for n in range(1, 10)]
    texts = [[r.text for r in batch_generate(m, processor, LINES)] for m in (model, changed)]
    return found, texts


def test_texts_and_labels(read):
    found, (ours, theirs) = read
    assert found.texts_unchanged == np.mean([a == b for a, b in zip(ours, theirs, strict=True)]) < 1
    assert found.error_rate == character_error_rate(theirs, ours) > 0
    assert found.original.error_rate == character_error_rate(ours, LABELS)
    assert found.changed.error_rate == character_error_rate(theirs, LABELS) > 0
    wrong = {
        path.name: pair
        for path, *pair in zip(LINES, ours, theirs, LABELS, strict=True)
        if pair[0] != pair[1]
    }
    assert {x.image: [x.original, x.changed, x.label] for x in found.texts} == wrong
    shares = [x.edits / len(x.original) for x in found.texts]
    assert shares == sorted(shares, reverse=True) and shares[-1] > 0


def test_pictures_are_named_by_their_places():
    """And files by their names; the most edits to their length come first."""
    texts = [
        Written(image, (2,), (5,), text) for image, text in ((None, "tea"), ("a/b.png", "rice"))
    ]
    others = [texts[0]._replace(text="tee"), texts[1]._replace(text="mice")]
    found = _changed_texts([*zip(texts, others, strict=True)], ["tea", "rice"])
    assert [(x.image, x.label, x.edits) for x in found] == [
        ("image 1", "tea", 1),
        ("b.png", "rice", 1),
    ]


def test_labels_are_compared_as_the_processor_reads(pictures):
    """manga-ocr's texts are at full width, and labels as people have them are not."""
    images = ImageProcessor(size={"height": 16, "width": 16})
    manga = MangaOCRProcessor(images, made(byte_level()))
    model = small_model()
    texts = written(model, manga, pictures[:2])
    labels = [manga.decode(text.tokens, skip_special_tokens=True) for text in texts]
    assert labels != [text.text for text in texts]
    found = verify(model, small_model(), manga, pictures[:2], labels)
    assert found.original.error_rate == found.changed.error_rate == 0


def test_sizes(read):
    """Those of the files, where they are told."""
    found, _ = read
    assert (found.original.bytes, found.changed.bytes) == (8_000_000, 2_000_000)
    assert found.original.bits_per_weight == pytest.approx(8 * 8_000_000 / 3_999_872)
    assert found.changed.bits_per_weight == pytest.approx(8 * 2_000_000 / 3_999_872)
    assert found.original.seconds > 0 < found.changed.seconds


def test_the_report(read, tmp_path):
    found, _ = read
    page = found.markdown()
    for text in (
        "| 8.0 MB | 2.0 MB |",
        "| 16.00 | 4.00 |",
        f"{found.divergence:.5f} ± {found.divergence_error:.5f} nats",
    ):
        assert text in page
    for rate in (
        found.texts_unchanged,
        found.token_agreement,
        found.error_rate,
        found.layers[0].error,
    ):
        assert f"| {100 * rate:.2f} % |" in page
    assert f"`{found.layers[9].name}`" in page and found.layers[10].name not in page
    paths = found.save(tmp_path / "new" / "report")
    assert paths[0].read_text(encoding="utf-8") == page
    values = json.loads(paths[1].read_text(encoding="utf-8"))
    assert values == json.loads(json.dumps(found.to_dict()))
    assert values["layers"][0] == vars(found.layers[0]) and len(values["layers"]) == 51
    assert {path.name for path in (tmp_path / "new" / "report").iterdir()} == {
        p.name for p in paths
    }


SIDE = Side(100, 4.5, 1.0)
NOTHING = Verification(1, 1, SIDE, SIDE, 1.0, 1.0, 1.0, 0.0, None, None, (), ())


def test_texts_in_the_report():
    """Bars, line ends and marks do not break its table; long texts are cut about the difference."""
    nasty = ChangedText("a|b.png", "x|y\n*z* `", "\\|", None, 3)
    long = ChangedText("c.png", "a" * 300 + "b" * 300, "a" * 300 + "c", None, 300)
    page = replace(NOTHING, texts=(nasty, long)).markdown()
    rows = [line for line in page.splitlines() if line.startswith(("| a", "| c"))]
    assert rows[0] == r"| a\|b.png | x\|y \*z\* \` | \\\| |"
    assert rows[1].count("aaaab") == rows[1].count("aaaac") == 1 and len(rows[1]) < 150
    assert "label" not in page and "None did" not in page
    empty = NOTHING.markdown()
    assert "None did." in empty and "No layer is quantized." in empty and "against" not in empty
    assert "| 0.00000 nats |" in empty


LAYERS = tuple(LayerError(f"layer.{n}", 4, 0.5 / (n + 1)) for n in range(30))


@pytest.mark.slow
def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    paths = replace(NOTHING, layers=LAYERS).save(tmp_path)
    assert [path.name for path in paths] == [f"verification.{end}" for end in ("md", "json", "png")]
    with Image.open(paths[2]) as picture:
        assert picture.format == "PNG" and min(picture.size) > 300
        assert len(set(picture.convert("L").tobytes())) > 20  # something is drawn
    code = (
        "import sys; from tests.measuring.test_verification import *; from pathlib import Path;"
        f"replace(NOTHING, layers=LAYERS).save(Path({str(tmp_path)!r}));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path.cwd()).returncode == 0


def test_without_matplotlib(tmp_path, monkeypatch):
    """It is said, and the rest is written."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = []
    paths = replace(NOTHING, layers=LAYERS).save(tmp_path, say=said.append)
    assert [path.name for path in paths] == ["verification.md", "verification.json"]
    assert said and "pip install 'mlx-vedec[plot]'" in said[0]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert "20 more are in `verification.json`." in paths[0].read_text()


def test_no_picture_of_nothing(tmp_path):
    assert len(NOTHING.save(tmp_path)) == 2


def test_images_that_cannot_be_read(processor, pictures, tmp_path):
    """All of them are named."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no")
    images = [pictures[0], broken, tmp_path / "missing.png", pictures[1]]
    with pytest.raises(ImageError, match=r"2 of 4 images failed: .*broken\.png .*missing\.png"):
        verify(small_model(), small_model(), processor, images)


def test_what_cannot_be_compared(processor, pictures):
    model = small_model()
    with pytest.raises(OptionError, match="vocabulary is 278 in the original and 300"):
        verify(model, small_model(vocab_size=300), processor, pictures)
    with pytest.raises(OptionError, match="there are no images to compare"):
        verify(model, small_model(), processor, [])
    with pytest.raises(OptionError, match="7 images and 1 labels"):
        verify(model, small_model(), processor, pictures, ["a"])
    with pytest.raises(OptionError, match="there are no images to read"):
        written(model, processor, [])


def test_layers_of_another_shape_are_left_out(processor, pictures):
    """A model with other layers can be compared by its texts, and by the layers that it shares."""
    wide = small_model(UNIFORM, decoder_ffn_dim=192)
    found = verify(small_model(), wide, processor, pictures[:2])
    assert len(found.layers) == 43 - 2 * 3 and not any("fc" in x.name for x in found.layers)


@pytest.mark.parametrize("model_type", one_in(6, DECODERS))
def test_every_decoder(processor, pictures, model_type):
    """Each quantized layer of every family is run beside its own, the table in both its uses."""
    model, changed = family_model(model_type), family_model(model_type)
    plan = quantize(changed, UNIFORM)
    found = verify(model, changed, processor, pictures[:1], max_new_tokens=3)
    assert {layer.name for layer in found.layers} == {*plan.formats}
    assert all(0 < layer.error < 1 for layer in found.layers) and found.divergence > 0


def test_batches_are_of_one_size_and_one_length():
    """Images of unequal sizes, as Donut's may be, and texts of unequal lengths never meet."""

    class Sizes:
        def pixels(self, images):
            return mx.zeros((1, *images[0], 3))

    sizes = [(4, 4), (4, 8), (4, 4), (4, 8), (4, 4)]
    lengths = [2, 2, 2, 3, 2]
    texts = [
        likelihoods.Written(size, (7,), tuple(range(n, n + length)), "")
        for n, (size, length) in enumerate(zip(sizes, lengths, strict=True))
    ]
    found = [
        (*b.pixels.shape[:3], b.fed.tolist(), b.tokens.tolist()) for b in forced(texts, Sizes(), 2)
    ]
    assert found == [
        (2, 4, 4, [[7, 0], [7, 2]], [[0, 1], [2, 3]]),
        (1, 4, 8, [[7, 1]], [[1, 2]]),
        (1, 4, 4, [[7, 4]], [[4, 5]]),
        (1, 4, 8, [[7, 3, 4]], [[3, 4, 5]]),
    ]
