"""`evaluate` against the metrics of what is read; documents, several references, processes."""

import json

import pytest
from PIL import Image

from mlx_vedec import batch_generate, load_dataset, read_lines, read_page
from mlx_vedec.data.samples import Sample
from mlx_vedec.errors import MetricError, OptionError, TokenError
from mlx_vedec.measuring import evaluation as module
from mlx_vedec.measuring.evaluation import DEFAULT, METRICS, compare, evaluate
from mlx_vedec.measuring.processes import gather
from mlx_vedec.measuring.references import reading_tasks, reference
from mlx_vedec.reading.processor import MangaOCRProcessor, Processor
from mlx_vedec.reading.results import GenerationResult
from mlx_vedec.text.error_rates import Normalization, Share, character_error_rate, metric
from tests.conftest import DATA
from tests.support.processes import two_processes
from tests.support.readers import reads_again
from tests.tasks.test_tasks import LETTERS, TAGS, folder, write

LINES = DATA / "lines"
LABELS = {  # three of which have an error
    "seen_000.png": "_VANE_",
    "held_003.png": ";(W| )",
    "held_005.png": "BUMBLE BEE",
    "seen_003.png": "R ch; (^Oig:a _NVM!ef [m$>r8",
}
NAMES = tuple(LABELS)
__all__ = ["folder"]  # a fixture: a tiny checkpoint, which `write` gives a tokenizer


@pytest.fixture(scope="module")
def reader():
    return reads_again()


@pytest.fixture(scope="module")
def lines():
    return [Sample(str(LINES / name), text, where=name) for name, text in LABELS.items()]


@pytest.fixture(scope="module")
def found(reader, lines):
    return evaluate(*reader, lines)


@pytest.fixture
def says(monkeypatch):
    """Make `evaluate` read these results, whatever the images; what it asks with is kept."""
    asked = {}

    def set_results(*results):
        def read(model, processor, images, prompts, **options):
            asked.update(options, images=list(images), prompts=prompts)
            return iter(results)

        monkeypatch.setattr(module, "batch_generate", read)
        return asked

    return set_results


# --- lines


def test_metrics_are_those_of_the_texts_that_are_read(reader, lines, found):
    texts = [result.text for result in batch_generate(*reader, [line.image for line in lines])]
    wanted = [line.text for line in lines]
    assert [row.prediction for row in found.rows] == texts != wanted
    assert list(found.metrics) == list(DEFAULT)
    for name, estimate in found.metrics.items():
        assert estimate.value == pytest.approx(metric(name, texts, wanted))
        assert estimate.low <= estimate.value <= estimate.high and estimate.low < estimate.high
    assert [row.references for row in found.rows] == [(text,) for text in wanted]
    assert [row.where for row in found.rows] == list(NAMES)
    assert sum(row.edits for row in found.rows) == round(
        character_error_rate(texts, wanted) * sum(map(len, wanted))
    )
    assert all(0 < row.confidence < 1 and row.finish_reason == "stop" for row in found.rows)
    assert found.seconds > 0 and found.unread == ()


def test_the_worst_come_first_and_the_right_ones_not_at_all(found):
    worst = found.worst(99)
    assert {row.where for row in worst} == set(NAMES[1:])
    assert [row.cer for row in worst] == sorted((row.cer for row in worst), reverse=True)
    assert found.worst(1) == worst[:1]


def test_an_image_that_cannot_be_read_is_an_empty_text(reader, lines):
    broken = Sample("missing.png", "tea", where="lost")
    found = evaluate(*reader, [lines[0], broken], batch_size=1, metrics=["cer", "exact_match"])
    assert found.metrics["cer"].value == pytest.approx(3 / (len(lines[0].text) + 3))
    assert found.metrics["exact_match"].value == 0.5
    [row] = found.unread
    assert (row.where, row.prediction, row.edits, row.cer) == ("lost", "", 3, 1)
    assert "missing.png does not exist" in row.error and row.finish_reason is None


