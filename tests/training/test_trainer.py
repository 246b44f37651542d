"""Training: the updates against plain arithmetic, and what is validated, kept and reported."""

from __future__ import annotations

import io
import json
import math
import sys

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from mlx_vedec import generate
from mlx_vedec.data.batches import Batches
from mlx_vedec.data.samples import Sample
from mlx_vedec.errors import TrainingError
from mlx_vedec.layers.token_ids import token_losses
from mlx_vedec.text.error_rates import character_error_rate, word_error_rate
from mlx_vedec.training import callbacks, steps
from mlx_vedec.training.arguments import OPTIMIZERS, TrainingArguments
from mlx_vedec.training.callbacks import LossTable, MetricsFile, read_metrics
from mlx_vedec.training.optimizers import learning_rate, make_optimizer
from mlx_vedec.training.steps import Stepper
from mlx_vedec.training.trainer import train
from mlx_vedec.training.validation import validate
from tests.support import training_parts as parts
from tests.support.tiny import tiny_model
from tests.support.training import ON, Keeper, RandomBatch, RandomBatches, fresh, quick

GROUP = mx.distributed.init()


def values(model) -> dict[str, np.ndarray]:
    return {name: np.array(x) for name, x in tree_flatten(model.trainable_parameters())}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def near(a: dict[str, np.ndarray], b: dict[str, np.ndarray], tolerance: float = 1e-6) -> None:
    for name, value in a.items():
        np.testing.assert_allclose(value, b[name], rtol=0, atol=tolerance, err_msg=name)


# arguments


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iters": 3, "epochs": 1}, "one of the two"),
        ({"iters": 0}, "iters is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"patience": 0}, "patience is 0"),
        ({"optimizer": "adamax"}, "'adamax'; expected one of adamw"),
        ({"schedule": "step"}, "expected one of constant, linear, cosine"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"learning_rate": "1e-3"}, "learning_rate is '1e-3'"),
        ({"warmup": -1}, "warmup is -1"),
        ({"grad_accumulation_steps": 0}, "grad_accumulation_steps is 0"),
        ({"max_grad_norm": -1}, "max_grad_norm is -1"),
        ({"ema": 1.0}, "ema is 1.0; expected a number from 0 on and below 1"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"val_batches": -2}, "val_batches is -2; expected a whole number, -1 or more"),
        ({"keep_checkpoints": 0}, "keep_checkpoints is 0"),
        ({"seed": True}, "seed is True"),
    ],
)
def test_wrong_arguments_are_named(changes, said):
    with pytest.raises(TrainingError, match=said):
        TrainingArguments(**changes)


def test_iterations_of_epochs_count_the_last_part_of_a_group():
    assert TrainingArguments().updates(5) == 1000
    assert TrainingArguments(epochs=3, grad_accumulation_steps=2).updates(5) == 9


