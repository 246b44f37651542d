"""`mlx_vedec lora` at the command line: what it takes, what it leaves, what it refuses."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import fields

import mlx.core as mx
import pytest
from PIL import Image

from mlx_vedec import LoraConfig, TrainingArguments, generate, load
from mlx_vedec.commands import finetuning, lora_flags
from mlx_vedec.conversion.fuse import fuse_checkpoint
from mlx_vedec.errors import OptionError, TokenError, WeightsError
from mlx_vedec.reading.new_tokens import restore_added
from mlx_vedec.training import trackers
from mlx_vedec.training.callbacks import read_metrics
from tests.commands.test_commands import failed, run
from tests.conftest import DATA, ROOT
from tests.support.processes import two_processes
from tests.tasks.test_tasks import LETTERS, folder, write

__all__ = ["folder", "run"]  # fixtures
LINE = DATA / "lines" / "seen_000.png"
TEXTS = ("tea", "rice", "a cup", "milk", "bread", "figs")


@pytest.fixture
def place(folder):
    """The tiny checkpoint in a folder of its own."""
    (folder / "model").mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        shutil.move(path, folder / "model")
    return folder / "model"


@pytest.fixture
def model(place):
    """A checkpoint of a tiny random model that writes letters."""
    write(place, [" ", *LETTERS], None)
    return place


def fill(target, **splits):
    """A folder of splits, each some texts of one image of its own."""
    target.mkdir(exist_ok=True)
    for split, texts in splits.items():
        with Image.open(LINE) as line:
            line.putpixel((0, 0), sum(split.encode()) % 256)
            line.save(target / f"{split}.png")
        rows = [{"image": f"{split}.png", "text": text} for text in texts]
        (target / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return target


@pytest.fixture
def data(tmp_path):
    return fill(tmp_path / "data", train=TEXTS, valid=TEXTS[:2], test=TEXTS[2:4])


@pytest.fixture
def tune(run, model, data, tmp_path):
    """Call the command on the tiny model and the data; it writes to the folder `out`."""

    def call(*flags, out="out", train=("--train",)):
        common = ("--model", model, "--data", data, "--adapter-path", tmp_path / out)
        return run("lora", *common, *train, "--iters", 4, "--batch-size", 2, *flags)

    return call


def tensors(folder, name="adapters.safetensors"):
    return {k: bytes(memoryview(v)) for k, v in mx.load(str(folder / name)).items()}


# what it leaves


def test_what_it_says_and_writes(tune, run, model, data, tmp_path):
    code, out, err = tune("--test", "--generate", "--mask-prompt", "--steps-per-report", 2)
    folder = tmp_path / "out"
    title, *rows, last = out.splitlines()
    assert code == 0 and last == str(folder)
    assert title.startswith("test: 2 samples, ") and rows[0].split()[0] == "cer"
    shown = [line.split(maxsplit=1) for line in err.splitlines()]
    assert ["text", "'tea'"] in shown and ["labels", "t e a </s>"] in shown
    assert err.count("labels  ") == 1 and "Val loss" in err
    following = [line.split() for line in err.splitlines() if line.startswith("  mlx_vedec")]
    assert [words[1] for words in following] == ["evaluate", "generate", "fuse"]
    assert f"--model {model} --adapter-path {folder}" in err
    assert {path.name for path in folder.iterdir()} >= {
        *("adapters.safetensors", "adapter_config.json", "lora.json", "metrics.jsonl"),
        "samples.html",
    }
    assert [line["kind"] for line in read_metrics(folder / "metrics.jsonl")] == [
        *("val", "train", "train", "val")
    ]
    assert run(*following[0][1:])[0] == 0
    read = run(*following[1][1:-1], LINE)
    loaded = load(model, adapter_path=folder)
    assert read[:2] == (0, generate(*loaded, LINE).text + "\n")
    assert run(*following[2][1:-1], tmp_path / "fused")[0] == 0


def test_what_reports_need_is_said(tune, monkeypatch, tmp_path):
    monkeypatch.setattr(finetuning, "find_spec", lambda _: None)
    code, _, err = tune("--learning-rate", 0.5)
    assert code == 0 and "no metrics.png without matplotlib (pip install" in err
    assert not (tmp_path / "out" / "metrics.png").exists()
    assert err.count("warning: the learning rate 0.5 is far above the usual") == 1
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    flags = ("--report-to", "tensorboard", "wandb")
    failed(tune(*flags, out="more"), "report_to tensorboard needs the package tensorboard; install")
    assert not (tmp_path / "more").exists()


def test_the_result_as_json(tune, tmp_path):
    code, out, _ = tune("--json", "--test", "--test-batches", 1, "--max-samples", 3)
    found = json.loads(out)
    assert code == 0 and found["iterations"] == 4 and found["adapter_path"] == str(tmp_path / "out")
    assert found["val_loss"] > 0 and found["val_cer"] is None and found["test"]["cer"] > 0


@pytest.mark.slow
def test_a_training_can_be_tested_later(tune, run, data, tmp_path):
    code, out, _ = tune("--test")
    assert code == 0
    again = run("lora", "--test", "--adapter-path", tmp_path / "out")
    assert again[0] == 0 and again[1].splitlines()[1:] == out.splitlines()[1:-1]


def test_without_validation_the_last_weights_are_kept(tune, data, tmp_path):
    (data / "valid.jsonl").unlink()
    code, _, err = tune()
    assert code == 0 and "no split valid" in err
    last = tensors(tmp_path / "out" / "training_state" / "0000004", "trained.safetensors")
    assert sorted(tensors(tmp_path / "out").values()) == sorted(last.values())


@pytest.mark.slow
def test_adapters_to_begin_with(tune, tmp_path):
    """Without an update they are what is written again."""
    assert tune("--rank", 3)[0] == 0
    own = tensors(tmp_path / "out")
    assert own and all(name.endswith((".lora_a", ".lora_b")) for name in own)
    start = ("--resume-adapter-file", tmp_path / "out" / "adapters.safetensors")
    assert tune(*start, "--learning-rate", 0, out="more")[0] == 0
    assert tensors(tmp_path / "more") == own
    failed(tune(*start, "--rank", 3, out="third"), "leave out rank")


# options from several places


def test_help_tells_the_defaults_that_there_are():
    texts = {action.dest: action.help or "" for action in lora_flags.parser()._actions}
    known = {f.name: f.default for kind in (LoraConfig, TrainingArguments) for f in fields(kind)}
    known |= {"scale": 2.0, "iters": 1000, **lora_flags.DEFAULTS}
    rates = lora_flags.RATES
    known["learning_rate"] = f"{rates['lora']}, or {rates['full']} with --fine-tune-type full"
    assert rates["dora"] == rates["lora"]
    for name, default in known.items():
        default = " ".join(default) if isinstance(default, tuple) else default
        if default not in (None, "") and default is not False:
            assert texts[name].endswith(f" (default: {default})."), name
        elif name not in ("dtype", "ema", "compile", "patience"):  # None is said in words
            assert "(default: " not in texts[name] and texts[name].endswith("."), name


def test_flags_win_over_the_file_and_the_file_over_defaults(tune, tmp_path):
    file = tmp_path / "lora.yaml"
    file.write_text(
        "train: true\nlearning_rate: 1e-2\nepochs: 7\nschedule: cosine\nrevision: null\n"
        "lora_parameters: {rank: 3, alpha: 6, keys: [q_proj, k_proj]}\n"
    )
    code, _, err = tune("-c", file, "--schedule", "linear", "--scale", 5.0, train=())
    assert code == 0, err
    kept = json.loads((tmp_path / "out" / "lora.json").read_text())
    assert kept["learning_rate"] == 0.01 and kept["schedule"] == "linear"
    assert "epochs" not in kept and "alpha" not in kept and "train" not in kept
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    found = config["lora_parameters"]
    assert (found["rank"], found["scale"]) == (3, 5.0)
    assert all(key.endswith(("q_proj", "k_proj", "query", "key")) for key in found["keys"])
    shutil.rmtree(tmp_path / "out" / "training_state")
    kept_file = tmp_path / "out" / "lora.json"
    assert tune("-c", kept_file, out="again")[0] == 0  # JSON, of a run before
    assert tensors(tmp_path / "again") == tensors(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("itres: 5\nlearning_rat: 1", "itres, which is no option; did you mean iters"),
        (
            "itres: 5\nlearning_rat: 1",
            "learning_rat, which is no option; did you mean learning_rate",
        ),
        ("zzz: 5", "zzz, which is no option; --help"),
        ("config: a.yaml", "config, which is no option"),
        ("iters: many", "iters is 'many'; expected a whole number"),
        ("iters: true", "iters is True; expected a whole number"),
        ("train: 1", "train is 1; expected true or false"),
        ("learning_rate: high", "learning_rate is 'high'; expected a number"),
        ("model: 7", "model is 7; expected text"),
        ("optimizer: adamax", "optimizer is 'adamax'; expected one of adamw"),
        ("lora_parameters: 7", "lora_parameters is 7; expected names and values"),
        ("rank: 4\nlora_parameters: {rank: 4}", "has rank twice"),
        ("- 1", "holds list; expected names and values"),
        ("a: [", "is neither YAML nor JSON"),
        ("a: !!python/object:os.system {}", "is neither YAML nor JSON"),
    ],
)
def test_what_a_file_must_not_say(text, said, tmp_path):
    path = tmp_path / "lora.yaml"
    path.write_text(text)
    with pytest.raises(OptionError, match=re.escape(said)):
        lora_flags.read_settings(path, lora_flags.parser())


def test_values_of_a_file_are_those_of_flags(tmp_path):
    path = tmp_path / "lora.json"
    path.write_text('{"learning_rate": "1e-5", "targets": "mlp", "compile": false, "ema": null}')
    found = lora_flags.read_settings(path, lora_flags.parser())
    assert found == {"learning_rate": 1e-5, "targets": ["mlp"], "compile": False}
    args = lora_flags.parser().parse_args(["--no-compile", "--targets", "mlp"])
    assert lora_flags.given(args) == {"compile": False, "targets": ["mlp"]}
    assert lora_flags.given(argparse.Namespace(a=None, b=0)) == {"b": 0}


# gone on with


KILLED = """
import os, signal, sys
import tests.support.blas
from mlx_vedec import commands
from mlx_vedec.training import callbacks
def on_step(self, info):
    if info["iteration"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
callbacks.LossTable.on_step = on_step
commands.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(tune, run, model, data, tmp_path):
    own = ("--dropout", 0.2, "--augment", "noise=20", "--save-every", 2, "--schedule", "cosine")
    flags = [*own, "--iters", 5, "--grad-accumulation-steps", 2]
    assert tune(*flags, out="whole")[0] == 0
    folder = tmp_path / "out"
    common = ["--model", model, "--data", data, "--adapter-path", folder, "--batch-size", 2]
    argv = [sys.executable, "-c", KILLED, "lora", "--train", *common, *flags]
    killed = subprocess.run([*map(str, argv)], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    code, _, err = run("lora", "--train", "--resume", "--adapter-path", folder)  # that is enough
    assert code == 0, err
    assert tensors(folder) == tensors(tmp_path / "whole")
    state = "training_state/0000005"
    for name in ("trained", "optimizer"):
        one, other = (
            tensors(tmp_path / f / state, f"{name}.safetensors") for f in ("out", "whole")
        )
        assert one == other


@pytest.mark.slow
def test_what_a_resumed_training_cannot_change(tune, tmp_path):
    assert tune("--rank", 4)[0] == 0
    failed(tune("--resume", "--rank", 2, "--scale", 3.0), "rank was 4 and is 2")
    failed(tune("--resume", "--rank", 2, "--scale", 3.0), "scale was None and is 3.0")
    failed(tune("--resume", "--max-samples", 3), "max_samples was None and is 3")
    failed(tune("--resume", "--ema", 0.5), "ema was None and is 0.5")
    failed(tune("--resume", "--quantize", 8), "quantize was None and is 8")
    failed(tune("--resume", "--rank", 2), "another --adapter-path")
    assert tune("--resume", "--rank", 4, "--patience", 3)[0] == 0  # the same, or of no weight


@pytest.mark.slow
def test_a_folder_of_another_training_is_left_alone(tune, tmp_path):
    assert tune()[0] == 0
    before = tensors(tmp_path / "out")
    failed(tune(), "holds a training at iteration 4; go on with it (--resume)")
    shutil.rmtree(tmp_path / "out" / "training_state")
    failed(tune(), "holds adapters already; give another --adapter-path")
    assert tensors(tmp_path / "out") == before
    failed(tune("--resume", out="none"), "holds no training to resume")


# tokens


ROWS = [{"gt_parse": {"menu": {"nm": "tea"}}}, {"gt_parse": {"total": "four"}}]


@pytest.fixture
def receipts(tmp_path):
    target = tmp_path / "data"
    target.mkdir()
    for split in ("train", "valid"):
        Image.new("RGB", (16, 16), {"train": "white", "valid": "snow"}[split]).save(
            target / f"{split}.png"
        )
        rows = [{"file_name": f"{split}.png", "ground_truth": json.dumps(row)} for row in ROWS]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (target / f"{split}.jsonl").write_text(text)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_tags_become_tokens(run, place, receipts, tmp_path, kind):
    """The adapters bring them along, with the rows that were trained."""
    write(place, ["<s_cord-v2>", "<sep/>", *LETTERS, *"ABCDE"], "DonutProcessor")
    out = tmp_path / "out"
    common = ("--model", place, "--adapter-path", out, "--fine-tune-type", kind)
    flags = (*common, "--data", receipts, "--train", "--iters", 3)
    tags = "<s_menu> </s_menu> <s_nm> </s_nm> <s_total> </s_total>"
    failed(run("lora", *flags), f"6 tags of the data are no tokens yet: {tags}; give --add-tokens")
    code, _, err = run("lora", *flags, "--add-tokens")
    assert code == 0 and f"added 6 tokens: {tags}" in err, err
    model, processor = load(place, adapter_path=out)
    assert processor.tokenizer.encode(tags.replace(" ", ""), add_special_tokens=False) == [
        *range(37, 43)
    ]
    assert load(place)[0].config.decoder.vocab_size == 40
    trained = mx.load(str(out / "training_state" / "0000003" / "trained.safetensors"))
    table = model.decoder.embed_tokens.weight
    assert table.shape[0] == 43 and mx.array_equal(table, trained["decoder.embed_tokens.weight"])
    fused, other = load(fuse_checkpoint(place, out, tmp_path / "fused"))
    assert other.tokenizer.content == processor.tokenizer.content
    pixels = processor.pixels([receipts / "train.png"])
    ours, theirs = (x(pixels, mx.array([[2, 40]])).logits for x in (model, fused))
    assert mx.allclose(ours, theirs, atol=1e-4)
    (out / "added_tokens.json").unlink()
    with pytest.raises(WeightsError, match="is for another model: .*43 x 32.* there and 40 x 32"):
        load(place, adapter_path=out)


def test_added_tokens_need_the_tokenizer_they_were_added_to(folder, tmp_path):
    model, processor = write(folder, LETTERS, "DonutProcessor")
    restore_added(model, processor, tmp_path / "none")
    (tmp_path / "added_tokens.json").write_text('{"<s_a>": 55, "<s_b>": 56}')
    with pytest.raises(TokenError, match="gives <s_a> the id 55, but here it becomes 30"):
        restore_added(model, processor, tmp_path)


# sizes, and processors from elsewhere


def made_size(model, processor, size):
    """The image size that a model and its processor have: one, and its own."""
    assert model.config.encoder.image_size == size
    assert processor(images=LINE).pixel_values.shape[1:3] == size
    assert model.encoder.processor_size is None


@pytest.mark.slow
def test_another_image_size_goes_with_the_adapters(tune, run, model, data, tmp_path):
    code, _, err = tune("--image-size", "16x48", "--test")
    out, plain = tmp_path / "out", load(model)[0].config.encoder.image_size
    assert code == 0 and "interpolated" not in err, err
    assert plain != [16, 48]
    made_size(*load(model, adapter_path=out), (16, 48))
    assert json.loads((out / "lora.json").read_text())["image_size"] == "16x48"
    following = [line.split()[1:] for line in err.splitlines() if line.startswith("  mlx_vedec")]
    for words in (following[0], [*following[1][:-1], LINE], ["benchmark", *following[1][1:-2]]):
        short = ("-n", 1, "-m", 2) if words[0] == "benchmark" else ()
        code, _, err = run(*words, *short)
        assert code == 0 and "another model" not in err, err
    assert run(*following[2][:-1], tmp_path / "fused")[0] == 0
    fused, processor = load(tmp_path / "fused")
    assert [*fused.config.encoder.image_size] == [16, 48]
    adapted, _ = load(model, adapter_path=out)
    pixels, ids = processor.pixels([LINE]), mx.array([[2, 5]])
    ours, theirs = (m(pixels, ids).logits for m in (adapted, fused))
    assert mx.allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_a_training_goes_on_at_its_image_size(tune, tmp_path):
    flags = ("--image-size", "16x48")
    assert tune(*flags)[0] == 0
    failed(tune("--resume", "--image-size", "16x32"), "image_size was '16x48' and is '16x32'")
    assert tune("--resume", "--iters", 6)[0] == 0
    begin = ("--resume-adapter-file", tmp_path / "out")
    assert tune(*begin, out="more")[0] == 0
    assert json.loads((tmp_path / "more" / "image_size.json").read_text()) == {
        "image_size": [16, 48]
    }


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("17x16", "expected a height that"),
        ("0x16", "expected a positive number"),
        ("1000000x16", "expected sides of 16384 at most"),
        ("wide", "'wide' is no size; expected HxW, such as 96x800, or one number for both"),
    ],
)
def test_image_sizes_that_are_refused(tune, tmp_path, size, said):
    failed(tune("--image-size", size), said)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_model_without_a_processor(tune, run, model, tmp_path):
    """Each command that is proposed names the processor; the adapters bring its image steps."""
    other = tmp_path / "other"
    load(model)[1].save_pretrained(other)
    for path in (*model.glob("*processor*.json"), *model.glob("tokenizer*")):
        path.unlink()
    failed(tune(), "--processor")
    code, _, err = tune("--processor", other)
    assert code == 0, err
    assert (tmp_path / "out" / "preprocessor_config.json").is_file()
    following = [line.split()[1:] for line in err.splitlines() if line.startswith("  mlx_vedec")]
    assert len(following) == 3 and all(str(other) in words for words in following)
    assert run(*following[0])[0] == 0
    assert run(*following[1][:-1], LINE)[0] == 0
    assert run(*following[2][:-1], tmp_path / "fused")[0] == 0


