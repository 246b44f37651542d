"""What every step of a generation gives besides its logits: attentions and hidden states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from ..layers.decoder_cache import DecoderCache
from ..layers.outputs import Arrays, EncoderOutput, Trace


class Tracing:
    """A model's step, of which it keeps a trace each time: those of one generation.

    step -- gives the logits (B, V) after tokens (B, L), which it appends to a cache; it is called
    with the tokens, the cache, a mask and a trace
    """

    def __init__(
        self, step: Callable[..., mx.array], attentions: bool, hidden_states: bool
    ) -> None:
        self.step, self.attentions, self.hidden_states = step, attentions, hidden_states
        self.traces: list[Trace] = []

    @property
    def encoding(self) -> dict[str, bool]:
        """The encoder's options that ask for the same."""
        asked = {"output_attentions": self.attentions, "output_hidden_states": self.hidden_states}
        return {name: value for name, value in asked.items() if value}

    def __call__(
        self, tokens: mx.array, cache: DecoderCache, attention_mask: mx.array | None
    ) -> mx.array:
        """The logits (B, V) after tokens (B, L), which are appended to a cache."""
        if not cache.length:  # a generation that begins, perhaps again in float32
            self.traces.clear()
        trace = Trace.of(self.attentions, self.hidden_states)
        logits = self.step(tokens, cache, attention_mask, trace)
        self.traces.append(trace)
        return logits

    def fields(self, encoded: EncoderOutput, steps: int, per_image: int) -> dict[str, Any]:
        """Those of a `GenerateOutput`, of its first so many steps.

        per_image -- rows of an image; the first step fed one, which stands for all.
        """
        traces = self.traces[:steps]

        def of_steps(name: str) -> tuple[Arrays, ...]:
            first, *rest = (tuple(getattr(trace, name)) for trace in traces)
            return (tuple(mx.repeat(x, per_image, axis=0) for x in first), *rest)

        found: dict[str, Any] = {}
        if self.attentions:
            found["encoder_attentions"] = encoded.attentions
            found["decoder_attentions"] = of_steps("attentions")
            found["cross_attentions"] = of_steps("cross_attentions")
        if self.hidden_states:
            found["encoder_hidden_states"] = encoded.hidden_states
            found["decoder_hidden_states"] = of_steps("hidden_states")
        return found
