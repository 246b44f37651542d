"""Confidence against being right."""

import json

import pytest

from mlx_vedec import commands
from mlx_vedec.measuring.confidences import calibration, calibration_error
from tests.conftest import DATA


def test_every_sample_is_in_one_group():
    confidences = [0.0, 0.1, 0.5, 0.69, 0.7, 0.9, 0.95, 0.989, 0.99, 1.0]
    bins = calibration(confidences, [True] * len(confidences))
    assert sum(one.count for one in bins) == len(confidences)
    assert [one.count for one in bins] == [2, 2, 1, 1, 2, 2]
    assert all(one.low <= one.confidence <= one.high for one in bins)


def test_the_error_is_the_mean_distance():
    bins = calibration([0.96, 0.96, 0.2, 0.2], [True, False, False, False])
    assert [one.right for one in bins] == [0.0, 0.5]
    assert calibration_error(bins) == pytest.approx((2 * 0.2 + 2 * 0.46) / 4)
    assert calibration_error(calibration([1.0], [True])) == 0.0 == calibration_error(())


def test_evaluate_prints_it(tmp_path, capsys):
    lines = DATA / "lines"
    rows = [("seen_000.png", "_VANE_"), ("seen_006.png", "wheel 206,4")]
    table = "".join(f"{lines / name}\t{text}\n" for name, text in rows)
    (tmp_path / "labels.tsv").write_text(table)
    flags = ["evaluate", "--data", str(tmp_path / "labels.tsv"), "--bootstrap", "0"]
    assert commands.main(flags) == 0
    said = capsys.readouterr().out
    assert "calibration: confidence and being right are" in said and "% without an error" in said
    assert commands.main([*flags, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert sum(one["count"] for one in found["calibration"]) == 2
    right = sum(one["count"] * one["right"] for one in found["calibration"])
    assert right == pytest.approx(1)
