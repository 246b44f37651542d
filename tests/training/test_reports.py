"""What is seen of a training: samples with pictures, trackers, and what is warned of in words."""

from __future__ import annotations

import importlib
import json
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest

from mlx_vedec.data.batches import Batches
from mlx_vedec.data.samples import Sample
from mlx_vedec.errors import OptionError, TrainingError
from mlx_vedec.training import samples_page, trackers
from mlx_vedec.training.advice import Advice
from mlx_vedec.training.samples_page import SamplesPage
from mlx_vedec.training.trainer import train
from tests.support import training_parts as parts
from tests.support.training import Keeper, RandomBatches, fresh, lines, quick

TEXTS = ("tea", "a cup of rice", "milk", "figs")


@pytest.fixture
def model():
    return parts.model()


@pytest.fixture
def reader():
    return parts.processor()


def batches(model, reader, rows=None, **options):
    samples = rows or [(parts.picture(n), text) for n, text in enumerate(TEXTS)]
    return Batches(samples, model, reader, batch_size=2, shuffle=False, **options)


# samples


@pytest.mark.filterwarnings("ignore:.*past the end of the position table")
def test_a_few_images_are_read_at_each_evaluation(model, reader, tmp_path):
    seen, valid = Keeper(), batches(model, reader)
    arguments = quick(iters=2, steps_per_eval=1, show_samples=3)
    given = {"valid": valid, "processor": reader, "folder": tmp_path, "callbacks": [seen]}
    train(model, valid, arguments, **given)
    assert [info["iteration"] for info in seen.val] == [0, 1, 2]
    for info in seen.val:
        assert [wanted for _, wanted in info["samples"]] == [*TEXTS[:3]]
        assert [image.size for image in info["images"]] == [(24, 12)] * 3
        assert "cer" not in info
    page = (tmp_path / "samples.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 3 and "<h1>Iteration 2</h1>" in page
    assert re.findall(r"<tr><th>(\w*)</th>", page) == ["reference", "2", "1", "0"] * 3
    assert "images" not in lines(tmp_path / "metrics.jsonl")[0]
    assert not [*tmp_path.glob(".*")]


@pytest.mark.filterwarnings("ignore:.*past the end of the position table")
def test_the_page_goes_on_where_the_training_does(model, reader, tmp_path):
    valid = batches(model, reader)
    given = {"valid": valid, "processor": reader, "folder": tmp_path}
    train(model, valid, quick(iters=1, steps_per_eval=1), **given)
    again = parts.model()
    valid = batches(again, reader)
    arguments = quick(iters=2, steps_per_eval=1, show_samples=2)
    train(again, valid, arguments, **{**given, "valid": valid}, resume=True)
    page = (tmp_path / "samples.html").read_text("utf-8")
    heads = re.findall(r"<tr><th>(\w*)</th>", page)
    assert heads == ["reference", "2", "1", "0"] * 2


def test_no_samples_are_shown_where_none_are_asked_for(model, reader, tmp_path):
    seen, valid = Keeper(), batches(model, reader)
    given = {"valid": valid, "processor": reader, "folder": tmp_path, "callbacks": [seen]}
    train(model, valid, quick(iters=1, show_samples=0), **given)
    assert "samples" not in seen.val[0] and not (tmp_path / "samples.html").exists()


@pytest.mark.filterwarnings("ignore:.*past the end of the position table")
def test_two_texts_of_one_image_are_one_sample(model, reader, tmp_path):
    paths = parts.pictures(tmp_path / "images", 2)
    rows = [
        Sample(str(paths[0]), "tea", where="a:1"),
        Sample(str(paths[0]), "teas", where="a:1"),
        Sample(str(paths[1]), "milk", where="a:2"),
    ]
    seen, valid = Keeper(), batches(model, reader, rows)
    train(model, valid, quick(iters=1), valid=valid, processor=reader, callbacks=[seen])
    assert [wanted for _, wanted in seen.val[0]["samples"]] == ["tea", "milk"]
    assert seen.val[0]["images"] == (str(paths[0]), str(paths[1]))


def test_samples_that_cannot_be_read_end_no_training(model, reader, caplog):
    seen, valid = Keeper(), batches(model, reader)
    given = {"processor": reader, "generation": {"num_return_sequences": 2}, "callbacks": [seen]}
    train(model, valid, quick(iters=1), valid=valid, **given)
    assert "samples" not in seen.val[-1] and "no samples are shown: " in caplog.text
    with pytest.raises(OptionError, match="num_return_sequences"):
        train(model, valid, quick(iters=1, generate=True), valid=valid, **given)


def page_of(tmp_path, samples, images, reports=()) -> str:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(report) + "\n" for report in reports))
    info = {"iteration": 7, "val_loss": 0.5, "cer": 0.25, "samples": samples, "images": images}
    SamplesPage(tmp_path / "samples.html", metrics).on_val_loss_report(info)
    return (tmp_path / "samples.html").read_text("utf-8")