def test_rates_rise_in_a_line_and_fall_by_the_schedule():
    def rates(**changes):
        arguments = quick(learning_rate=1.0, warmup=2, warmup_init=0.5, **changes)
        return [learning_rate(arguments, step, 6) for step in range(7)]

    assert rates() == [0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates(schedule="linear", final_rate=0.2) == pytest.approx(
        [0.5, 0.75, 1, 0.8, 0.6, 0.4, 0.2]
    )
    cosine = [0.5 * (1 + math.cos(math.pi * part / 4)) for part in range(5)]
    assert rates(schedule="cosine") == pytest.approx([0.5, 0.75, *cosine])


# updates


def plain_loss(model, batch):
    """The model's own mean loss; its labels' shift is given instead of made."""
    return model(
        batch.pixel_values, decoder_input_ids=batch.decoder_input_ids, labels=batch.labels
    ).loss


def joined(batches: list[RandomBatch]) -> RandomBatch:
    names = ("pixel_values", "decoder_input_ids", "labels")
    return RandomBatch(*(mx.concatenate([getattr(b, name) for b in batches]) for name in names))


@pytest.mark.parametrize("empty", [(), (1,)])
def test_an_update_weighs_every_token_alike(empty):
    """Batches of unequal numbers of tokens, one without any, are as one large batch."""
    batches = RandomBatches(3, empty=empty)
    model, seen = fresh(), Keeper()
    arguments = quick(
        epochs=1, grad_accumulation_steps=3, optimizer="sgd", momentum=0.0, weight_decay=0.0,
        learning_rate=0.1, max_grad_norm=None, steps_per_report=1,
    )  # fmt: skip
    train(model, batches, arguments, callbacks=[seen])
    plain = fresh()
    whole = joined([*batches.epoch(0)])
    loss, gradients = nn.value_and_grad(plain, plain_loss)(plain, whole)
    plain.update(tree_map(lambda w, g: w - 0.1 * g, plain.trainable_parameters(), gradients))
    near(values(model), values(plain), 1e-5)
    assert seen.losses == pytest.approx([loss.item()], rel=1e-4)
    assert seen.train[0]["trained_tokens"] == (np.array(whole.labels) != -100).sum()


def test_what_is_left_of_a_group_at_the_end_of_an_epoch_is_applied():
    seen = Keeper()
    result = train(
        fresh(), RandomBatches(5), quick(epochs=2, grad_accumulation_steps=2), callbacks=[seen]
    )
    assert result.iterations == 6
    batches = RandomBatches(5)
    counted = sum((np.array(b.labels) != -100).sum() for n in (0, 1) for b in batches.epoch(n))
    assert seen.train[-1]["trained_tokens"] == counted


def test_an_update_without_labels_changes_nothing():
    model = fresh()
    before = values(model)
    stepper = Stepper(model, quick(ema=0.5), GROUP)
    outcome = stepper.update([RandomBatches(1, empty=(0,)).batch(0, 0)], 0, 1e-3)
    assert same(values(model), before)
    assert outcome.finite and outcome.tokens == 0
    assert stepper.weights.optimizer["0"]["step"].item() == 0


def test_gradients_are_scaled_down_to_the_largest_norm():
    model = fresh()
    before = values(model)
    arguments = quick(optimizer="sgd", momentum=0.0, weight_decay=0.0, max_grad_norm=0.01)
    outcome = Stepper(model, arguments, GROUP).update([RandomBatches(1).batch(0, 0)], 0, 1.0)
    after = values(model)
    moved = math.sqrt(sum(((after[name] - before[name]) ** 2).sum() for name in before))
    assert outcome.norm > 0.1
    assert moved == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decay_all", [False, True])
def test_weight_decay_is_for_matrices(name, decay_all):
    weights = {"norm.weight": mx.ones((3,)), "fc.weight": mx.ones((3, 3)), "embed": mx.ones((4, 3))}
    arguments = quick(optimizer=name, weight_decay=0.5, decay_all=decay_all)
    optimizer = make_optimizer(arguments, weights)
    none = tree_map(mx.zeros_like, weights)
    new, _ = optimizer.updated(optimizer.state, mx.array(0.1), none, weights)
    decays = name != "adam"
    assert (new["fc.weight"].max().item() < 1) == decays, "matrices"
    assert (new["embed"].max().item() < 1) == decays, "tables"
    assert (new["norm.weight"].max().item() < 1) == (decays and decay_all), "vectors"


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name):
    seen = Keeper()
    batches = RandomBatches(1)
    batches.epoch = lambda number, start=0: (b for b in [batches.batch(0, 0)][start:])
    rate = {"sgd": 0.1, "muon": 0.02}.get(name, 1e-3)
    train(fresh(), batches, quick(iters=8, optimizer=name, learning_rate=rate), callbacks=[seen])
    assert seen.losses[-1] < 0.9 * seen.losses[0]


def test_smoothed_losses_are_those_of_mixed_labels():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(2, 3, 5)), np.array([[1, 4, -100], [0, -100, -100]])
    loss, tokens = token_losses(mx.array(logits), mx.array(labels), 0.2)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = np.where(labels[..., None] == np.arange(5), 0.8, 0) + 0.2 / 5
    expected = -(target * log_p).sum(-1)[labels != -100].sum()
    assert (loss.item(), tokens.item()) == (pytest.approx(expected, rel=1e-6), 3)


