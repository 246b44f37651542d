"""What forward passes return, under Hugging Face's names; each is also a tuple of what is set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx

from .decoder_cache import DecoderCache

Arrays = tuple[mx.array, ...]


@dataclass
class Trace:
    """What a forward pass keeps on request, layer by layer; a list that is None keeps nothing."""

    hidden_states: list[mx.array] | None = None
    attentions: list[mx.array] | None = None
    cross_attentions: list[mx.array] | None = None

    @classmethod
    def of(cls, attentions: bool, hidden_states: bool) -> Trace:
        """A trace that keeps what the two flags ask for."""
        return cls(
            [] if hidden_states else None,
            [] if attentions else None,
            [] if attentions else None,
        )

    def keep(self, x: mx.array) -> None:
        """Keep a hidden state."""
        if self.hidden_states is not None:
            self.hidden_states.append(x)


def arrays(kept: list[mx.array] | None) -> Arrays | None:
    """A list that a trace kept, as a field of an output."""
    return None if kept is None else tuple(kept)


class ModelOutput:
    """Fields by name (`out.logits`, `out["logits"]`) or by place among those that are not None."""

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are set, in order."""
        values = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return tuple(value for value in values if value is not None)

    def __getitem__(self, key: str | int | slice) -> Any:
        return getattr(self, key) if isinstance(key, str) else self.to_tuple()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_tuple())


@dataclass
class EncoderOutput(ModelOutput):
    """Features (B, S, D); hidden states: embeddings, then every layer; attentions (B, H, S, S)."""

    last_hidden_state: mx.array
    hidden_states: Arrays | None = None
    attentions: Arrays | None = None

    @classmethod
    def traced(cls, features: mx.array, trace: Trace) -> EncoderOutput:
        """The features, with the hidden states and attentions that the trace kept."""
        return cls(features, arrays(trace.hidden_states), arrays(trace.attentions))


@dataclass
class CausalLMOutputWithCrossAttentions(ModelOutput):
    """What a decoder alone gives: logits (B, L, V) and, where asked, what led to them."""

    loss: mx.array | None = None
    logits: mx.array | None = None
    past_key_values: DecoderCache | None = None
    hidden_states: Arrays | None = None
    attentions: Arrays | None = None
    cross_attentions: Arrays | None = None


@dataclass
class Seq2SeqLMOutput(ModelOutput):
    """What the whole model gives.

    logits (B, L, V); the decoder's hidden states (B, L, D), one more than layers; its attentions
    (B, H, L, T) and cross-attentions (B, H, L, S); the encoder's last hidden state (B, S, D) before
    `enc_to_dec_proj`.
    """

    loss: mx.array | None = None
    logits: mx.array | None = None
    past_key_values: DecoderCache | None = None
    decoder_hidden_states: Arrays | None = None
    decoder_attentions: Arrays | None = None
    cross_attentions: Arrays | None = None
    encoder_last_hidden_state: mx.array | None = None
    encoder_hidden_states: Arrays | None = None
    encoder_attentions: Arrays | None = None

    @classmethod
    def of(
        cls,
        encoded: EncoderOutput,
        decoded: CausalLMOutputWithCrossAttentions,
        loss: mx.array | None,
    ) -> Seq2SeqLMOutput:
        """The encoder's and the decoder's outputs as one, with the whole model's loss."""
        return cls(
            loss=loss,
            logits=decoded.logits,
            past_key_values=decoded.past_key_values,
            decoder_hidden_states=decoded.hidden_states,
            decoder_attentions=decoded.attentions,
            cross_attentions=decoded.cross_attentions,
            encoder_last_hidden_state=encoded.last_hidden_state,
            encoder_hidden_states=encoded.hidden_states,
            encoder_attentions=encoded.attentions,
        )


@dataclass
class GenerateOutput(ModelOutput):
    """What `generate` gives with `return_dict_in_generate=True`; N rows, n tokens generated.

    sequences (N, L) -- the prompt first; sequences_scores (N,) and beam_indices (N, n), the row
    each token came from (-1 after the end), of a beam search; scores and logits: a tuple of
    (rows decoded, V) for every step, after the rules and before them; the encoder's attentions and
    hidden states: a tuple of the layers, as in `EncoderOutput`, a row for each image; the
    decoder's: a tuple of the steps, each a tuple of the layers, as in `Seq2SeqLMOutput`, of the
    rows decoded and the tokens fed, those of the prompt in the first step and one in the others
    """

    sequences: mx.array
    sequences_scores: mx.array | None = None
    scores: Arrays | None = None
    logits: Arrays | None = None
    beam_indices: mx.array | None = None
    encoder_attentions: Arrays | None = None
    encoder_hidden_states: Arrays | None = None
    decoder_attentions: tuple[Arrays, ...] | None = None
    cross_attentions: tuple[Arrays, ...] | None = None
    decoder_hidden_states: tuple[Arrays, ...] | None = None