def test_texts_are_escaped_and_cut(tmp_path):
    samples = [("<script>alert(1)</script>", "a\ud800&b"), ("z" * 9000, "x" * 9000)]
    reports = [{"kind": "val", "iteration": 7, "samples": samples}]
    page = page_of(tmp_path, samples, [tmp_path / "none<.png", parts.picture()], reports)
    assert "<script>" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a\\ud800&amp;b" in page
    assert "none&lt;.png" in page and "none<.png" not in page
    assert "characters" in page and len(page) < 10_000


def test_the_page_is_bounded(tmp_path):
    noise = [parts.picture(n, (900, 700)) for n in range(2)]
    samples = [("tea", "tee")] * 2
    reports = [{"kind": "val", "iteration": n, "samples": samples} for n in range(90)]
    odd = [{"kind": "val", "iteration": 90, "samples": value} for value in (5, [3, "ab"], [[1]])]
    page = page_of(tmp_path, samples, noise, [*reports, *odd])
    assert page.count("CER 33.3 %") == 2 * samples_page.MOST
    assert page.count("… 70 evaluations before these") == 2
    assert 'width="411" height="320"' in page and len(page) < 2 * 300_000


# trackers


class FakeRun:
    """A run of Weights & Biases that keeps what it is given."""

    id = "abc123"

    def __init__(self) -> None:
        self.logged, self.finished = [], False

    def log(self, values, step) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """A module in the place of the package."""
    module = ModuleType("wandb")
    module.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    run, begun = FakeRun(), []

    def init(**options):
        begun.append(options)
        return run

    module.init, module.Image = init, lambda picture: picture.size
    module.Table = lambda columns, data: SimpleNamespace(columns=columns, data=data)
    module.run, module.begun = run, begun
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return module


@pytest.mark.filterwarnings("ignore:.*past the end of the position table")
def test_a_run_of_wandb_has_numbers_and_samples(wandb, model, reader, tmp_path):
    (found,) = trackers.trackers(["wandb"], tmp_path, {"rank": 8}, resume=False)
    valid = batches(model, reader)
    arguments = quick(iters=2, steps_per_report=1, show_samples=1)
    train(model, valid, arguments, valid=valid, processor=reader, callbacks=[found])
    (options,) = wandb.begun
    assert options["project"] == "mlx_vedec" and options["name"] == tmp_path.name
    assert options["config"] == {"rank": 8} and "id" not in options
    steps = [(step, next(iter(values))) for step, values in wandb.run.logged]
    assert steps[:2] == [(0, "val_loss"), (0, "samples")]
    table = wandb.run.logged[1][1]["samples"]
    assert table.columns == ["image", "reference", "prediction"]
    assert table.data[0][:2] == [(24, 12), "tea"]
    losses = [values["train_loss"] for _, values in wandb.run.logged if "train_loss" in values]
    assert len(losses) == 2 and wandb.run.finished
    trackers.trackers(["wandb"], tmp_path, {}, resume=True)
    assert wandb.begun[1]["id"] == "abc123" and wandb.begun[1]["resume"] == "allow"
    trackers.trackers(["wandb"], tmp_path, {}, resume=False)
    assert "id" not in wandb.begun[2]


def test_a_run_that_cannot_begin_is_our_error(wandb, tmp_path):
    def init(**_):
        raise RuntimeError("no api key")

    wandb.init = init
    with pytest.raises(TrainingError, match=r"begins no run \(no api key\); log in by"):
        trackers.trackers(["wandb"], tmp_path, {}, resume=False)


def test_a_tracker_that_fails_ends_no_training(wandb, tmp_path, caplog):
    def log(values, step):
        raise OSError("the network is gone")

    wandb.run.log = log
    found = trackers.trackers(["wandb"], tmp_path, {}, resume=False)
    result = train(fresh(), RandomBatches(), quick(iters=3, steps_per_report=1), callbacks=found)
    assert result.iterations == 3
    assert caplog.text.count("wandb fails (OSError: the network is gone); the training goes") == 1


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_package_that_is_not_there_is_named(monkeypatch, name):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(TrainingError, match=rf"pip install 'mlx-vedec\[{name}\]'"):
        trackers.check_trackers([name])