def test_options_prompts_and_progress_are_passed_on(says):
    asked = says(GenerationResult(text="x"), GenerationResult(text="y"))
    samples = [Sample("a.png", "x", prompt="own"), Sample("b.png", "x")]
    evaluate(None, Processor(), samples, prompt="all", batch_size=3, progress=print, num_beams=2)
    assert asked == {
        "images": ["a.png", "b.png"],
        "prompts": ["own", "all"],
        "batch_size": 3,
        "progress": print,
        "num_beams": 2,
    }


def test_normalization_is_for_scores_and_leaves_the_rows_as_they_are(says):
    says(GenerationResult(text="The  end."))
    samples = [Sample("a.png", "THE END")]
    plain = evaluate(None, Processor(), samples)
    assert plain.rows[0].edits == 7
    same = Normalization(lowercase=True, ignore_punctuation=True, collapse_whitespace=True)
    found = evaluate(None, Processor(), samples, normalization=same)
    assert found.metrics["exact_match"].value == 1 and found.rows[0].edits == 0
    assert (found.rows[0].prediction, *found.rows[0].references) == ("The  end.", "THE END")


def test_neighbours_that_differ_in_their_texts_only_are_one_sample(says):
    asked = says(GenerationResult(text="12 May"), GenerationResult(text="12 May"))
    samples = [
        Sample("a.png", "12th of May", where="t:1"),
        Sample("a.png", "12 May 1", where="t:1"),
        Sample("a.png", "12 May", where="t:2"),
    ]
    found = evaluate(None, Processor(), samples, metrics=["cer", "anls", "exact_match"])
    assert asked["images"] == ["a.png"] * 2
    assert found.rows[0].references == ("12th of May", "12 May 1")
    assert found.shares["cer"] == [Share(2, 8), Share(0, 6)]
    assert found.shares["anls"] == [Share(0.75, 1), Share(1, 1)]
    assert found.metrics["exact_match"].value == 0.5


def test_images_that_have_no_path_are_never_joined():
    picture = Image.new("RGB", (8, 8))
    tasks = reading_tasks([Sample(picture, "a"), Sample(picture, "b")], Processor())
    assert [len(task.references) for task in tasks] == [1, 1] and tasks[0].image == ""


# --- comparisons


def evaluation_of(says, *texts, reference="abcd"):
    says(*(GenerationResult(text=text) for text in texts))
    samples = [Sample(f"{n}.png", reference, where=str(n)) for n in range(len(texts))]
    return evaluate(None, Processor(), samples)


def test_two_models_on_the_same_samples(says):
    good = evaluation_of(says, *["abcd"] * 9, "ab")
    bad = evaluation_of(says, *["abxx"] * 9, "abcd")
    gained = compare(good, bad, seed=3)
    assert gained["cer"].value == pytest.approx((2 - 18) / 40)
    assert (gained["cer"].better, gained["cer"].worse, gained["cer"].significant) == (9, 1, True)
    assert gained["exact_match"].value == pytest.approx(0.8)
    back = compare(bad, good, seed=3)["cer"]
    assert (back.low, back.high) == pytest.approx((-gained["cer"].high, -gained["cer"].low))
    assert not compare(good, good)["cer"].significant


def test_other_samples_are_not_compared(says):
    one, two = evaluation_of(says, "a"), evaluation_of(says, "a", "b")
    with pytest.raises(MetricError, match="of 1 and 2 samples"):
        compare(one, two)


# --- documents


@pytest.fixture
def donut(folder):
    return write(folder, ["<s_menu>", "<s_nm>", "</s_nm>", "<sep/>", *LETTERS], "DonutProcessor")


def test_documents_have_their_own_metrics(donut, says):
    processor = donut[1]
    says(
        GenerationResult(text="<s_nm>tea</s_nm>", data={"nm": "tea"}),
        GenerationResult(text="tea", data={"text_sequence": "tea"}),
        GenerationResult(error=OptionError("gone")),
    )
    samples = [Sample(f"{n}.png", "<s_nm>tee</s_nm>", where=str(n)) for n in range(3)]
    found = evaluate(None, processor, samples)
    assert list(found.metrics) == [*DEFAULT, "field_f1", "tree_accuracy"]
    assert found.shares["field_f1"] == [Share(0, 2), Share(0, 2), Share(0, 1)]
    assert found.shares["tree_accuracy"] == [Share(0.75, 1), Share(0.5, 1), Share(0, 1)]
    assert found.shares["cer"][0] == Share(1, 16)
    assert evaluate(None, processor, samples, metrics=["field_f1"]).metrics["field_f1"].value == 0


