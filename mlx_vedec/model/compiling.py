"""Which steps of a generation are compiled: those that are asked for, or that it pays for."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from ..decoders.decoder import Decoder
from ..decoders.step import CompiledStep
from ..errors import OptionError
from ..generation.compiled import CompiledSearches, check_compiles
from ..generation.flow import Flow
from ..generation.options import Options
from ..generation.search import Search, Step
from ..layers.compiled import has_compiler, on_gpu
from ..layers.decoder_cache import DecoderCache
from ..layers.kv_cache import bucket

PAYS = 10_000  # steps on a CPU: compiled, they would have saved about what the compiler takes


class Compiling:
    """The compiled functions of a model, kept from one generation to the next.

    steps -- that were taken with the model so far
    """

    def __init__(self) -> None:
        self.steps = 0
        self.searches = CompiledSearches()
        self._step: CompiledStep | None = None

    def __reduce__(self) -> Any:
        return Compiling, ()  # a copy of a model compiles its own

    def step_of(self, decoder: Decoder[Any]) -> CompiledStep:
        """The compiled step of a decoder as it is now."""
        if self._step is None or not self._step.is_of(decoder):
            self._step = CompiledStep(decoder)
        return self._step

    @property
    def traces(self) -> int:
        """How many shapes steps have been compiled for."""
        return self.searches.traces.made + (self._step.traces.made if self._step else 0)


class Stepper:
    """The steps of one generation, for its loop: of the decoder, and of the search after it."""

    def __init__(
        self, step: Step, decoder: Decoder[Any], compiling: Compiling, options: Options
    ) -> None:
        check_compiles(options)
        if options.compile and decoder.training:
            raise OptionError("compile=True with a model in training; call model.eval() before")
        self.plain, self.decoder, self.compiling = step, decoder, compiling
        self.asked = options.compile
        self._compiled: CompiledStep | None = None
        self._look()

    def __call__(
        self, tokens: mx.array, cache: DecoderCache, attention_mask: mx.array | None = None
    ) -> mx.array:
        """Append tokens (B, L) to a cache; returns the logits (B, V) after the last of them."""
        if tokens.shape[1] > 1 or not cache.length:
            return self.plain(tokens, cache, attention_mask)
        self.compiling.steps += 1
        self._look()
        return (self._compiled or self.plain)(tokens, cache, attention_mask)

    def advance(self, search: Search, state: Any, logits: mx.array) -> Any:
        """The state of a search one token on, given the logits (N, V) of the tokens fed."""
        if self._compiled is None:
            return search.advance(state, logits)
        return self.compiling.searches(search, state, logits)

    def flow(self) -> Flow:
        """A batch that is decoded by these steps."""
        return Flow(self, advance_search=self.advance, size=self.size)

    def size(self, images: int) -> int:
        """How many places are kept for images that go on: few sizes where steps are compiled."""
        return images if self._compiled is None else bucket(images)

    def _look(self) -> None:
        """Compile from now on, if it is asked for, or if it pays by now."""
        if self._compiled is not None or self.asked is False or self.decoder.training:
            return
        pays = on_gpu() or (self.compiling.steps >= PAYS and has_compiler())
        if self.asked or pays:
            self._compiled = self.compiling.step_of(self.decoder)