def test_layers_computed_again_learn_the_same():
    plain, again, batches = fresh(), fresh(), RandomBatches()
    train(plain, batches, quick(iters=2, optimizer="sgd"))
    train(again, batches, quick(iters=2, optimizer="sgd", grad_checkpoint=True))
    near(values(plain), values(again))
    assert not again.encoder.gradient_checkpointing and not again.decoder.gradient_checkpointing


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["activations kept", "computed again"])
def test_a_compiled_step_is_the_same(again):
    trained = []
    for compiled in (False, True):
        model = fresh(ON)
        arguments = quick(iters=3, optimizer="sgd", compile=compiled, grad_checkpoint=again)
        train(model, RandomBatches(), arguments)
        trained.append(values(model))
    near(*trained)


@pytest.mark.slow
@pytest.mark.parametrize(("compiled", "share"), [(False, 0.85), (True, 0.5)])
def test_layers_computed_again_need_less_memory(compiled, share):
    """A step that is compiled saves more of it."""
    peaks = []
    for again in (False, True):
        model = tiny_model({"num_hidden_layers": 8, "patch_size": 2}, {"decoder_layers": 1})
        model.gradient_checkpointing_enable(again)
        model.train()
        stepper = Stepper(model, quick(compile=compiled, optimizer="sgd"), GROUP)
        batch = RandomBatches(rows=32).batch(0, 0)
        for number in range(2):
            mx.reset_peak_memory()
            before = mx.get_active_memory()
            stepper.update([batch], number, 1e-3)
        peaks.append(mx.get_peak_memory() - before)
    assert peaks[1] < share * peaks[0]


# types


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_weights_stay_float32_beside_a_model_that_computes_in_half(half):
    model, plain = fresh(), fresh()
    rate = 1e-4  # of which half a step is lost in bfloat16
    seen, other = Keeper(), Keeper()
    train(model, RandomBatches(), quick(iters=3, dtype=half, learning_rate=rate), callbacks=[seen])
    train(plain, RandomBatches(), quick(iters=3, learning_rate=rate), callbacks=[other])
    assert {x.dtype for _, x in tree_flatten(model.trainable_parameters())} == {mx.float32}
    assert seen.losses == pytest.approx(other.losses, abs=0.02)
    assert seen.losses != other.losses
    near(values(model), values(plain), 6.1e-4)  # at most two steps of Adam per iteration
    moved = max(
        np.abs(a - b).max()
        for a, b in zip(values(model).values(), values(fresh()).values(), strict=True)
    )
    assert 2e-4 < moved < 4e-4


def test_a_model_in_half_precision_gets_its_weights_in_half_precision():
    model = fresh().astype("bfloat16")
    train(model, RandomBatches(), quick(iters=1))
    assert {x.dtype for _, x in tree_flatten(model.parameters())} == {mx.bfloat16}


# float16 that overflows


def test_gradients_are_those_of_an_unscaled_loss():
    losses = []
    for scale in (1.0, 4096.0):
        stepper = Stepper(fresh(), quick(optimizer="sgd"), GROUP)
        assert not stepper.scaled
        outcome = stepper.update([RandomBatches().batch(0, 0)], 0, 0.1, scale)
        losses.append((outcome.loss, outcome.norm, values(stepper.model)))
    assert losses[0][:2] == pytest.approx(losses[1][:2], rel=1e-6)
    near(losses[0][2], losses[1][2], 1e-6)


def test_small_gradients_survive_float16_by_the_scale():
    """A third are below what float16 can hold where the loss is 4 million times smaller."""
    moved = {}
    for scale in (2.0**-22, 1.0):
        options = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0}
        stepper = Stepper(fresh(), quick(dtype="float16", **options), GROUP)
        assert stepper.scaled
        stepper.update([RandomBatches().batch(0, 0)], 0, 1.0, scale)
        before, after = values(fresh()), values(stepper.model)
        moved[scale] = sum((before[name] != after[name]).sum() for name in before)
    assert moved[2.0**-22] < 0.75 * moved[1.0]


