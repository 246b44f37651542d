"""How far a model's confidence can be trusted: confidence against being right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EDGES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)  # finer where most confidences are


@dataclass(frozen=True)
class Bin:
    """The samples whose confidence is from `low` to `high`.

    count -- how many they are. confidence -- its mean, 0 to 1. right -- the share of them that was
    read without an error, 0 to 1
    """

    low: float
    high: float
    count: int
    confidence: float
    right: float


def calibration(confidences: Sequence[float], right: Sequence[bool]) -> tuple[Bin, ...]:
    """Samples grouped by confidence, groups without samples left out; all are in one of them.

    A confidence is the geometric mean of the probabilities of a text's tokens, so it falls less
    with a text's length than the chance of being right does.

    >>> calibration([0.95, 0.97, 0.4], [True, False, False])[1]
    Bin(low=0.95, high=0.99, count=2, confidence=0.96, right=0.5)
    """
    bins = []
    for low, high in zip(EDGES, EDGES[1:], strict=False):
        own = [
            (confidence, good)
            for confidence, good in zip(confidences, right, strict=True)
            if low <= confidence < high or confidence == high == EDGES[-1]
        ]
        if own:
            mean = sum(confidence for confidence, _ in own) / len(own)
            bins.append(Bin(low, high, len(own), mean, sum(g for _, g in own) / len(own)))
    return tuple(bins)


def calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance of confidence and being right, weighted by the samples; 0 is perfect."""
    count = sum(one.count for one in bins)
    return sum(one.count * abs(one.confidence - one.right) for one in bins) / max(count, 1)