# what is refused


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--rank", 0), "rank is 0; expected a whole number, 1 or more"),
        (("--targets", "q_porj"), "'q_porj' is no preset, and no layer's name; did you mean"),
        (("--epochs", 2), "epochs is 2; give one of the two"),
        (("--batch-size", 0), "batch_size is 0; expected 1 or more"),
        (("--max-samples", 0), "max_samples is 0; expected 1 or more"),
        (("--augment", "tilt=3"), "tilt is no change; expected some of rotate"),
        (("--optimizer", "sgd", "--momentum", 1.5), "momentum is 1.5; expected a number"),
        (("--quantize", 7), "7"),
        (("--data", "nowhere"), "nowhere does not exist"),
        (("--config", "nowhere.yaml"), "nowhere.yaml"),
        (("--config", "/dev/null"), "/dev/null is a device; expected a regular file"),
        (("--resume-adapter-file", "nowhere"), "nowhere"),
    ],
)
def test_what_is_refused(tune, tmp_path, flags, said):
    failed(tune(*flags), said)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(tune, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    code, out, err = tune(out="loop")
    assert code == 1 and not out and "loop cannot be made a folder" in err.splitlines()[-1]


def test_data_that_cannot_be_learned_from(run, model, tmp_path):
    def tried(*flags, **splits):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        data = fill(tmp_path / "data", **splits)
        common = ("--model", model, "--adapter-path", tmp_path / "out", "--iters", 1)
        return run("lora", "--train", "--data", data, *common, *flags)

    failed(tried(train=[]), "train.jsonl has no samples")
    failed(tried(valid=["tea"]), "has no split train")
    failed(tried("--test", train=["tea"]), "has no split test")
    both = tried(train=["tea", ""], valid=["b" * 40])
    failed(both, "train.jsonl:2: the text is empty")
    failed(both, "valid: 1 problem in the data:")
    failed(both, "the text has 42 tokens with its prompt and its end")
    assert not (tmp_path / "out").exists()


def test_all_missing_images_are_told_at_once(tune, data):
    rows = [{"image": f"{name}.png", "text": "tea"} for name in ("one", "train", "two")]
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = tune()
    failed(result, "one.png")
    failed(result, "two.png")
    assert "2 problems in the data" in result[2]


def test_there_has_to_be_something_to_do(tune):
    failed(tune(train=()), "give --train, --test or both")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tune, tmp_path, monkeypatch):
    from mlx_vedec.training import state

    write_tensors, left = state.write_tensors, [8]

    def failing(path, tensors):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write_tensors(path, tensors)

    monkeypatch.setattr(state, "write_tensors", failing)
    code, _, err = tune("--save-every", 1, "--steps-per-eval", 1)
    assert code == 1 and "No space left on device" in err.splitlines()[-1]
    assert "make room, and resume" in err.splitlines()[-1]
    monkeypatch.undo()
    assert [*(tmp_path / "out" / "training_state").glob("[0-9]*")]
    code, _, err = tune("--save-every", 1, "--steps-per-eval", 1, "--resume")
    assert code == 0, err


def without_dropout(model):
    """Processes draw for themselves."""
    config = json.loads((model / "config.json").read_text())
    for half in ("encoder", "decoder"):
        rates = {name: 0.0 for name in config[half] if "dropout" in name}
        config[half] |= rates
    (model / "config.json").write_text(json.dumps(config))


@pytest.mark.slow
def test_two_processes_share_the_work(tune, model, data, tmp_path):
    """The first writes and speaks; losses and error rates are those of one process."""
    without_dropout(model)
    assert tune("--generate", out="one")[0] == 0
    argv = ["-m", "mlx_vedec", "lora", "--train", "--test", "--generate", "--model", model]
    argv += ["--data", data, "--adapter-path", tmp_path / "two", "--iters", 4, "--batch-size", 2]
    first, second = two_processes(tmp_path, *argv)
    assert first[0] == 0 and first[1].splitlines()[-1] == str(tmp_path / "two"), first
    assert second == (0, "", "")
    one, two = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    for name in ("train_loss", "val_loss", "cer"):
        values = [[line[name] for line in lines if name in line] for lines in (one, two)]
        assert values[0] and values[0] == pytest.approx(values[1], rel=1e-4), name
