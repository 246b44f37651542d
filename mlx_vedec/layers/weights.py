"""The arrays of modules as inputs of a function, for what is compiled or exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import mlx.core as mx
import mlx.nn as nn


class Weights:
    """Every array that a module and those inside it hold, those that are not parameters too.

    A function that is traced while its own inputs stand in for them has none of them in it: it goes
    on with weights that are changed later, and holds no memory.

    >>> weights = Weights(nn.Linear(2, 3))
    >>> weights.names
    ['bias', 'weight']
    """

    def __init__(self, module: nn.Module) -> None:
        found: dict[tuple[int, str], tuple[str, nn.Module]] = {}  # one entry of what has two names
        for path, inner in module.named_modules():
            for key, value in inner.items():
                if isinstance(value, mx.array):
                    name = f"{path}.{key}" if path else key
                    found.setdefault((id(inner), key), (name, inner))
        self._places = sorted((name, key, inner) for (_, key), (name, inner) in found.items())

    @property
    def names(self) -> list[str]:
        """The path of every array, in the order of `arrays`."""
        return [name for name, _, _ in self._places]

    def alike(self, other: Weights) -> bool:
        """Whether the other's are in the same modules under the same names."""
        ours, theirs = (
            [(name, id(module)) for name, _, module in weights._places] for weights in (self, other)
        )
        return ours == theirs

    def arrays(self) -> list[mx.array]:
        """The arrays that are there now."""
        return [module[key] for _, key, module in self._places]

    @contextmanager
    def replaced(self, arrays: Sequence[mx.array]) -> Iterator[None]:
        """Let others stand in their places for a while."""
        own = self.arrays()
        self._put(arrays)
        try:
            yield
        finally:
            self._put(own)

    def _put(self, arrays: Sequence[mx.array]) -> None:
        for (_, key, module), array in zip(self._places, arrays, strict=True):
            module[key] = array
