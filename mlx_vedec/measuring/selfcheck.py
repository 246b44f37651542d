"""Every family on this machine against values that are known, and the bundled model's tokens.

`assets/selfcheck.safetensors` has, for the models of `selfcheck_models`, some of the values that
they compute in float32 on a CPU, as floats and with weights of 8 and of 4 bits; transformers
computes them too (`tests/parity/test_selfcheck_golden.py`), and
`tests/benchmarks/make_golden_selfcheck.py` writes them.

An error is the largest difference, relative to the largest value. On an x86 CPU the largest of all
families was 1.0e-6 in float32, 2.7e-3 in float16 and 2.2e-2 in bfloat16; of 6 families with 8 or 4
bits in float16, 8.9e-3. `PRECISIONS` allows three to four times as much, and 2e-5 in float32, where
another device may compute `exp` and `erf` otherwise. A newer GPU multiplies float32 in TF32, with
errors as of float16, unless MLX_ENABLE_TF32=0 is set before MLX is loaded; the command sets it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from ..checkpoints.quantizing import quantize
from ..checkpoints.weights import read_file
from ..data.datasets import LINES
from ..errors import OptionError, nearest
from ..layers.compiled import on_gpu
from ..layers.quantization_config import QuantizationConfig
from ..reading.generate import batch_generate, generate
from ..reading.load import BUNDLED, load
from .machine import Measured
from .selfcheck_models import FAMILIES, answers, small_model

GOLDEN = BUNDLED / "selfcheck.safetensors"
LINE = LINES / "seen_000.png"  # what is timed
VALUES = 193  # that are kept of an answer
BEAMS = {"greedy": 1, "4 beams": 4}
RUNS = 5


class Precision(NamedTuple):
    """A type of floats, the bits of quantized weights or None, and the largest error that passes.

    On a CPU what is quantized is computed in float32, as `load` would: MLX's product in float16
    takes twenty times as long there.
    """

    dtype: mx.Dtype
    bits: int | None
    tolerance: float

    @property
    def in_use(self) -> mx.Dtype:
        """The type of floats that it is computed in."""
        return mx.float32 if self.bits and not on_gpu() else self.dtype


PRECISIONS = {
    "float32": Precision(mx.float32, None, 2e-5),
    "float16": Precision(mx.float16, None, 1e-2),
    "bfloat16": Precision(mx.bfloat16, None, 8e-2),
    "8-bit": Precision(mx.float16, 8, 3e-2),
    "4-bit": Precision(mx.float16, 4, 3e-2),
}


@dataclass(frozen=True)
class FamilyCheck:
    """The error of a family in each type; None where it is no number, or nothing was computed.

    problems -- by type, what was raised instead
    """

    family: str
    errors: dict[str, float | None]
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """The types whose error is too large."""
        return [
            name
            for name, error in self.errors.items()
            if error is None or error > PRECISIONS[name].tolerance
        ]


@dataclass(frozen=True)
class BundledCheck:
    """What the bundled model reads in its usual type, and how many lines it reads as it should.

    wrong -- by search, in float32, the files whose tokens are others
    """

    text: str
    milliseconds: float
    lines: int
    wrong: dict[str, list[str]]


@dataclass(frozen=True)
class SelfCheck(Measured):
    """The checks of all families and of the bundled model, and where they ran."""

    families: list[FamilyCheck]
    bundled: BundledCheck | None

    @property
    def failures(self) -> list[str]:
        """A line for each family, and each way of decoding, that failed."""
        failed = [f"{f.family} in {', '.join(f.failed)}" for f in self.families if f.failed]
        wrong = self.bundled.wrong if self.bundled else {}
        return failed + [f"the bundled model, {how}" for how, files in wrong.items() if files]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        tolerances = {name: precision.tolerance for name, precision in PRECISIONS.items()}
        return {"passed": self.passed, **asdict(self), "tolerances": tolerances}


def selfcheck(
    families: Iterable[str] | None = None, *, progress: Callable[[str], object] = lambda name: None
) -> SelfCheck:
    """Check families by their model types; None: all, and the bundled model.

    progress -- is told the name of each, as it is done

    >>> selfcheck(["vit", "trocr"]).passed
    True
    """
    chosen = [*FAMILIES] if families is None else [*families]
    for name in chosen:
        if name not in FAMILIES:
            raise OptionError(f"family is {name!r}; {nearest(name, FAMILIES)}")
    golden = read_file(GOLDEN)
    found = []
    for name in chosen:
        found.append(_family(name, golden))
        progress(name)
    bundled = None
    if families is None:
        bundled = _bundled(golden)
        progress("the bundled model")
    return SelfCheck(found, bundled)


def _family(name: str, golden: dict[str, mx.array]) -> FamilyCheck:
    errors: dict[str, float | None] = {}
    problems: dict[str, str] = {}
    for label, precision in PRECISIONS.items():
        expected = golden[golden_name(name, precision.bits)]
        try:
            errors[label] = _error(name, precision, expected)
        except Exception as error:  # whatever a device may raise is what is looked for here
            errors[label], problems[label] = None, f"{type(error).__name__}: {error}"
    return FamilyCheck(name, errors, problems)


def golden_name(family: str, bits: int | None) -> str:
    """The name of a family's values in the file of known values."""
    return family if bits is None else f"{family}.{bits}-bit"


def family_values(family: str, bits: int | None, dtype: mx.Dtype) -> list[mx.array]:
    """Sampled values of each answer of a family, its weights quantized before they are cast."""
    model = small_model(family)
    if bits is not None:
        quantize(model, QuantizationConfig(bits, recipe="uniform"))
    model.astype(dtype)
    return [sampled(x) for x in answers(family, model, dtype).values()]


def sampled(values: mx.array) -> mx.array:
    """193 values of an array, from all of its rows and columns, which are kept in the file."""
    places = np.arange(VALUES) * 104729 % values.size
    return values.reshape(-1)[mx.array(places)]


def _error(family: str, precision: Precision, expected: mx.array) -> float | None:
    got = family_values(family, precision.bits, precision.in_use)
    differences = [mx.abs(x.astype(mx.float32) - expected).max() for x in got]
    error = (mx.stack(differences).max() / mx.abs(expected).max()).item()
    assert isinstance(error, float)
    return error if math.isfinite(error) else None


def _bundled(golden: dict[str, mx.array]) -> BundledCheck:
    model, processor = load()
    text = generate(model, processor, LINE).text
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        generate(model, processor, LINE)
        seconds.append(time.perf_counter() - start)
    wrong = {
        how: [name for name, ids in read.items() if ids != golden[f"{how}.{name}"].tolist()]
        for how, read in bundled_tokens().items()
    }
    return BundledCheck(text, 1000 * statistics.median(seconds), len(check_lines()), wrong)


def check_lines() -> list[Path]:
    """The images that the bundled model reads: every eighth of those in the package."""
    return sorted(LINES.glob("*.png"))[::8]


def bundled_tokens() -> dict[str, dict[str, list[int]]]:
    """The tokens that the bundled model reads in float32, by way of decoding and file."""
    model, processor = load(dtype="float32")
    paths = check_lines()
    return {
        how: {
            path.name: [*result.tokens]
            for path, result in zip(
                paths, batch_generate(model, processor, paths, num_beams=beams), strict=True
            )
        }
        for how, beams in BEAMS.items()
    }
