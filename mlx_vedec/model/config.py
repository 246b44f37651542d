"""The configuration of an image encoder and a text decoder put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..checkpoints import foreign
from ..checkpoints.config import Config, check_object
from ..decoders import DECODERS
from ..decoders.bert import BertConfig
from ..decoders.layer import DecoderConfig
from ..encoders import ENCODERS
from ..encoders.encoder import EncoderConfig
from ..encoders.vit import ViTConfig
from ..errors import ConfigError, spelt


@dataclass(kw_only=True)
class VisionEncoderDecoderConfig(Config):
    """An encoder's and a decoder's config, and the token ids that training with labels goes by.

    By default the two are a ViT's and a BERT's, as in transformers; each may be given as a dict.

    >>> from mlx_vedec import TrOCRConfig, ViTConfig
    >>> config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), TrOCRConfig())
    >>> config.decoder.is_decoder
    True
    """

    model_type: ClassVar[str] = "vision-encoder-decoder"
    encoder: EncoderConfig = field(default_factory=ViTConfig)
    decoder: DecoderConfig = field(
        default_factory=lambda: BertConfig(is_decoder=True, add_cross_attention=True)
    )
    decoder_start_token_id: int | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        for part, known in (("encoder", ENCODERS), ("decoder", DECODERS)):
            setattr(self, part, sub_config(vars(self), part, known))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VisionEncoderDecoderConfig:
        """Build from a parsed `config.json`, in which encoder and decoder name their model type."""
        check_object(values)
        if values.get("model_type", cls.model_type) != cls.model_type:
            foreign.refuse_config(values, "the checkpoint's")
        parts = {
            "encoder": sub_config(values, "encoder", ENCODERS),
            "decoder": sub_config(values, "decoder", DECODERS),
        }
        return super().from_dict({**values, **parts})

    @classmethod
    def from_encoder_decoder_configs(
        cls, encoder_config: EncoderConfig, decoder_config: DecoderConfig, **kwargs: Any
    ) -> VisionEncoderDecoderConfig:
        """Put two configs together; the decoder's is marked as one that reads an image."""
        parts = ((encoder_config, EncoderConfig), (decoder_config, DecoderConfig))
        for given, kind in parts:
            if not isinstance(given, kind):
                raise ConfigError(f"a part is {spelt(given)}; expected an {kind.__name__}")
        decoder_config.is_decoder = True
        decoder_config.add_cross_attention = True
        return cls(encoder=encoder_config, decoder=decoder_config, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """The encoder's and the decoder's config and everything else, ready for JSON."""
        parts = {"encoder": self.encoder.to_dict(), "decoder": self.decoder.to_dict()}
        named = {"architectures": ["VisionEncoderDecoderModel"]}
        return {**named, **super().to_dict(), **parts}

    def check(self) -> None:
        """Raise `ConfigError` for a wrong part, or where the decoder reads another width."""
        super().check()
        self.encoder.check()
        self.decoder.check()
        width, read = self.encoder.feature_dims, self.decoder.cross_attention_hidden_size
        if read is not None and read != width:
            raise ConfigError(
                f"the decoder's cross_attention_hidden_size is {read}, but the encoder's "
                f"hidden_size is {width}; make them equal, or leave the first one out"
            )

    @property
    def needs_projection(self) -> bool:
        """Whether `enc_to_dec_proj` stands between encoder and decoder."""
        same = self.encoder.feature_dims == self.decoder.shape.dims
        return not same and self.decoder.cross_attention_hidden_size is None


def sub_config(values: Mapping[str, Any], part: str, known: Mapping[str, Any]) -> Config:
    """The config of the encoder or the decoder, of the class that its model type names."""
    given = values.get(part)
    if isinstance(given, Config):
        return given
    if not isinstance(given, Mapping):
        found = json.dumps(given, default=repr)[:40]
        raise ConfigError(f"{part} is {found}; expected its config as an object")
    model_type = given.get("model_type")
    if not isinstance(model_type, str) or model_type not in known:
        code = given.get("auto_map") or values.get("auto_map")
        foreign.refuse_config({**given, "auto_map": code}, part)
        raise ConfigError(f"{part} model_type is {spelt(model_type)}; known are {', '.join(known)}")
    return known[model_type].config_class.from_dict(given)
