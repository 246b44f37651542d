"""What all encoders are: pixels in, features out, a table of names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import mlx.core as mx

from ..config import Config
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
        """Pixels (B, H, W, C) to features (B, S, D)."""
        raise NotImplementedError
