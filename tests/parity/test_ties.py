"""Which of equal scores count as the highest, and what beams give where candidates are lacking."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mlx_vedec.generation.ties import highest
from tests.parity.reference import generate_both, lively_pair, one_thread, same_sequences, torch

VALUES = (0.0, -1.0, -3.25, -1e9, -1e9, -1e9, -2e9, -np.inf)


@pytest.fixture(autouse=True, scope="module")
def threads():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return lively_pair(tmp_path_factory.mktemp("ties"))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 17, 20, 40])
def test_the_highest_of_equals_are_torchs(count):
    draw = random.Random(count)
    for times in (1, 2, 3, 3, 37, 64, 100):
        values = np.array([draw.choice(VALUES) for _ in range(times * count)], np.float32)
        theirs = torch.topk(torch.from_numpy(values)[None], count)[1][0]
        assert highest(values, count) == theirs.tolist()


def test_a_forced_end_leaves_beams_without_a_candidate(models):
    ours, theirs = generate_both(
        models, num_beams=3, num_return_sequences=3, max_new_tokens=1, forced_eos_token_id=2
    )
    assert ours.sequences.tolist()[:3] == [[2, 2], [2, 2], [2, 1]]
    same_sequences(ours, theirs)


def cases(seed: int):
    """Options that leave fewer candidates than beams, or several alike, drawn at random."""
    draw = random.Random(seed)
    beams = draw.choice([2, 3, 4, 5, 7])
    options = {
        "num_beams": beams,
        "num_return_sequences": draw.randint(1, beams),
        "max_new_tokens": draw.choice([1, 1, 2, 3, 5]),
        "length_penalty": draw.choice([1.0, 0.0, 2.0]),
        "early_stopping": draw.choice([True, False, "never"]),
    }
    if draw.random() < 0.7:
        options["forced_eos_token_id"] = draw.choice([2, 5, [2, 5], [7, 8, 2]])
    if draw.random() < 0.4:
        options["forced_bos_token_id"] = draw.choice([2, 9, 5])
    if draw.random() < 0.3:
        count = draw.choice([1, 2])
        options["prefix_allowed_tokens_fn"] = lambda image, tokens: [
            (7 * image + 5 * int(tokens[-1]) + 3 * step) % 37 for step in range(count)
        ]
    if draw.random() < 0.3:
        options["eos_token_id"] = draw.choice([[2, 5], [2, 9, 7], 5])
    return options


@pytest.mark.parametrize("seed", range(24))
def test_small_cases_drawn_at_random(models, seed):
    same_sequences(*generate_both(models, rows=2, **cases(seed)))
