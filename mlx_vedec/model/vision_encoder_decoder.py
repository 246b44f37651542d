"""An image encoder and a text decoder as one model: forward pass, loss, generation, loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.config import read_json
from ..checkpoints.pretrained import Pretrained
from ..checkpoints.renames import Renames
from ..decoders import DECODERS
from ..decoders.decoder import Decoder
from ..encoders import ENCODERS
from ..encoders.encoder import Encoder
from ..errors import ConfigError, OptionError, TokenError, check_type
from ..generation.config import GenerationConfig
from ..generation.disputes import disputes, ids_in_force, places_of
from ..layers.decoder_cache import DecoderCache
from ..layers.initialisers import chosen_rows, initialise
from ..layers.outputs import EncoderOutput, Seq2SeqLMOutput
from ..layers.token_ids import IGNORED, as_ids, check_ids, cross_entropy
from .assembly import assemble
from .compiling import Compiling
from .config import VisionEncoderDecoderConfig
from .generate import GenerationMixin


class VisionEncoderDecoderModel(GenerationMixin, Pretrained):
    """Pixels in, tokens out: `model(pixels, labels=labels).loss`, `model.generate(pixels)`.

    >>> from mlx_vedec import TrOCRConfig, ViTConfig, VisionEncoderDecoderConfig
    >>> parts = ViTConfig(image_size=32, num_hidden_layers=2), TrOCRConfig(decoder_layers=2)
    >>> config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(*parts)
    >>> model = VisionEncoderDecoderModel(config)
    """

    config_class = VisionEncoderDecoderConfig
    config: VisionEncoderDecoderConfig

    def __init__(
        self,
        config: VisionEncoderDecoderConfig | None = None,
        encoder: Encoder[Any] | None = None,
        decoder: Decoder[Any] | None = None,
    ) -> None:
        if config is None:
            if not isinstance(encoder, Encoder) or not isinstance(decoder, Decoder):
                raise ConfigError("give a config, or an encoder and a decoder")
            config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
                encoder.config, decoder.config
            )
        given = {"config": config, "encoder": encoder, "decoder": decoder}
        kinds = (VisionEncoderDecoderConfig, (Encoder, NoneType), (Decoder, NoneType))
        for (name, part), kind in zip(given.items(), kinds, strict=True):
            check_type(name, part, kind, f"a {name} of this package")
        super().__init__(config)
        self.encoder = encoder or ENCODERS[config.encoder.model_type](config.encoder)
        self.decoder = decoder or DECODERS[config.decoder.model_type](config.decoder)
        if config.needs_projection:
            self.enc_to_dec_proj = nn.Linear(config.encoder.feature_dims, config.decoder.shape.dims)
            initialise(self.enc_to_dec_proj, 0.02)
        self.generation_config = GenerationConfig.from_configs(config.to_dict())
        self._disputes = ()
        self._compiling = Compiling()
        self.renames = (  # pyright: ignore[reportAttributeAccessIssue]
            self.encoder.renames.under("encoder.")
            + self.decoder.renames.under("decoder.")
            + Renames(pairs=(("enc_to_dec_proj", "enc_to_dec_proj"),))
        )

    @property
    def ties_head(self) -> bool:
        """Whether the decoder's config makes one matrix of its embedding and its head."""
        return self.decoder.ties_head

    def untie(self) -> None:
        """Give the decoder's head weights of its own."""
        self.decoder.untie()

    def __call__(
        self,
        pixel_values: mx.array | None = None,
        decoder_input_ids: mx.array | None = None,
        decoder_attention_mask: mx.array | None = None,
        encoder_outputs: EncoderOutput | tuple[mx.array, ...] | None = None,
        past_key_values: DecoderCache | None = None,
        decoder_inputs_embeds: mx.array | None = None,
        labels: mx.array | None = None,
        use_cache: bool | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        interpolate_pos_encoding: bool = False,
        **kwargs: mx.array,
    ) -> Seq2SeqLMOutput | tuple[Any, ...]:
        """Logits (B, L, V), and the loss where there are labels.

        labels (B, L) -- -100 is left out of the mean; they become the decoder's input, shifted by
        the start token, unless that is given. use_cache -- return `past_key_values` for the next
        call; by default only in `eval()` mode and without labels. Padding in decoder_input_ids is
        attended like any token unless decoder_attention_mask (B, L) says otherwise, as transformers
        computes. Further keywords that begin with `decoder_` go to the decoder.
        """
        if labels is not None:
            kwargs.pop("input_ids", None)  # the same tokens once more, in a batch of Donut's
        check_type("use_cache", use_cache, (int, NoneType), "True or False")
        further = _for_decoder(kwargs)
        traced = {
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
        }
        encoded = self._encoded(
            pixel_values,
            encoder_outputs,
            interpolate_pos_encoding=interpolate_pos_encoding,
            **traced,
        )
        if labels is not None:
            labels = as_ids(labels, "labels")
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        decoded = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            self.memory(encoded.last_hidden_state),
            past_key_values=past_key_values,
            inputs_embeds=decoder_inputs_embeds,
            use_cache=labels is None and not self.training if use_cache is None else use_cache,
            **traced,
            **further,
        )
        assert decoded.logits is not None
        if labels is not None:
            labels = as_ids(labels, "labels", str(decoded.logits.shape[:2]))
        loss = None if labels is None else cross_entropy(decoded.logits, labels)
        result = Seq2SeqLMOutput.of(encoded, decoded, loss)
        return result if return_dict else result.to_tuple()

    def _encoded(
        self,
        pixel_values: mx.array | None,
        encoder_outputs: EncoderOutput | tuple[mx.array, ...] | None,
        **options: bool,
    ) -> EncoderOutput:
        """What the encoder gives, unless that is given."""
        if encoder_outputs is not None:
            return self.given_features(encoder_outputs)
        if pixel_values is None:
            raise OptionError("give the model pixel_values, or encoder_outputs")
        return self.encoder(pixel_values, **options)

    def prepare_decoder_input_ids_from_labels(self, labels: mx.array) -> mx.array:
        """Labels (B, L) moved one to the right behind the start token, -100 made padding."""
        labels = as_ids(labels, "labels")
        check_ids(labels, self.config.decoder.vocab_size, "labels", ignored=IGNORED)
        start, pad = self._id("decoder_start_token_id"), self._id("pad_token_id")
        first = mx.full((labels.shape[0], 1), start, labels.dtype)
        shifted = mx.concatenate([first, labels[:, :-1]], axis=1)
        return mx.where(shifted == IGNORED, pad, shifted)

    def _id(self, name: str) -> int:
        """A token id from the config, else the decoder's, else the generation config's."""
        for config in (self.config, self.config.decoder, self.generation_config):
            value = getattr(config, name)
            if value is not None:
                return value
        raise TokenError(f"{name} is not set anywhere; set model.config.{name} before training")

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        config: VisionEncoderDecoderConfig | None = None,
        *,
        tensors: Mapping[str, mx.array] | None = None,
    ) -> VisionEncoderDecoderModel:
        """Load a local folder with its generation options, weights unread, of the file's types."""
        model = super().from_folder(folder, config, tensors=tensors)
        own = GenerationConfig.from_folder(folder, model.config.to_dict())
        path = folder / "config.json"
        places = places_of(folder, read_json(path) if path.is_file() else model.config.to_dict())
        model.generation_config = own
        model._disputes = tuple(disputes(places, ids_in_force(own)))
        return model

    def read_carried(self, carried: dict[str, mx.array]) -> None:
        """Let the decoder look at those of its own."""
        own = (name for name in carried if name.startswith("decoder."))
        self.decoder.read_carried({n.removeprefix("decoder."): carried[n] for n in own})

    def unread(self) -> dict[str, mx.array]:
        """The encoder's pooler and its like, and the decoder's in the one family that has it."""
        parts = {"encoder": self.encoder.unread(), "decoder": self.decoder.unread()}
        return {f"{part}.{name}": x for part, own in parts.items() for name, x in own.items()}

    def save_configs(self, folder: Path) -> None:
        """Write the generation options, then `config.json`."""
        self.generation_config.save(folder)
        super().save_configs(folder)

    @classmethod
    def from_encoder_decoder_pretrained(
        cls,
        encoder_pretrained_model_name_or_path: str | Path | None = None,
        decoder_pretrained_model_name_or_path: str | Path | None = None,
        **kwargs: Any,
    ) -> VisionEncoderDecoderModel:
        """Put an encoder's and a decoder's own checkpoints together, in `eval()` mode.

        Cross-attention that the decoder's checkpoint lacks is new, and named in a warning.
        `encoder_x=` and `decoder_y=` change a field of that part's config, `encoder_model=` and
        `decoder_model=` give the part itself, and the rest goes to the whole config.
        """
        parts = assemble(
            encoder_pretrained_model_name_or_path, decoder_pretrained_model_name_or_path, kwargs
        )
        model = cls(*parts)
        model.eval()
        return model

    def resize_token_embeddings(self, new_num_tokens: int) -> None:
        """Cut or extend the decoder's vocabulary; new rows are drawn as new weights are."""
        self.take_rows(self.decoder.first_rows(new_num_tokens))

    def take_rows(self, sources: Sequence[int | None]) -> None:
        """Give the decoder's tables other rows, and a bias that is stored beside the head's own."""
        self.decoder.take_rows(sources)
        for name, carried in self._carried.items():
            if (self.renames.ours(name) or "").endswith("head_bias"):
                self._carried[name] = chosen_rows(carried, sources, 0.0)
        if "vocab_size" in self.config.extra:
            self.config.extra["vocab_size"] = len(sources)

    def get_encoder(self) -> Encoder[Any]:
        """The image encoder."""
        return self.encoder

    def get_decoder(self) -> Decoder[Any]:
        """The text decoder."""
        return self.decoder

    def get_input_embeddings(self) -> Any:
        """The decoder's embedding of tokens."""
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Give the decoder another embedding (V, D) of tokens."""
        self.decoder.set_input_embeddings(value)

    def get_output_embeddings(self) -> Any:
        """The decoder's layer that scores tokens; where it is tied, the embedding."""
        return self.decoder.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Give the decoder's head another linear layer (V, D) of its own."""
        self.decoder.set_output_embeddings(new_embeddings)

    def gradient_checkpointing_enable(self, enable: bool = True) -> None:
        """Train with less memory: layers are computed again in the backward pass."""
        self.encoder.gradient_checkpointing = self.decoder.gradient_checkpointing = enable

    def gradient_checkpointing_disable(self) -> None:
        """Keep what layers compute for the backward pass, as is usual."""
        self.gradient_checkpointing_enable(False)


def _for_decoder(keywords: dict[str, mx.array]) -> dict[str, Any]:
    for name in keywords:
        if name not in ("decoder_position_ids",):
            raise OptionError(f"{name} is not an argument of the model; see its __call__")
    return {name.removeprefix("decoder_"): value for name, value in keywords.items()}