def test_updates_that_overflow_are_left_out_and_the_scale_follows(monkeypatch):
    monkeypatch.setattr(steps, "GROWTH", 3)
    model, seen, weights = fresh(), Keeper(), []

    class Watch:
        def on_step(self, info):
            weights.append(values(model))

    arguments = quick(iters=10, dtype="float16", loss_scale=2.0**17, steps_per_report=1, ema=0.5)
    train(model, RandomBatches(), arguments, callbacks=[seen, Watch()])
    scales = [info["loss_scale"] for info in seen.train]
    skipped = [info["skipped"] for info in seen.train]
    first = next(number for number, info in enumerate(seen.train) if info["grad_norm"] is not None)
    assert first >= 3 and scales[:first] == [2.0 ** (16 - n) for n in range(first)]
    assert skipped[:first] == [*range(1, first + 1)]
    assert all(same(one, values(fresh())) for one in weights[:first])
    assert not same(weights[first], values(fresh()))
    assert scales[first + 2] == 2 * scales[first], "three that fitted"
    assert [info["iteration"] for info in seen.train] == [*range(1, 11)]


def test_a_scale_of_one_that_overflows_ends_the_training(tmp_path):
    arguments = quick(iters=20, dtype="float16", loss_scale=4.0)
    with pytest.raises(TrainingError, match="iteration 14: .* in float16, at the least loss scale"):
        train(fresh(), Broken(), arguments, folder=tmp_path)
    newest = tmp_path / "training_state" / "0000013" / "state.json"
    progress = json.loads(newest.read_text())["progress"]
    assert (progress["loss_scale"], progress["skipped"]) == (1.0, 2)


# validation


def test_an_evaluation_is_the_mean_over_tokens_without_dropout():
    model, valid = fresh(ON), RandomBatches(3, seed=9)
    expected = plain_loss(fresh(), joined([*valid.epoch(0)])).item()
    model.train()
    stepper = Stepper(model, quick(), GROUP)
    found = validate(stepper, valid, stepper.weights.trained)
    assert found.loss == found.score == pytest.approx(expected, rel=1e-4)
    assert model.training and valid.opened == 0
    first = validate(stepper, valid, stepper.weights.trained, limit=1)
    assert first.loss == pytest.approx(plain_loss(fresh(), valid.batch(0, 0)).item(), rel=1e-4)


def test_validation_without_labels_is_refused():
    model = fresh()
    stepper = Stepper(model, quick(), GROUP)
    with pytest.raises(TrainingError, match="no label counts"):
        validate(stepper, RandomBatches(1, empty=(0,)), stepper.weights.trained)


@pytest.mark.filterwarnings("ignore:.*past the end of the position table")
@pytest.mark.parametrize("limit", [2, pytest.param(-1, marks=pytest.mark.slow)])
def test_texts_are_read_as_they_are_evaluated(limit):
    """Each image alone, from its own prompt to twice the longest label, gives the same text."""
    model, reader = parts.model(), parts.processor()
    rows = [("tea", None), ("a cup of rice", "ab"), ("x", None), ("y", "c"), ("z", None)]
    images = [parts.picture(number) for number in range(len(rows))]
    samples = [Sample(i, text, prompt) for i, (text, prompt) in zip(images, rows, strict=True)]
    valid = Batches(samples, model, reader, batch_size=2, shuffle=False)
    stepper = Stepper(model, quick(), GROUP)
    weights = {name: 0.9 * x for name, x in stepper.weights.trained.items()}
    found = validate(stepper, valid, weights, processor=reader, limit=limit, shown=9)
    stepper.place(weights)
    model.eval()
    texts = []
    for sample in samples[: 4 if limit == 2 else 5]:
        longest = {"max_new_tokens": 2 * 16}
        alone = generate(
            model, reader, sample.image, sample.prompt, num_beams=1, generation_config=longest
        )
        texts.append((alone.text, sample.text))
    assert found.samples == tuple(texts)
    assert found.cer == found.score == character_error_rate(*zip(*texts, strict=True))
    assert found.wer == word_error_rate(*zip(*texts, strict=True))
    assert len({text for text, _ in texts}) > 1


