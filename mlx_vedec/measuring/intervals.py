"""How far a metric may be trusted: bootstrap intervals over the samples (Efron 1979)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import MetricError
from ..generation.values import is_int
from ..text.error_rates import ERRORS, Share, check_lengths, check_names, total
from .page_scores import TRUE_LINES

LEVEL = 95  # per cent
DRAWS = 1_000_000
LOWER = (*ERRORS, TRUE_LINES)  # metrics of which less is better

Shares = Mapping[str, Sequence[Share]]  # of each metric, a share per sample


@dataclass(frozen=True)
class Estimate:
    """A metric with the interval that holds 95 % of what it is on resampled samples.

    low, high -- None where no samples were drawn again
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Difference(Estimate):
    """How much higher a metric is than for another model on the same samples.

    better, worse -- on how many samples it is, counted as the metric counts
    """

    better: int = 0
    worse: int = 0

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def estimates(shares: Shares, *, bootstrap: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Each metric with its interval: the percentiles of `bootstrap` draws of as many samples.

    The draws depend on the seed and the number of samples only. bootstrap=0 leaves them out.

    >>> estimates({"cer": [Share(1, 10), Share(3, 10)]}, seed=1)
    {'cer': Estimate(value=0.2, low=0.1, high=0.3)}
    """
    drawn = _draws(shares, bootstrap, seed)
    return {name: Estimate(total(name, shares[name]), *_bounds(drawn[name])) for name in shares}


def differences(
    shares: Shares, others: Shares, *, bootstrap: int = 1000, seed: int = 0
) -> dict[str, Difference]:
    """By how much each metric differs from another model's, with the interval of the paired draws.

    Each draw takes the same samples of both, so that what is hard for both does not count.
    """
    check_names(shares, others)
    mine, theirs = _draws(shares, bootstrap, seed), _draws(others, bootstrap, seed)
    found = {}
    for name in shares:
        check_lengths(shares[name], others[name])
        value = total(name, shares[name]) - total(name, others[name])
        rises = [a.ratio - b.ratio for a, b in zip(shares[name], others[name], strict=True)]
        up, down = sum(rise > 0 for rise in rises), sum(rise < 0 for rise in rises)
        better, worse = (down, up) if name in LOWER else (up, down)
        found[name] = Difference(value, *_bounds(mine[name] - theirs[name]), better, worse)
    return found


def check_bootstrap(bootstrap: int) -> None:
    """Refuse a number of draws that is none, or too many to be made in a minute or two."""
    if not (is_int(bootstrap) and 0 <= bootstrap <= DRAWS):
        raise MetricError(f"bootstrap is {bootstrap!r}; expected 0 (no intervals) to {DRAWS:,}")


def _draws(shares: Shares, bootstrap: int, seed: int) -> dict[str, np.ndarray]:
    """Each metric on every draw, (bootstrap,); NaN where all drawn references are empty."""
    check_bootstrap(bootstrap)
    names, rng = list(shares), np.random.default_rng(seed)
    pairs = np.array([shares[name] for name in names], dtype=np.float64)  # (metrics, samples, 2)
    count = pairs.shape[1]
    sums = np.empty((bootstrap, len(names), 2))
    for draw in range(bootstrap):
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        sums[draw] = times @ pairs
    parts, wholes = sums[..., 0], sums[..., 1]
    ratios = np.divide(parts, wholes, out=np.full_like(parts, np.nan), where=wholes > 0)
    return {name: ratios[:, place] for place, name in enumerate(names)}


def _bounds(values: np.ndarray) -> tuple[float | None, float | None]:
    values = values[~np.isnan(values)]
    if not values.size:
        return None, None
    low, high = np.percentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)