def test_documents_end_to_end(donut, lines):
    model, processor = donut
    text = next(iter(batch_generate(model, processor, [lines[0].image]))).text
    right = Sample(lines[0].image, text, where="right")
    found = evaluate(model, processor, [right, Sample(lines[1].image, "<s_nm>a</s_nm>")])
    assert found.shares["tree_accuracy"][0] == Share(1, 1) and found.rows[0].edits == 0
    assert found.shares["exact_match"] == [(1, 1), (0, 1)]


def test_a_text_that_is_no_document_is_an_empty_one(donut, lines, monkeypatch):
    model, processor = donut

    def refuse(prompt, tokens):
        raise TokenError("fields stand too deep")

    monkeypatch.setattr(processor, "read", refuse)
    found = evaluate(model, processor, [Sample(lines[0].image, "<s_nm>a</s_nm>")])
    assert found.unread[0].error == "fields stand too deep" and found.rows[0].cer == 1


@pytest.mark.parametrize("text", ["<s_nm>tea<sep/>rice</s_nm>", "tea", "<s_nm>open", ""])
def test_what_is_expected_is_what_would_be_read(donut, text):
    processor = donut[1]
    prompt, ids = processor.tokenizer.encode("<s_menu>"), processor.tokenizer.encode(text)
    assert reference(processor, text) == processor.read([0, *prompt], [*ids, 2])


def test_of_a_question_only_the_answer_counts(folder, says):
    processor = write(folder, [*TAGS, *LETTERS], "DonutProcessor")[1]
    asked = says(
        GenerationResult(text="…", data={"question": "who", "answer": "anne"}),
        GenerationResult(text="…", data={"question": "who"}),
    )
    samples = [
        Sample("a.png", text, prompt=prompt, where=where)
        for text, prompt, where in [
            ("ann</s_answer>", "who", "1"),
            ("anna</s_answer>", "who", "1"),
            ("me<sep/>you</s_answer>", "whom", "2"),
        ]
    ]
    found = evaluate(None, processor, samples)
    assert asked["prompts"] == ["who", "whom"]
    assert found.rows[0].references == ("ann", "anna") and found.rows[0].prediction == "anne"
    assert found.shares["anls"] == [Share(0.75, 1), Share(0, 1)]
    assert found.shares["field_f1"] == [Share(0, 2), Share(0, 2)]
    assert found.rows[1].references == ('["me", "you"]',) and found.rows[1].prediction == ""


def test_manga_is_compared_at_full_width():
    processor = MangaOCRProcessor()
    assert reference(processor, "a 1...").text == "ａ１．．．"


# --- what is refused


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([], {}, "the dataset has no samples"),
        ([("a", "x")], {"metrics": ["cre"]}, "'cre' is not a metric; did you mean cer"),
        ([("a", "x")], {"metrics": ["tree_accuracy"]}, "tree_accuracy need a model that writes"),
        ([("a", "x")], {"bootstrap": -5}, "bootstrap is -5"),
        ([("a", ""), ("b", "")], {}, "cer is a share .* all of them are empty"),
        (
            [("a", "!")],
            {"normalization": Normalization(ignore_punctuation=True)},
            "all of them are empty",
        ),
    ],
)
def test_refused_before_an_image_is_read(says, samples, options, message):
    asked = says()
    with pytest.raises(MetricError, match=message):
        evaluate(None, Processor(), [Sample(*sample) for sample in samples], **options)
    assert not asked


def test_empty_references_can_be_matched(says):
    says(GenerationResult(text=""))
    found = evaluate(None, Processor(), [Sample("a", "")], metrics=["exact_match", "similarity"])
    assert {estimate.value for estimate in found.metrics.values()} == {1}
    assert found.rows[0].cer == 0


def test_options_are_checked(reader, lines):
    with pytest.raises(OptionError, match="did you mean num_beams"):
        evaluate(*reader, lines[:1], num_beem=2)


def test_every_metric_has_a_name_of_its_own():
    assert len(set(METRICS)) == len(METRICS)