def test_options_for_the_texts_win():
    model, reader = parts.model(), parts.processor()
    valid = Batches([(parts.picture(), "tea")], model, reader, batch_size=2)
    stepper = Stepper(model, quick(), GROUP)
    given = {"processor": reader, "options": {"max_new_tokens": 2}}
    found = validate(stepper, valid, stepper.weights.trained, **given)
    ((text, wanted),) = found.samples
    assert text and len(reader.tokenizer.encode(text, False)) <= 2 and wanted == "tea"


def test_the_best_weights_are_kept_and_waiting_ends():
    """With a rate that is far too high, the first evaluation after the beginning is the best."""
    model, seen = fresh(), Keeper()
    arguments = quick(
        iters=50, steps_per_eval=1, patience=3, learning_rate=0.3, warmup=2, warmup_init=1e-3
    )
    result = train(
        model, RandomBatches(), arguments, valid=RandomBatches(2, seed=9), callbacks=[seen]
    )
    assert result.stopped_early and result.iterations == result.best_iteration + 3
    by_step = {info["iteration"]: info["val_loss"] for info in seen.val}
    assert result.best == by_step[result.best_iteration] == min([*by_step.values()][1:])
    assert [*by_step][0] == 0
    valid = joined([*RandomBatches(2, seed=9).epoch(0)])
    assert plain_loss(model, valid).item() == pytest.approx(result.best, rel=1e-4)
    assert not model.training


def test_the_average_is_what_is_validated_and_left():
    model, seen = fresh(), Keeper()
    weights = [values(model)]

    class Watch:
        def on_step(self, info):
            weights.append(values(model))

    arguments = quick(iters=3, ema=0.5, steps_per_eval=3)
    valid = RandomBatches(2, seed=9)
    train(model, RandomBatches(), arguments, valid=valid, callbacks=[seen, Watch()])
    average = weights[0]
    for new in weights[1:]:
        average = {name: 0.5 * average[name] + 0.5 * new[name] for name in new}
    near(values(model), average)
    loss = plain_loss(model, joined([*valid.epoch(0)])).item()
    assert seen.val[-1]["val_loss"] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("lacking", ["valid", "processor"])
def test_texts_need_batches_and_a_processor(lacking):
    given = {"valid": RandomBatches(1), "processor": parts.processor()}
    given.pop(lacking)
    with pytest.raises(TrainingError, match="generate needs"):
        train(fresh(), RandomBatches(), quick(generate=True), **given)


def test_no_validation_batches_are_no_validation():
    result = train(fresh(), RandomBatches(), quick(iters=1, val_batches=0), valid=RandomBatches(1))
    assert result.validation is None and result.best is None


def test_no_batches_are_refused():
    with pytest.raises(TrainingError, match="no batches"):
        train(fresh(), RandomBatches(0), quick())


def test_batches_of_other_processes_are_refused():
    with pytest.raises(TrainingError, match="process 1 of 2, and this is 0 of 1"):
        train(fresh(), RandomBatches(), quick(), valid=RandomBatches(rank=1, world=2))


def test_there_has_to_be_something_to_train():
    model = fresh()
    model.freeze()
    with pytest.raises(TrainingError, match="all weights are frozen"):
        train(model, RandomBatches(), quick())
    model.unfreeze()
    model.encoder.scales = mx.zeros((2,), mx.uint32)
    with pytest.raises(TrainingError, match="quantized, such as encoder.scales"):
        train(model, RandomBatches(), quick())
    assert not model.training


# what goes wrong


class Broken(RandomBatches):
    """The fourth batch has a pixel that is not a number."""

    def batch(self, number, index):
        batch = super().batch(number, index)
        if index != 3:
            return batch
        pixels = batch.pixel_values * mx.array(math.nan)
        return RandomBatch(pixels, batch.decoder_input_ids, batch.labels)


