"""A training that is killed and gone on with is, bit for bit, one that was not."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import TrainingError
from mlx_vedec.training.state import publish
from mlx_vedec.training.trainer import train
from tests.conftest import ROOT
from tests.support.processes import processes
from tests.support.resuming import ARGUMENTS, run
from tests.support.training import ON, Keeper, RandomBatches, fresh, lines, quick

STATE = "training_state"


def process(**options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.resuming", json.dumps(options, default=str)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(child: subprocess.Popen) -> tuple[int, str]:
    said = child.communicate(timeout=120)[1]
    return child.returncode, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert ended(process(folder=folder)) == (0, "")
    return folder


def check_same(folder: Path, whole: Path) -> None:
    """All that is left of a training is that of another, but for the times in its metrics."""
    for name in ("trained", "optimizer", "average"):
        path = Path(STATE) / "0000011" / f"{name}.safetensors"
        a, b = mx.load(str(folder / path)), mx.load(str(whole / path))
        assert a.keys() == b.keys()
        for key in a:
            assert np.array(a[key]).tobytes() == np.array(b[key]).tobytes(), f"{name}: {key}"
    for name in ("model.safetensors", f"{STATE}/best.safetensors", f"{STATE}/0000011/state.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    times = (
        "iterations_per_second",
        "tokens_per_second",
        "peak_memory",
        "val_time",
        "seconds_left",
    )
    reports = [
        [
            {k: v for k, v in line.items() if k not in times}
            for line in lines(path / "metrics.jsonl")
        ]
        for path in (folder, whole)
    ]
    assert reports[0] == reports[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "death",
    [{"kill_at": 5}, {"kill_at": 10}, {"kill_write": 6}, {"kill_write": 4}],
    ids=["between checkpoints", "near the end", "while saving", "while keeping the best"],
)
def test_a_killed_training_goes_on_as_if_it_had_not_been(death, whole, tmp_path):
    """With dropout, accumulation, a schedule and an average."""
    assert ended(process(folder=tmp_path, **death))[0] == -signal.SIGKILL
    found = sorted(path.name for path in (tmp_path / STATE).glob("[0-9]*"))
    assert found and found[-1] < "0000011"
    assert ended(process(folder=tmp_path, resume=True)) == (0, "")
    check_same(tmp_path, whole)
    assert not [*tmp_path.rglob(".*")]


@pytest.mark.slow
def test_the_last_checkpoints_stay(whole):
    assert sorted(path.name for path in (whole / STATE).iterdir()) == [
        *("0000010", "0000011", "best.safetensors")
    ]


@pytest.mark.slow
def test_a_finished_training_stays_as_it_is(whole, tmp_path):
    before = {path: path.read_bytes() for path in whole.rglob("*.safetensors")}
    run(whole, resume=True)
    assert {path: path.read_bytes() for path in whole.rglob("*.safetensors")} == before


def small(folder: Path, count: int = 4, *, resume: bool = False, batches=None, **changes):
    arguments = quick(**{"iters": count, "save_every": 2, **changes})
    model = fresh()
    train(model, batches or RandomBatches(), arguments, folder=folder, resume=resume)
    return model


def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    small(tmp_path)
    newest = tmp_path / STATE / "0000004" / "trained.safetensors"
    right = newest.read_bytes()
    newest.write_bytes(right[:-9])
    small(tmp_path, resume=True, keep_checkpoints=1)
    assert "going on with the one before" in caplog.text
    assert newest.read_bytes() == right


def damaged(folder: Path, **values) -> None:
    """The newest checkpoint's `state.json` with other values of its progress, or other parts."""
    path = folder / STATE / "0000004" / "state.json"
    state = json.loads(path.read_text())
    parts = {key: value for key, value in values.items() if key in state}
    progress = {key: value for key, value in values.items() if key not in state}
    path.write_text(json.dumps({**state, "progress": {**state["progress"], **progress}, **parts}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    small(folder)
    return folder


@pytest.mark.parametrize(
    "values",
    [
        *(
            {"step": math.nan},
            {"step": "4"},
            {"step": 4.0},
            {"step": True},
            {"step": 3},
            {"step": -4},
        ),
        *({"epoch": None}, {"epoch": -1}, {"epoch": 2**70}, {"position": 5}, {"position": [1]}),
        *(
            {"tokens": "many"},
            {"window": 7},
            {"window": [0, 0, 0]},
            {"window": [0, 0, 0, math.inf]},
        ),
        *({"window": [0, 0, 0, "1"]}, {"window": None}, {"best": "low"}, {"best": math.nan}),
        *({"best": 1.0}, {"best_step": 2}, {"best": 1.0, "best_step": 9}, {"stale": None}),
        *({"loss_scale": 0.0}, {"loss_scale": math.nan}, {"fitted": -1}, {"skipped": None}),
        *({"strange": 1}, {"progress": []}, {"progress": None}, {"arguments": 7}, {"data": None}),
        {"data": {"batches in an epoch": "5"}},
    ],
)
def test_a_damaged_state_is_passed_over(trained, tmp_path, caplog, values):
    folder = shutil.copytree(trained, tmp_path / "run")
    damaged(folder, **values)
    small(folder, resume=True)
    assert "going on with the one before" in caplog.text
    states = [(path / STATE / "0000004" / "state.json") for path in (folder, trained)]
    ours, theirs = (json.loads(path.read_text())["progress"]["step"] for path in states)
    assert ours == theirs == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda x: {name: array * math.nan for name, array in x.items()},
        lambda x: {name: array.astype(mx.float16) for name, array in x.items()},
        lambda x: dict(list(x.items())[1:]),
        lambda x: {name: array[None] for name, array in x.items()},
    ],
)
@pytest.mark.parametrize("part", ["trained", "optimizer"])
def test_damaged_tensors_are_passed_over(trained, tmp_path, caplog, part, damage):
    folder = shutil.copytree(trained, tmp_path / "run")
    path = folder / STATE / "0000004" / f"{part}.safetensors"
    found = damage(mx.load(str(path)))
    mx.eval(found)
    mx.save_safetensors(str(path), found)
    small(folder, resume=True)
    assert "going on with the one before" in caplog.text


