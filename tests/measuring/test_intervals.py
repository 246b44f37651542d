"""Intervals: how often they hold what they say, and what paired draws see."""

import numpy as np
import pytest

from mlx_vedec.errors import MetricError
from mlx_vedec.measuring.intervals import Difference, differences, estimates
from mlx_vedec.text.error_rates import ERRORS, SHARES, Share


def shares_of(ratios, whole=10):
    return [Share(ratio * whole, whole) for ratio in ratios]


def test_intervals_hold_the_mean_of_normal_samples_about_as_often_as_said():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        ratios = np.clip(rng.normal(0.5, 0.1, 60), 0, 1)
        found = estimates({"cer": shares_of(ratios)}, bootstrap=300, seed=seed)["cer"]
        held += found.low <= 0.5 <= found.high
    assert 88 <= held <= 99


def test_intervals_come_from_the_seed():
    shares = {"cer": shares_of([0.1, 0.4, 0.2, 0.9, 0.0])}
    first, again, other = (estimates(shares, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first["cer"].value == pytest.approx(0.32)
    assert 0 <= first["cer"].low < 0.32 < first["cer"].high <= 0.9
    assert estimates(shares, bootstrap=0)["cer"].low is None


def test_long_samples_weigh_more():
    shares = {"cer": [Share(0, 100), Share(2, 2)]}
    assert estimates(shares)["cer"].value == pytest.approx(2 / 102)


def test_draws_without_any_reference_are_left_out():
    found = estimates({"cer": [Share(0, 0), Share(1, 2)]}, bootstrap=50)["cer"]
    assert (found.low, found.high) == (0.5, 0.5)


def test_paired_differences_see_what_unpaired_intervals_do_not():
    """Each sample is read a little better, which hardness that varies would hide."""
    hardness = np.linspace(0.1, 0.9, 40)
    mine, theirs = ({"cer": shares_of(hardness - gain)} for gain in (0.02, 0.0))
    found = differences(mine, theirs)["cer"]
    assert found.value == pytest.approx(-0.02) and found.significant and found.high < 0
    assert (found.better, found.worse) == (40, 0)
    apart = [estimates(shares)["cer"] for shares in (mine, theirs)]
    assert apart[0].high > apart[1].low


@pytest.mark.parametrize("name", list(SHARES))
def test_better_goes_by_the_metric(name):
    mine, theirs = {name: [Share(3, 10), Share(1, 10)]}, {name: [Share(1, 10), Share(1, 10)]}
    found = differences(mine, theirs)[name]
    assert (found.better, found.worse) == ((0, 1) if name in ERRORS else (1, 0))
    assert not found.significant  # one of two samples: zero is among the draws


def test_no_draws_are_never_significant():
    assert not Difference(0.5).significant


def test_fewer_draws_than_none():
    with pytest.raises(MetricError, match="bootstrap is -1; expected 0"):
        estimates({"cer": [Share(1, 2)]}, bootstrap=-1)
