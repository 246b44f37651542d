"""`convert` on images: bits chosen, weights rounded, what was lost written down, then uploaded."""

import json
import shutil

import mlx.core as mx
import pytest

from mlx_vedec import VisionEncoderDecoderModel, commands, load
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.commands.common import count
from mlx_vedec.layers.packed import bits_per_weight
from mlx_vedec.reading.load import BUNDLED
from tests.conftest import DATA
from tests.support.tiny import tiny_model

LINES = BUNDLED / "lines"


@pytest.fixture
def few(tmp_path):
    """A folder of six lines and their labels."""
    return lines_in(tmp_path / "few", 6)


def lines_in(folder, count):
    folder.mkdir()
    rows = (LINES / "labels.tsv").read_text(encoding="utf-8").splitlines()
    rows = [row for row in rows if row.split("\t")[0].endswith(".png")][::10][:count]
    (folder / "labels.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for row in rows:
        shutil.copy(LINES / row.split("\t")[0], folder)
    return folder


def run(*flags):
    return commands.main(["convert", "--model", str(BUNDLED), *map(str, flags)])


@pytest.mark.slow
def test_verified(tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--mlx-path", out, "-q", "--verify", lines_in(tmp_path / "two", 2)) == 0
    report = json.loads((out / "verification.json").read_text())
    assert report["images"] == 2
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (BUNDLED, out)]
    assert [report["original"]["bytes"], report["changed"]["bytes"]] == sizes
    assert report["original"]["error_rate"] is not None
    shown = capsys.readouterr()
    assert shown.out == f"{out}\n" and "of 2 texts unchanged" in shown.err


@pytest.mark.slow
def test_bits_chosen_for_a_size(few, tmp_path):
    out, image = tmp_path / "out", next(few.glob("*.png"))
    assert run("--mlx-path", out, "-q", "--target-bpw", 5.5, "--images", image) == 0
    model = VisionEncoderDecoderModel.from_folder(out)
    assert 5.2 < bits_per_weight(model) <= 5.5
    bits = {leaf.bits for _, leaf in model.named_modules() if hasattr(leaf, "bits")}
    assert len(bits) > 1


@pytest.mark.slow
def test_calibrated(few, tmp_path, capsys):
    plain, out = tmp_path / "plain", tmp_path / "out"
    two = ("-q", "--q-bits", 2, "--quant-predicate", "uniform")
    assert run("--mlx-path", plain, *two) == 0
    assert run("--mlx-path", out, *two, "--calibrate", "--images", few) == 0
    assert "calibrated on 5 images: divergence" in capsys.readouterr().err
    before, after = (
        parameters(VisionEncoderDecoderModel.from_folder(folder)) for folder in (plain, out)
    )
    shapes = [{n: (x.shape, x.dtype) for n, x in model.items()} for model in (before, after)]
    assert shapes[0] == shapes[1]
    assert any(not mx.array_equal(before[name], after[name]) for name in before)
    assert {path.name for path in plain.iterdir()} == {path.name for path in out.iterdir()}


@pytest.mark.slow
def test_uploaded(few, tmp_path, monkeypatch, capsys):
    sent = {}

    def upload(path, repo, *, private, say):
        sent.update(path=path, repo=repo, private=private, files={x.name for x in path.iterdir()})
        return "the address"

    monkeypatch.setattr("mlx_vedec.conversion.upload.upload", upload)
    out = tmp_path / "out"
    flags = ("--verify", few, "--upload-repo", "me/ocr", "--private")
    assert run("--mlx-path", out, "-q", *flags) == 0
    assert capsys.readouterr().out == f"{out}\nthe address\n"
    assert (sent["path"], sent["repo"], sent["private"]) == (out, "me/ocr", True)
    assert {"verification.json", "verification.md", "model.safetensors"} <= sent["files"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-q", "--target-bpw", 4.5), "need --images"),
        (("-q", "--calibrate"), "need --images"),
        (("--calibrate", "--images", LINES), "add -q"),
        (("-q", "--q-bits", 4, "--target-bpw", 5, "--images", LINES), "chooses the bits itself"),
        (
            ("-q", "--quant-predicate", "head", "--target-bpw", 5, "--images", LINES),
            "leave out flags",
        ),
        (("-q", "--target-bpw", 0, "--images", LINES), "are out of reach"),
        (("-q", "--target-bpw", 1.5, "--images", LINES), "are out of reach"),
        (("-q", "--verify", DATA / "none"), "there is no "),
        (("-q", "--verify", "--dry-run"), "leave them out"),
        (("--private",), "without --upload-repo"),
    ],
)
def test_refused_before_anything_is_written(flags, message, tmp_path, capsys):
    assert run("--mlx-path", tmp_path / "out", *flags) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_verify_needs_images_for_other_models(tmp_path, capsys):
    source = tmp_path / "tiny"
    model, processor = tiny_model(), load()[1]
    model.save_pretrained(source)
    processor.save_pretrained(source)
    config = json.loads((source / "preprocessor_config.json").read_text())
    config.pop("line_aspect_ratio")
    (source / "preprocessor_config.json").write_text(json.dumps(config))
    flags = ["--model", str(source), "--mlx-path", str(tmp_path / "out"), "-q", "--verify"]
    assert commands.main(["convert", *flags]) == 1
    assert "images are needed" in capsys.readouterr().err


def test_counts_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    shown = count("images")
    shown(1, 2)
    shown(2, 2)
    assert capsys.readouterr().err == "\r\033[K1 of 2 images\r\033[K2 of 2 images\n"