def test_what_is_in_the_way_of_a_file_is_passed_over(trained, tmp_path, caplog):
    """A pipe, which would be waited for, and JSON that is nested without end."""
    folder = shutil.copytree(trained, tmp_path / "run")
    path = folder / STATE / "0000004" / "trained.safetensors"
    path.unlink()
    os.mkfifo(path)
    small(folder, resume=True)
    (folder / STATE / "0000004" / "state.json").write_text("[" * 100_000)
    small(folder, resume=True)
    assert caplog.text.count("going on with the one before") == 2


def test_where_all_are_damaged_it_says_so(tmp_path, caplog):
    small(tmp_path)
    for path in (tmp_path / STATE).rglob("optimizer.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match="none of the checkpoints"):
        small(tmp_path, resume=True)


def test_what_differs_is_named(tmp_path):
    small(tmp_path)
    changed = {"learning_rate": 1e-4, "ema": 0.5}
    with pytest.raises(TrainingError, match=r"learning_rate was 0.001 and is 0.0001; ema was None"):
        small(tmp_path, resume=True, **changed)
    with pytest.raises(TrainingError, match="batches in an epoch was 5 and is 6"):
        small(tmp_path, resume=True, batches=RandomBatches(6))
    with pytest.raises(TrainingError, match="first batch was"):
        small(tmp_path, resume=True, batches=RandomBatches(seed=1))


def test_another_model_is_named(tmp_path):
    small(tmp_path)
    other = fresh(({}, {"decoder_layers": 2}))
    arguments = quick(iters=4, save_every=2)
    with pytest.raises(TrainingError, match=r"another model: \d+ tensors differ .* such as"):
        train(other, RandomBatches(), arguments, folder=tmp_path, resume=True)


def test_a_training_may_be_made_longer(tmp_path):
    long, short = tmp_path / "long", tmp_path / "short"
    small(long, 6)
    small(short, 4)
    small(short, 6, resume=True, steps_per_report=1)
    for name in ("trained", "optimizer"):
        path = Path(STATE) / "0000006" / f"{name}.safetensors"
        assert (short / path).read_bytes() == (long / path).read_bytes()


def test_a_training_in_float16_goes_on_at_its_loss_scale(tmp_path):
    """Interrupted after an update that overflowed; all of its state is that of the whole one."""
    long, short = tmp_path / "long", tmp_path / "short"
    options = {"dtype": "float16", "loss_scale": 2.0**17, "steps_per_report": 1}
    small(long, 8, **options)
    small(short, 2, **options)
    assert lines(short / "metrics.jsonl")[-1]["skipped"] == 2
    small(short, 8, resume=True, **options)
    for name in ("trained.safetensors", "optimizer.safetensors"):
        path = Path(STATE) / "0000008" / name
        assert (short / path).read_bytes() == (long / path).read_bytes()
    scales = [
        [(line["loss_scale"], line["skipped"]) for line in lines(folder / "metrics.jsonl")]
        for folder in (long, short)
    ]
    assert scales[0] == scales[1] and scales[0][-1][1] < 8


def test_a_state_from_before_losses_were_scaled_is_gone_on_with(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    path = folder / STATE / "0000004" / "state.json"
    state = json.loads(path.read_text())
    for name in ("loss_scale", "fitted", "skipped"):
        del state["progress"][name]
    del state["arguments"]["loss_scale"]
    path.write_text(json.dumps(state))
    small(folder, 6, resume=True)
    assert lines(folder / "metrics.jsonl")[-1]["iteration"] == 6


def test_nothing_is_written_over(tmp_path):
    small(tmp_path)
    with pytest.raises(TrainingError, match=r"holds a training at iteration 4; go on with it"):
        small(tmp_path)


def test_there_has_to_be_something_to_resume(tmp_path):
    with pytest.raises(TrainingError, match="no checkpoint to resume"):
        small(tmp_path, resume=True)
    with pytest.raises(TrainingError, match="resume needs the folder"):
        train(fresh(), RandomBatches(), ARGUMENTS, resume=True)


@pytest.mark.slow
def test_a_full_disk_leaves_what_was_saved(whole, tmp_path):
    """A file may have half the bytes that the optimizer's state needs."""
    assert ended(process(folder=tmp_path, kill_at=3))[0] == -signal.SIGKILL
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    largest = max(map(len, before.values()))
    code, said = ended(process(folder=tmp_path, resume=True, bytes=largest // 2))
    assert code == 1 and "Traceback" not in said
    assert said.startswith("TrainingError:") and "cannot be written" in said
    assert [path.name for path in (tmp_path / STATE).glob("[0-9]*")] == ["0000002"]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert ended(process(folder=tmp_path, resume=True)) == (0, "")
    check_same(tmp_path, whole)


def test_what_users_read_is_replaced_only_when_it_is_there(tmp_path):
    def good(folder: Path) -> None:
        (folder / "a.txt").write_text("new")
        (folder / "inner").mkdir()
        (folder / "inner" / "b.txt").write_text("new")

    def bad(folder: Path) -> None:
        (folder / "a.txt").write_text("newer")
        raise OSError("no room")

    (tmp_path / "a.txt").write_text("old")
    publish(good, tmp_path)
    with pytest.raises(OSError, match="no room"):
        publish(bad, tmp_path)
    assert (tmp_path / "a.txt").read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "b.txt", "inner"]


# several processes


def ring(tmp_path: Path, world: int = 2, **options) -> list[tuple[int, str]]:
    """What processes end with, which share each batch."""
    argv = ("-m", "tests.support.resuming", json.dumps({"world": world, **options}, default=str))
    return [(code, err) for code, _, err in processes(tmp_path, world, *argv)]


def alone(**changes) -> tuple[list[float], float]:
    """The losses of one process, and its last validation loss."""
    arguments, seen = replace(ARGUMENTS, **changes), Keeper()
    valid = RandomBatches(2, seed=9)
    train(fresh(ON), RandomBatches(5, empty=(1,)), arguments, valid=valid, callbacks=[seen])
    return seen.losses, seen.val[-1]["val_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("world", [3, 4])
def test_processes_learn_what_one_does(tmp_path, world):
    """With dropout, and with shares that are filled up."""
    losses, folder, changes = tmp_path / "losses.json", tmp_path / "run", {"iters": 5}
    options = {"folder": folder, "losses": losses, "changes": changes}
    assert ring(tmp_path, world, **options) == [(0, "")] * world
    found, (expected, valid) = json.loads(losses.read_text()), alone(**changes)
    assert found[0] == pytest.approx(expected, abs=1e-5)
    assert found[1] == pytest.approx(valid, abs=1e-5)
    reports = [line["iteration"] for line in lines(folder / "metrics.jsonl")]
    assert reports == [0, 3, 4, 5, 5], "of the first alone"


@pytest.mark.slow
def test_another_number_of_processes_goes_on(tmp_path):
    """Two begin, then one, then four: the losses are those of one from beginning to end."""
    losses, folder, found = tmp_path / "losses.json", tmp_path / "run", []
    for world, iters in ((2, 3), (1, 5), (4, 7)):
        changes = {"iters": iters, "schedule": "constant"}  # which no later end changes
        options = {"folder": folder, "losses": losses, "resume": bool(found), "changes": changes}
        if world == 1:
            assert ended(process(**options)) == (0, "")
        else:
            assert ring(tmp_path, world, **options) == [(0, "")] * world
        found += json.loads(losses.read_text())[0]
    assert found == pytest.approx(alone(**changes)[0], abs=1e-5)


@pytest.mark.slow
def test_when_one_process_dies_the_others_end_and_as_many_go_on(tmp_path):
    """Bit for bit, after one of two was killed."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert ring(tmp_path, folder=whole) == [(0, "")] * 2
    (killed, _), (code, said) = ring(tmp_path, folder=folder, kill_at=5)
    assert (killed, code) == (-signal.SIGKILL, 1)
    own = [line for line in said.splitlines() if not line.startswith("[ring]")]
    assert len(own) == 1 and own[0].startswith("ProcessError: process 1 of 2 has lost another one")
    assert ring(tmp_path, folder=folder, resume=True) == [(0, "")] * 2
    check_same(folder, whole)


@pytest.mark.slow
def test_an_error_of_the_first_process_is_that_of_all(tmp_path):
    found = ring(tmp_path, folder=tmp_path / "none", resume=True)
    assert [code for code, _ in found] == [1, 1]
    assert all("no checkpoint to resume" in said for _, said in found)
