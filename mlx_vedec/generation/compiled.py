"""What follows a decoder's step, rules and all, as a function that MLX compiles."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from ..errors import OptionError
from ..layers.compiled import Traces, on_gpu
from ..layers.cpu import plain
from ..layers.kv_cache import STEP, bucket
from .options import Options, functions_of
from .search import Search

MOST_OPTIONS = 8  # settings whose functions are kept
MOST_SCORES = 2**20  # in a step on a CPU: what is fused goes number by number, and is slower then


def check_compiles(options: Options) -> None:
    """Raise `OptionError` where compile=True is asked for together with a Python function."""
    if options.compile and (names := functions_of(options)):
        raise OptionError(
            f"compile=True with {', '.join(names)}: functions of Python cannot be compiled; leave "
            "compile out, and all the rest is compiled where that is faster"
        )


class CompiledSearches:
    """`Search.advance` as a function that is compiled once for every shape and setting that comes.

    Searches of equal options share one. Buffers are of few sizes. Steps that have to look at values
    are taken by the search itself, as are those of one with functions, or with a mask.
    """

    def __init__(self) -> None:
        self.traces = Traces()
        self._functions: OrderedDict[Any, Callable[..., list[mx.array]]] = OrderedDict()

    def __call__(self, search: Search, state: Any, logits: mx.array) -> Any:
        """The state one token on, given the logits (N, V) of the tokens fed."""
        length = state.length
        slow = logits.size > MOST_SCORES and not on_gpu()
        if slow or not search.compiles or search.stopping.late or search.looks(length):
            return search.advance(state, logits)
        arrays = state.with_room(bucket(length + 1, STEP)).arrays()
        found = self._function(search, type(state))(arrays, logits, mx.array(length))
        return type(state).of(found, length + 1)

    def _function(self, search: Search, kind: Any) -> Callable[..., list[mx.array]]:
        key = search.settings
        if self.traces.overflow():
            self._functions.clear()
        if key not in self._functions:
            self._functions[key] = self._compiled(search, kind)
            if len(self._functions) > MOST_OPTIONS:
                self._functions.popitem(last=False)
        self._functions.move_to_end(key)
        return self._functions[key]

    def _compiled(self, search: Search, kind: Any) -> Callable[..., list[mx.array]]:
        traces = self.traces

        def function(arrays: list[mx.array], logits: mx.array, length: mx.array) -> list[mx.array]:
            traces.add()
            with plain():  # what is compiled is fused anyway
                return search.advanced(kind.of(arrays, length), logits, late=False).arrays()

        drawn = mx.random.state if search.options.do_sample else None
        return mx.compile(function, inputs=drawn, outputs=drawn)
