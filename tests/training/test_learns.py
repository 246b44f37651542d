"""The command and the example learn: the bundled model, and a typeface that it reads badly."""

from __future__ import annotations

import csv
import json
import re
import runpy

import pytest

from mlx_vedec import batch_generate, load
from mlx_vedec.reading.load import BUNDLED
from mlx_vedec.training.callbacks import read_metrics
from tests.commands.test_commands import run
from tests.conftest import ROOT

pytest.importorskip("font_amatic_sc")
__all__ = ["run"]  # a fixture

EXAMPLE = ROOT / "examples" / "lora_finetune.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of 80 lines to learn from, and others to validate and test on."""
    folder, lines = tmp_path_factory.mktemp("amatic"), runpy.run_path(str(EXAMPLE))["lines"]
    for seed, (split, count) in enumerate({"train": 80, "valid": 8, "test": 16}.items()):
        (folder / split).mkdir()
        rows = []
        for number, (image, text) in enumerate(lines(count, seed)):
            image.save(folder / split / f"{number}.png")
            rows.append(json.dumps({"file_name": f"{number}.png", "text": text}) + "\n")
        (folder / split / "metadata.jsonl").write_text("".join(rows))
    return folder


@pytest.mark.slow
def test_the_example_learns(tmp_path, monkeypatch, capsys):
    argv = [str(EXAMPLE), "--iters", "12", "--adapter-path", str(tmp_path / "adapters")]
    monkeypatch.setattr("sys.argv", argv)
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    found = re.findall(r"^(before|after): +CER ([\d.]+)%$", capsys.readouterr().out, re.MULTILINE)
    rates = {when: float(rate) for when, rate in found}
    assert 5 < rates["before"] < 80 and rates["after"] < rates["before"] / 2
    model, processor = load(adapter_path=tmp_path / "adapters")
    image, text = runpy.run_path(str(EXAMPLE))["lines"](1, 5)[0]
    [result] = batch_generate(model, processor, [image])
    assert len(result.text) == pytest.approx(len(text), abs=6)


@pytest.mark.slow
def test_the_command_learns_and_what_is_fused_reads_alike(run, data, tmp_path):
    """CER on lines that were not learned from, of the base, with adapters, and fused."""

    def cer(*model):
        rows = tmp_path / "rows.csv"
        flags = ("--data", data, "--split", "test", "--json", "--bootstrap", 0, "--csv", rows)
        code, out, err = run("evaluate", *model, *flags)
        assert code == 0, err
        with rows.open(newline="", encoding="utf-8") as file:
            texts = [row["prediction"] for row in csv.DictReader(file)]
        return json.loads(out)["models"][0]["metrics"]["cer"]["value"], texts

    path, fused = tmp_path / "adapters", tmp_path / "fused"
    flags = ("--learning-rate", "3e-3", "--iters", 12, "--generate", "--json")
    code, out, err = run(
        "lora", "--train", "--test", "--data", data, "--adapter-path", path, *flags
    )
    assert code == 0, err
    base, _ = cer()
    tuned, texts = cer("--adapter-path", path)
    assert 0.05 < base < 0.8 and tuned < base * 2 / 3
    told = json.loads(out)
    assert told["test"]["cer"] == tuned and told["val_cer"] < base
    assert run("fuse", "--model", BUNDLED, "--adapter-path", path, "--save-path", fused)[0] == 0
    same, others = cer("--model", fused, "--dtype", "float32")  # from float16 weights
    assert abs(same - tuned) < 0.01
    assert sum(a != b for a, b in zip(texts, others, strict=True)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--quantize", 4),
        ("--fine-tune-type", "dora"),
        ("--fine-tune-type", "full", "--learning-rate", "5e-4"),
    ],
    ids=["4 bits", "dora", "full"],
)
def test_each_way_lowers_the_loss(run, data, tmp_path, flags):
    sizes = ("--iters", 4, "--batch-size", 4, "--val-batches", 1)
    common = ("--data", data, "--adapter-path", tmp_path, "--learning-rate", "3e-3", *sizes)
    code, _, err = run("lora", "--train", *common, *flags)
    assert code == 0, err
    losses = [line["val_loss"] for line in read_metrics(tmp_path / "metrics.jsonl")[::2]]
    assert len(losses) == 2 and losses[1] < 0.9 * losses[0]
    load(adapter_path=tmp_path, quantize=4 if "--quantize" in flags else None)