def test_a_loss_that_is_not_finite_stops_with_the_last_good_weights(tmp_path):
    model, good, batches = fresh(), fresh(), Broken()
    with pytest.raises(TrainingError, match="iteration 4: the loss is nan.*training_state"):
        train(model, batches, quick(iters=9), folder=tmp_path)
    train(good, RandomBatches(), quick(iters=3))
    assert same(values(model), values(good))
    kept = mx.load(str(tmp_path / "training_state" / "0000003" / "trained.safetensors"))
    assert same({name: np.array(x) for name, x in kept.items()}, values(good))
    assert batches.opened == 0 and not model.training


def test_an_error_of_a_callback_leaves_a_model_that_works():
    class Fails:
        def on_step(self, info):
            raise RuntimeError("of the caller")

    model, batches = fresh(), RandomBatches()
    with pytest.raises(RuntimeError, match="of the caller"):
        train(model, batches, quick(iters=3), callbacks=[Fails()])
    assert math.isfinite(plain_loss(model, batches.batch(0, 0)).item())
    assert batches.opened == 0


# reports


def test_reports_have_the_keys_of_mlx_lm():
    seen = Keeper()
    arguments = quick(iters=5, steps_per_report=2, steps_per_eval=5)
    train(fresh(), RandomBatches(), arguments, valid=RandomBatches(1), callbacks=[seen])
    assert [info["iteration"] for info in seen.train] == [2, 4, 5]
    assert {
        *("iteration", "train_loss", "learning_rate", "iterations_per_second"),
        *("tokens_per_second", "trained_tokens", "peak_memory"),
    } <= seen.train[0].keys()
    assert {"iteration", "val_loss", "val_time"} <= seen.val[0].keys()
    assert [info["iteration"] for info in seen.val] == [0, 5]
    counts = [(np.array(b.labels) != -100).sum() for b in RandomBatches().epoch(0)]
    means = [np.average(seen.losses[i:j], weights=counts[i:j]) for i, j in ((0, 2), (2, 4), (4, 5))]
    assert [info["train_loss"] for info in seen.train] == pytest.approx(means, rel=1e-5)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_table_has_a_line_per_report():
    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        table = LossTable(stream)
        table.on_step({"iteration": 1, "iterations": 4, "loss": 2.0})
        rates = {"tokens_per_second": 50, "iterations_per_second": 2, "peak_memory": 1.5}
        rates["seconds_left"] = 61.5
        table.on_train_loss_report(
            {"iteration": 1, "train_loss": 2.0, "learning_rate": 1e-4, **rates}
        )
        table.on_val_loss_report(
            {"iteration": 1, "val_loss": 1.0, "cer": 0.25, "samples": [("a", "b")]}
        )
    head, one, two, reference, prediction = plain.getvalue().splitlines()
    assert head.split()[0] == "Iter" and one.split() == [
        *("1", "2.0000", "1.00e-04", "50", "2.00", "1.50", "1:02")
    ]
    assert two.split() == ["1", "1.0000", "25.00%"]
    assert (reference.strip(), prediction.strip()) == ("= 'b'", "> 'a'   CER 100.0%")
    assert "1/4  loss 2.000" in terminal.getvalue() and "1/4" not in plain.getvalue()


def test_metrics_of_a_run_that_goes_on_follow_those_before_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    for step in (1, 2, 3):
        first.on_train_loss_report({"iteration": step, "train_loss": 0.5})
    path.write_text(path.read_text() + '{"iteration": 4, "tra', encoding="utf-8")
    MetricsFile(path, 2).on_val_loss_report({"iteration": 3, "val_loss": 0.25})
    assert [(r["kind"], r["iteration"]) for r in read_metrics(path)] == [
        *(("train", 1), ("train", 2), ("val", 3))
    ]


def test_a_plot_is_a_picture_or_says_what_it_needs(tmp_path, monkeypatch):
    metrics, picture = MetricsFile(tmp_path / "metrics.jsonl"), tmp_path / "metrics.png"
    metrics.on_train_loss_report({"iteration": 1, "train_loss": 2.0})
    metrics.on_val_loss_report({"iteration": 1, "val_loss": 1.0, "cer": 0.5})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(TrainingError, match="matplotlib"):
        callbacks.plot(metrics.path, picture)
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    callbacks.plot(metrics.path, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
