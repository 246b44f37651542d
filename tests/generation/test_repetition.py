"""When a text runs in circles, against plain Python on the same numbers."""

import statistics

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.generation import repetition
from mlx_vedec.generation.repetition import LEAST, PERIODS, REPEATS, Variance, loops


def in_circles(tokens):
    for period in range(1, PERIODS + 1):
        span = max(LEAST, period * REPEATS)
        tail = tokens[-span:]
        if len(tokens) >= span and all(tail[i] == tail[i - period] for i in range(period, span)):
            return True
    return False


def rows(period, repeats, before, noise):
    rng = np.random.default_rng(period * 1000 + repeats)
    block = rng.permutation(period).tolist()
    tokens = [*rng.integers(1000, 2000, before).tolist(), *block * repeats]
    if noise is not None:
        tokens[-noise] = 999
    return tokens


@pytest.mark.parametrize("period", [1, 2, 3, 7, 8, 9, 31, 64, 65])
@pytest.mark.parametrize("before", [0, 5, 300])
def test_loops(period, before):
    for repeats in {1, 3, 4, 5, 31 // period, 32 // period, 33 // period} - {0}:
        for noise in (None, 1, period * repeats):
            tokens = rows(period, repeats, before, noise)
            found = loops(mx.array([tokens]), 0).tolist()
            assert found == [in_circles(tokens)], (period, repeats, noise)


def test_the_prompt_is_no_part_of_a_loop_and_rows_are_apart():
    same = [5] * LEAST
    assert loops(mx.array([same, [*range(LEAST)]]), 0).tolist() == [True, False]
    assert loops(mx.array([same]), 1).tolist() == [False]
    assert loops(mx.array([[5, *same]]), 1).tolist() == [True]


def nougat(peaks):
    """The step a row ends with, by the rule as it is told, one number at a time."""
    variances, end = [], 0
    for step in range(1, len(peaks) + 1):
        window = peaks[max(0, step - repetition.WINDOW) : step]
        variance = statistics.variance(window) / len(window) if len(window) > 1 else 0.0
        variances = [*variances, variance][-repetition.HISTORY :]
        if step < repetition.HISTORY:
            continue
        if statistics.variance(variances) < repetition.THRESHOLD:
            end = end or min(int(1.15 * step + 350), 4095)
            if end <= step:
                return step
        else:
            end = 0
    return None


def followed(peaks):
    memory, ended = Variance.of(1), None
    for step, peak in enumerate(peaks, start=1):
        memory, ends = memory.after(mx.array([[peak, peak - 3.0]]))
        if ends.item():
            ended = step
            break
    return ended


@pytest.mark.slow
def test_logits_that_hardly_vary_end_a_row():
    rng = np.random.default_rng(0)
    lively = (rng.normal(0, 6, 260) + 20).tolist()
    flat = [20.0] * 700
    assert followed(flat) == nougat(flat) == int(1.15 * repetition.HISTORY + 350)
    assert followed(lively) is nougat(lively) is None
    later = lively + flat
    assert followed(later) == nougat(later) and 300 < nougat(later) < 960


def test_a_row_that_recovers_is_not_ended():
    rng = np.random.default_rng(1)
    peaks = [20.0] * 300 + (rng.normal(0, 8, 300) + 20).tolist()
    assert followed(peaks) is nougat(peaks) is None


def test_rows_are_followed_apart_and_can_be_taken():
    memory = Variance.of(2)
    rng = np.random.default_rng(2)
    for _ in range(repetition.HISTORY):
        memory, _ = memory.after(mx.array([[20.0], [20 + 8 * rng.normal()]]))
    assert memory.ends.tolist() == [580, 0]
    kept = memory.take(mx.array([1]))
    assert (kept.ends.tolist(), kept.steps) == ([0], repetition.HISTORY)
    assert mx.array_equal(kept.variances, memory.variances[1:])