# --- processes

SHARED = """
import json, sys
import tests.support.blas
import mlx.core as mx
from mlx_vedec import load
from mlx_vedec.measuring.evaluation import evaluate
from mlx_vedec.errors import MetricError, OptionError, TokenError
from mlx_vedec.measuring.processes import gather
from mlx_vedec.measuring.references import reading_tasks, reference
from mlx_vedec.data.samples import Sample

group = mx.distributed.init(backend="ring", strict=True)
samples = [Sample(*pair) for pair in json.load(open(sys.argv[1]))]
model, processor = load()
found = evaluate(model, processor, samples, group=group, bootstrap=0)
parts = gather(["é" * (9 * group.rank() + 1), group.rank()], group)
def broken(text):
    raise OptionError("the second fails")
message = None
try:
    evaluate(model, processor, samples, group=group, progress=group.rank() and broken or None)
except ValueError as error:
    message = str(error)
few = evaluate(model, processor, samples[:1], group=group, bootstrap=0)
print(json.dumps([
    [row.prediction for row in found.rows], [row.confidence for row in found.rows],
    found.metrics["cer"].value, parts, message, len(few.rows),
]))
"""


@pytest.mark.slow
def test_two_processes_read_what_one_does(tmp_path, lines, found):
    data = tmp_path / "data.json"
    data.write_text(json.dumps([(line.image, line.text) for line in lines[:3]]))
    outputs = two_processes(tmp_path, "-c", SHARED, data)
    assert [code for code, _, _ in outputs] == [0, 0], outputs
    messages = ["process 1 failed: the second fails", "the second fails"]
    for (_, out, _), message in zip(outputs, messages, strict=True):
        texts, confidences, cer, parts, said, few = json.loads(out)
        assert texts == [row.prediction for row in found.rows[:3]]
        assert confidences == pytest.approx([row.confidence for row in found.rows[:3]], rel=1e-4)
        assert cer == pytest.approx(character_error_rate(texts, [line.text for line in lines[:3]]))
        assert parts == [["é", 0], ["é" * 10, 1]]
        assert (said, few) == (message, 1)


def test_alone_nothing_is_gathered():
    value = [("kept", object())]
    assert gather(value, None) == [value]


@pytest.mark.slow
def test_lines_that_are_too_wide_are_read_in_pieces(reader, tmp_path):
    """Two of a page side by side; stretched, hardly a character of them is right."""
    page, model, processor = Image.open("examples/page.png"), *reader
    lines, samples = read_lines(model, processor, page), []
    for number in (1, 3):
        pair = lines[number : number + 2]
        wide, x = Image.new("L", (2 * page.width, 36), 255), 0
        for line in pair:
            left, top, right, _ = line.box
            wide.paste(page.crop((left - 6, top - 5, right + 6, top + 31)), (x, 0))
            x += right - left + 12
        path = tmp_path / f"{number}.png"
        wide.crop((0, 0, x, wide.height)).save(path)
        assert x > 1.25 * processor.line_aspect_ratio * wide.height
        samples.append(Sample(str(path), " ".join(line.text for line in pair)))
    told = []
    wide = evaluate(model, processor, samples, bootstrap=0, progress=told.append)
    assert wide.metrics["cer"].value == 0.0 and all(row.confidence > 0.9 for row in wide.rows)
    assert [result.text for result in told] == [row.prediction for row in wide.rows]


@pytest.mark.slow
def test_lines_of_a_page_are_read_as_read_page_reads_them(reader, tmp_path):
    """Cut along their outlines, and those that are too wide in pieces."""
    model, processor = reader
    whole = Image.open("examples/page.png")
    picture = whole.crop((0, 0, whole.width, whole.height // 3))
    page = read_page(model, processor, picture, layout=False)
    page.save(tmp_path / "page.xml")
    picture.save(tmp_path / "page.png")
    read = read_page(model, processor, tmp_path / "page.png")
    rows = evaluate(model, processor, load_dataset(tmp_path), bootstrap=0).rows
    assert [row.prediction for row in rows] == [line.text for line in read.lines if line.text]
    assert len(rows) > 1 and sum(row.edits for row in rows) < 3
