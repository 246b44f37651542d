"""When a text runs in circles: two rules that end a row, both on arrays, so that no step waits.

"variance" is Nougat's (arXiv:2308.13418, §5.4): in a loop the largest logit of each step hardly
varies any more. "ngram" looks at the tokens: the row ends with one block several times in a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from .texts import Texts

WINDOW = 15  # steps of the largest logit that one variance is of
HISTORY = 200  # variances whose own variance is looked at
THRESHOLD = 0.015  # below it, a row is marked
LATEST = 4095  # and ends after min(1.15 n + 350, 4095) tokens, unless it recovers before

PERIODS = 64  # tokens of the longest block looked for
REPEATS = 4  # times it has to come in a row
LEAST = 32  # tokens that its repeats have to make together


@dataclass(frozen=True)
class Variance:
    """The rule's record of rows: largest logits (N, T), variances (N, ≤ 200), marks (N,)."""

    peaks: mx.array
    variances: mx.array
    ends: mx.array  # the step with which a marked row ends, 0 for the others
    steps: int = 0

    @classmethod
    def of(cls, rows: int) -> Variance:
        """The record of rows before their first step."""
        return cls(mx.zeros((rows, 0)), mx.zeros((rows, 0)), mx.zeros((rows,), mx.int32))

    def after(self, logits: mx.array) -> tuple[Variance, mx.array]:
        """The record after a step with logits (N, V), and which rows (N,) end with that step."""
        steps = self.steps + 1
        peaks = mx.concatenate([self.peaks, logits.max(axis=-1, keepdims=True)], axis=1)
        window = peaks[:, -WINDOW:]
        variance = _variance(window) / window.shape[1]
        variances = mx.concatenate([self.variances, variance[:, None]], axis=1)[:, -HISTORY:]
        if steps < HISTORY:
            return Variance(peaks, variances, self.ends, steps), mx.zeros(peaks.shape[:1], mx.bool_)
        flat = _variance(variances) < THRESHOLD
        mark = min(int(steps * 1.15 + 150 + HISTORY), LATEST)
        ends = mx.where(flat, mx.where(self.ends == 0, mark, self.ends), 0)
        return Variance(peaks, variances, ends, steps), (ends != 0) & (ends <= steps)

    def take(self, rows: mx.array) -> Variance:
        """The record of some of the rows."""
        return replace(
            self, peaks=self.peaks[rows], variances=self.variances[rows], ends=self.ends[rows]
        )


def _variance(values: mx.array) -> mx.array:
    """Unbiased variance of each row (N, n); nothing varies in a row of one."""
    return values.var(axis=1, ddof=1) if values.shape[1] > 1 else mx.zeros(values.shape[:1])


def loops(tokens: mx.array | Texts, prompt_length: int) -> mx.array:
    """Which rows (N, T) end, past their prompt, with a block several times in a row: (N,)."""
    texts = Texts.of(tokens)
    generated = texts.length - prompt_length
    most = generated if isinstance(generated, int) else texts.tokens.shape[1] - prompt_length
    if most < LEAST:
        return mx.zeros(texts.tokens.shape[:1], mx.bool_)
    tail = texts.last(min(most, PERIODS * REPEATS))
    indices, counted, spans = _comparisons(tail.shape[1])
    same = tail[:, mx.array(indices)] == tail[:, None, ::-1]
    found = (same | ~mx.array(counted)).all(axis=2)
    return (found & (mx.array(spans) <= generated)).any(axis=1)


def _comparisons(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each period p that fits, the place p before each place counted from the end, (p, length).

    The second array says which of the comparisons a loop of that period needs, the third how many
    tokens such a loop has, (p,).
    """
    periods = np.arange(1, PERIODS + 1)[:, None]
    spans = np.maximum(LEAST, periods * REPEATS)
    from_end = np.arange(length)
    needed = np.broadcast_to(from_end < spans - periods, (PERIODS, length))
    fits = (spans <= length)[:, 0]
    before = np.maximum(length - 1 - from_end - periods, 0)
    return before[fits].astype(np.int32), needed[fits], spans[fits, 0].astype(np.int32)