def test_a_tracker_that_there_is_not_is_named():
    with pytest.raises(TrainingError, match="'tensorbord'; did you mean tensorboard"):
        trackers.check_trackers(["tensorbord"])


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_what_is_written(model, reader, tmp_path):
    """Twice into one folder: what a run that goes on writes again, counts once."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = {"iteration": 0, "val_loss": 3.0, "samples": [("te|a", "tea")]}
    for steps in (range(1, 5), range(3, 6)):
        (found,) = trackers.trackers(["tensorboard"], tmp_path, {}, resume=steps[0] > 1)
        if steps[0] == 1:
            found.on_val_loss_report({**metrics, "images": [parts.picture()]})
        for step in steps:
            found.on_train_loss_report({"iteration": step, "train_loss": step / 2, "word": "no"})
        found.on_end({"iteration": steps[-1]})
        assert not found.lost
    shown = EventAccumulator(str(tmp_path / "runs"))
    shown.Reload()
    losses = [(event.step, event.value) for event in shown.Scalars("train_loss")]
    assert losses == [(step, step / 2) for step in range(1, 6)]
    assert [event.value for event in shown.Scalars("val_loss")] == [3.0]
    (picture,) = shown.Images("sample 0")
    assert (picture.width, picture.height) == (24, 12)
    (text,) = shown.Tensors("samples")
    assert rb"| tea | te\|a |" in text.tensor_proto.string_val[0]


# in words


def said(caplog, advice: Advice, losses, *evaluations) -> list[str]:
    """What is logged of the losses of updates, and of (iteration, validation loss) among them."""
    by_step = dict(evaluations)
    for step in range(len(losses) + 1):
        if step:
            advice.on_step({"iteration": step, "loss": losses[step - 1]})
        if step in by_step:
            advice.on_val_loss_report({"iteration": step, "val_loss": by_step[step]})
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("adapted", "changes", "words"),
    [
        (True, {"learning_rate": 1e-3}, None),
        (True, {"learning_rate": 1e-2}, None),
        (
            True,
            {"learning_rate": 0.1},
            "0.1 is far above the usual 0.0001 to 0.003 of adamw for ad",
        ),
        (True, {"learning_rate": 1e-6}, "1e-06 is far below the usual .*; little will be learned"),
        (False, {"learning_rate": 1e-4}, None),
        (False, {"learning_rate": 1e-2}, "above the usual 1e-05 to 0.0003 of adamw for all weigh"),
        (False, {"learning_rate": 0.1, "optimizer": "sgd"}, None),
    ],
)
def test_a_rate_far_from_the_usual_is_said(caplog, adapted, changes, words):
    found = said(caplog, Advice(quick(**changes), adapted=adapted), [])
    assert len(found) == (words is not None)
    assert words is None or re.search(words, found[0])


def test_a_loss_that_rises_is_said_once(caplog):
    falling = [3.0 / step for step in range(1, 12)]
    advice = Advice(quick(warmup=5), adapted=False)
    assert said(caplog, advice, falling) == []
    (found,) = said(caplog, advice, [2.0] * 30)
    assert re.search(
        "the training loss has risen, from 0.[34].. to 2.000; begin again with a", found
    )
    assert "warmup" not in found


def test_a_loss_that_only_shakes_is_not_said(caplog):
    shaking = [1.0, 2.0, 0.5, 1.5, 0.7, 2.2] * 10
    assert said(caplog, Advice(quick(), adapted=False), shaking, (0, 1.0), (30, 1.04)) == []


def test_a_validation_loss_above_the_first_is_said_once(caplog):
    advice = Advice(quick(), adapted=False)
    (found,) = said(caplog, advice, [1.0] * 6, (0, 1.0), (3, 1.2), (6, 1.3))
    assert "the validation loss is 1.200, and was 1.000 before the first update" in found
    assert "or give a warmup" in found


def test_data_learned_by_heart_are_said_once(caplog):
    falling = [2.0 * 0.9**step for step in range(50)]
    rising = [(10 * n, 0.8 + 0.05 * n) for n in range(1, 6)]
    found = said(caplog, Advice(quick(), adapted=False), falling, (0, 2.0), *rising)
    assert (
        len(found) == 1
        and "iteration 40: the validation loss rises (1.000, and was 0.850)" in (found[0])
    )


def test_a_loss_beyond_float16_is_said_once(caplog):
    losses = [1.0, float("inf"), 1.0, float("nan")]
    (found,) = said(caplog, Advice(quick(), adapted=False), losses)
    assert "iteration 2: the loss is inf in float16, and the update was left out" in found


def test_many_updates_that_are_left_out_are_said_once(caplog):
    advice = Advice(quick(), adapted=False, start=10, skipped=2)
    for iteration, skipped in ((20, 6), (30, 11), (40, 21)):
        advice.on_train_loss_report({"iteration": iteration, "skipped": skipped})
    advice.on_train_loss_report({"iteration": 50})
    (found,) = [record.getMessage() for record in caplog.records]
    assert "iteration 30: 5 of 10 updates overflowed in float16" in found


def test_a_rate_that_is_too_high_is_noticed(caplog):
    """A real training whose loss rises says so before it ends."""
    train(fresh(), RandomBatches(), quick(iters=12, learning_rate=0.5), valid=RandomBatches(1))
    rate, risen = [record.getMessage() for record in caplog.records]
    assert "far above" in rate and re.search("iteration 1[12]: the .* loss", risen)
