"""Long lists of cases, of which the test command takes some, and `pytest -m slow` the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(number: int, cases: Iterable[Any]) -> list[Any]:
    """The first of every `number` cases as it is, the others marked slow.

    cases -- values, or tuples of as many as the test has parameters
    """
    return [
        pytest.param(*case if isinstance(case, tuple) else (case,), marks=pytest.mark.slow)
        if index % number
        else case
        for index, case in enumerate(cases)
    ]
