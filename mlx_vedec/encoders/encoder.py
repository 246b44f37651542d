"""What all encoders are: pixels in, features out, a table of names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import mlx.core as mx

from ..config import Config
from ..layers import Trace
from ..outputs import EncoderOutput
from ..pretrained import Pretrained


@dataclass(kw_only=True)
class EncoderConfig(Config):
    """Base of the encoders' configs."""

    @property
    def feature_dims(self) -> int:
        """Width of the features: `hidden_size` in Hugging Face's configs."""
        raise NotImplementedError


C = TypeVar("C", bound=EncoderConfig)


class Encoder(Pretrained, Generic[C]):
    """Base of the encoders."""

    config_class: ClassVar[type[EncoderConfig]]
    config: C
    layers: list[Any]  # each of the family's own kind

    def __init__(self, config: C) -> None:
        super().__init__(config)

    def __call__(
        self,
        pixel_values: mx.array,
        *,
        interpolate_pos_encoding: bool = False,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> EncoderOutput:
        """Pixels (B, H, W, C) to features (B, S, D); on request, what each layer gave and attended.

        interpolate_pos_encoding -- resize the positions to an image of another size than the
        config's, in families that do not do so by themselves.
        """
        trace = Trace.of(output_attentions, output_hidden_states)
        features = self.features(pixel_values, interpolate_pos_encoding, trace)
        return EncoderOutput.traced(features, trace)

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) to features (B, S, D)."""
        raise NotImplementedError

    def through_layers(self, x: mx.array, trace: Trace, *context: Any) -> mx.array:
        """Tokens (B, S, D) through `self.layers`, each called with the context and the trace."""
        trace.keep(x)
        for layer in self.in_turn(self.layers):
            x = layer(x, *context, trace)
            trace.keep(x)
        return x
