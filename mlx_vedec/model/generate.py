"""`generate` and what it is made of, for a model of an encoder and a decoder."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence, Sized
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..decoders.decoder import Decoder
from ..decoders.step import next_logits
from ..encoders.encoder import Encoder
from ..errors import OptionError, TokenError
from ..generation.beams import BeamSearch
from ..generation.config import GenerationConfig
from ..generation.disputes import Dispute, warning_of
from ..generation.flow import Cohort, begin, follow
from ..generation.options import Options, start_token
from ..generation.resolve import resolve
from ..generation.sampling import Sampling
from ..generation.search import Decoded, Search, Step
from ..layers.computing import computing
from ..layers.cpu import one_blas_thread
from ..layers.decoder_cache import DecoderCache
from ..layers.outputs import EncoderOutput, GenerateOutput, Trace
from ..layers.token_ids import as_array, as_ids, check_ids
from .compiling import Compiling, Stepper
from .half_precision import is_finite, not_finite, widen
from .tracing import Tracing


class GenerationMixin(nn.Module):
    """Decoding for a model that has an `encoder`, a `decoder` and a `generation_config`."""

    encoder: Encoder[Any]
    decoder: Decoder[Any]
    enc_to_dec_proj: nn.Linear  # where their widths differ
    generation_config: GenerationConfig
    _compiling: Compiling
    _disputes: tuple[Dispute, ...]  # ids of which the checkpoint's files say several things

    def encode(self, pixel_values: mx.array, **kwargs: Any) -> mx.array:
        """Pixels (B, H, W, C) to features (B, S, D of the encoder)."""
        return self.encoder(pixel_values, **kwargs).last_hidden_state

    def memory(self, features: mx.array) -> mx.array:
        """Features as the decoder's cross-attention reads them: of the decoder's width."""
        return self.enc_to_dec_proj(features) if "enc_to_dec_proj" in self else features

    def generate(
        self,
        pixel_values: mx.array | None = None,
        *,
        decoder_input_ids: mx.array | None = None,
        decoder_attention_mask: mx.array | None = None,
        encoder_outputs: EncoderOutput | tuple[mx.array, ...] | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict_in_generate: bool = False,
        output_scores: bool = False,
        output_logits: bool = False,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        input_ids: mx.array | None = None,
        labels: mx.array | None = None,
        **options: Any,
    ) -> mx.array | GenerateOutput:
        """Pixels (B, H, W, C) to tokens (N, L), the prompt first, padded after their end.

        N is B times `num_return_sequences`, those of one image together, best first. options --
        those of `generation_config`, for this call only: `max_new_tokens`, `num_beams`, … (see
        `Options`). return_dict_in_generate -- a `GenerateOutput` instead; what is asked for with
        output_scores and the like is kept of every step, so rows that have ended stay in the
        batch. input_ids -- another name of decoder_input_ids. labels of a batch are not read.
        """
        kept = {"attentions": output_attentions, "hidden_states": output_hidden_states}
        tracing = (
            Tracing(self.step, **kept) if return_dict_in_generate and any(kept.values()) else None
        )
        encoded = self._finite(
            pixel_values,
            encoder_outputs,
            traced=tracing.encoding if tracing else {},
            interpolate_pos_encoding=interpolate_pos_encoding,
        )
        features = encoded.last_hidden_state
        if input_ids is not None and decoder_input_ids is not None:
            raise OptionError("input_ids and decoder_input_ids are both the prompt; give one")
        given = input_ids if decoder_input_ids is None else decoder_input_ids
        prompt, settled = self.prompt(len(features), given, self._settled(options))
        mask = _lengthened(decoder_attention_mask, prompt)
        if settled.compile and tracing:
            raise OptionError(
                "compile=True with output_attentions or output_hidden_states, which a compiled "
                "step does not give; leave one out"
            )
        stepper = self.stepper(settled)
        step = tracing or stepper
        cohort, cache = self.begin(features, prompt, settled, mask, logprobs=False, step=step)
        search, steps = cohort.search, []
        if mask is not None or output_scores or output_logits or tracing:
            steps = list(follow(step, cohort, cache))
            found = search.results(steps[-1], range(len(prompt)))
        else:
            flow, results = stepper.flow(), {}
            flow.add(cohort, cache)
            while len(flow):
                results.update(flow.advance())
            found = [results[i] for i in range(len(prompt))]
        sequences = [sequence for image in found for sequence in image]
        tokens = _tokens(prompt, sequences, settled, search.fill)
        if not return_dict_in_generate:
            return tokens
        beams = settled.num_beams > 1
        return GenerateOutput(
            sequences=tokens,
            sequences_scores=mx.array([s.score for s in sequences]) if beams else None,
            scores=tuple(state.scores for state in steps) if output_scores else None,
            logits=tuple(state.logits for state in steps) if output_logits else None,
            beam_indices=_table([s.beams for s in sequences], -1) if beams else None,
            **(tracing.fields(encoded, len(steps), settled.sequences_per_image) if tracing else {}),
        )

    def compute_transition_scores(
        self,
        sequences: mx.array,
        scores: Sequence[mx.array],
        beam_indices: mx.array | None = None,
        normalize_logits: bool = False,
    ) -> mx.array:
        """The score (N, n) of each generated token, from the `scores` of every step.

        With beams and without normalize_logits they add up to `sequences_scores` times the length
        to the power of `length_penalty`; after an end they are 0.
        """
        sequences = as_ids(sequences, "sequences")
        if not isinstance(scores, (tuple, list)) or not scores:
            raise OptionError("scores are none; expected those of generate with output_scores=True")
        shape = str(tuple(getattr(scores[0], "shape", ("rows", "vocabulary"))))
        table = mx.stack([as_array(step, "scores", shape) for step in scores])
        if normalize_logits:
            table = table - mx.logsumexp(table, axis=-1, keepdims=True)
        if beam_indices is None:
            rows = mx.arange(len(sequences))[:, None]
            beam_indices = mx.broadcast_to(rows, (len(sequences), len(table)))
        beam_indices = as_ids(beam_indices, "beam_indices", f"({len(sequences)}, length)")
        steps = beam_indices.shape[1]
        tokens = sequences[:, sequences.shape[1] - steps :]
        check_ids(mx.maximum(tokens, 0), table.shape[2], "sequences")
        check_ids(mx.maximum(beam_indices, 0), table.shape[1], "beam_indices")
        there = beam_indices >= 0
        found = table[mx.arange(steps), mx.maximum(beam_indices, 0), mx.maximum(tokens, 0)]
        return mx.where(there, found, 0.0)

    def generation_options(self, prompt_length: int = 1, **options: Any) -> Options:
        """The options that a call with these would go by, after a prompt of this many tokens."""
        return self._settled(options).after(prompt_length)

    def _settled(self, options: Mapping[str, Any]) -> Options:
        decoder = self.decoder
        limit = decoder.max_positions or decoder.config.shape.positions
        return resolve(
            self.generation_config,
            options,
            limit=limit + 1,  # of a text's tokens the last is not fed
            ends=decoder.max_positions is not None,
            vocab_size=decoder.config.vocab_size,
        )

    def prompt(
        self, rows: int, tokens: Sequence[Sequence[int]] | mx.array | None, options: Options
    ) -> tuple[mx.array, Options]:
        """What a generation starts from, (B, P), and the options after it.

        Without tokens it is the start token. Before tokens the start token is put unless some row
        has it already or the encoder is Donut's, whose prompts are whole, as transformers does.
        """
        start = start_token(options)
        if tokens is None and start is None:
            raise TokenError("the checkpoint names no decoder_start_token_id; give it as an option")
        prompt = _checked(tokens, rows)
        whole = tokens is not None and self.encoder.config.prompts_are_whole
        if start is not None and not whole:
            column = _start_column(start, rows)
            if not (prompt[:, :1] == column).any().item():
                prompt = mx.concatenate([column, prompt], axis=1)
        check_ids(prompt, self.decoder.config.vocab_size, "decoder_input_ids")
        self._warn_of_disputes(options)
        settled = options.after(prompt.shape[1])
        if settled.lengths is not None:
            settled.lengths.warn(prompt.shape[1])
        return prompt, settled

    def _warn_of_disputes(self, options: Options) -> None:
        """Warn once of ids in force of which the checkpoint's files say several things."""
        if said := warning_of(self._disputes, options):
            self._disputes = ()
            warnings.warn(said, stacklevel=4)

    def given_features(self, outputs: Any) -> EncoderOutput:
        """What an encoder gave: its output, a tuple that begins so, or features (B, S, D)."""
        parts = (*outputs, None) if isinstance(outputs, (tuple, EncoderOutput)) else (outputs,)
        features = parts[0]
        shape = f"(batch, features, {self.encoder.config.feature_dims})"
        features = as_array(features, "encoder_outputs", shape)
        return outputs if isinstance(outputs, EncoderOutput) else EncoderOutput(features)

    def features(
        self,
        pixel_values: mx.array | None,
        encoder_outputs: EncoderOutput | tuple[mx.array, ...] | None = None,
        **kwargs: Any,
    ) -> mx.array:
        """Features (B, S, D), finite: an encoder that overflows in half precision is widened."""
        return self._finite(pixel_values, encoder_outputs, **kwargs).last_hidden_state

    @computing()
    def _finite(
        self,
        pixel_values: mx.array | None,
        encoder_outputs: EncoderOutput | tuple[mx.array, ...] | None = None,
        traced: Mapping[str, bool] | None = None,
        **kwargs: Any,
    ) -> EncoderOutput:
        """What the encoder gives, with what `traced` asks of it besides."""
        if encoder_outputs is not None:
            return self.given_features(encoder_outputs)
        if pixel_values is None:
            raise OptionError("give generate pixel_values, or encoder_outputs")
        for widened in (False, True):
            with one_blas_thread():
                if traced:
                    encoded = self.encoder(pixel_values, **kwargs, **traced)
                else:
                    encoded = EncoderOutput(self.encode(pixel_values, **kwargs))
                finite = is_finite(encoded.last_hidden_state)
            if finite:
                return encoded
            if not widened:
                widen("encoder", self.encoder)
        raise OptionError(not_finite("encoder", "pixel_values"))

    @computing()
    def begin(
        self,
        features: mx.array,
        prompt: mx.array,
        options: Options,
        attention_mask: mx.array | None = None,
        keys: Sequence[Hashable] | None = None,
        *,
        logprobs: bool = True,
        step: Step | None = None,
    ) -> tuple[Cohort, DecoderCache]:
        """Begin decoding: the first token of every row, and the cache for those that follow.

        logprobs -- keep those of the tokens; beams always do. Logits that are not finite in half
        precision make the decoder float32, with a warning. step -- in place of the model's own.
        """
        for widened in (False, True):
            cache = self.decoder.make_cache(
                self.memory(features),
                max_size=options.max_kv_size,
                keep=0 if options.max_kv_size is None else options.prompt_length,
                bits=options.kv_bits,
                group_size=options.kv_group_size,
            )
            if options.num_beams > 1:
                search: Search = BeamSearch(options, attention_mask)
            else:
                search = Sampling(options, attention_mask, logprobs=logprobs)
            cohort = begin(step or self.step, cache, search, prompt, attention_mask, keys)
            if options.remove_invalid_values or is_finite(cohort.state.logits):
                return cohort, cache
            if not widened:
                widen("decoder", self.decoder, self)
        raise OptionError(not_finite("decoder", "encoder_outputs"))

    def stepper(self, options: Options) -> Stepper:
        """The steps of a generation, compiled where options ask for it or where it pays."""
        return Stepper(self.step, self.decoder, self._compiling, options)

    def step(
        self,
        tokens: mx.array,
        cache: DecoderCache,
        attention_mask: mx.array | None,
        trace: Trace | None = None,
    ) -> mx.array:
        """Append tokens (B, L) to a cache; returns the logits (B, V) after the last of them."""
        return next_logits(self.decoder, tokens, cache, attention_mask, trace)


def _checked(tokens: Sequence[Sequence[int]] | mx.array | None, rows: int) -> mx.array:
    """A prompt as an array (B, P), P = 0 where there is none."""
    if tokens is None:
        return mx.zeros((rows, 0), mx.int32)
    if isinstance(tokens, (list, tuple)):
        lengths = {len(row) for row in tokens if isinstance(row, Sized)}
        if len(lengths) > 1:
            raise TokenError(
                f"decoder_input_ids are ragged, of lengths {sorted(lengths)}; expected rows of one "
                "length; pad them on the left under a decoder_attention_mask, or use batch_generate"
            )
    return as_ids(tokens, "decoder_input_ids", f"({rows}, length)")


def _start_column(start: int | tuple[int, ...], rows: int) -> mx.array:
    """One start token for all rows, or one for each, as (B, 1)."""
    if isinstance(start, int):
        return mx.full((rows, 1), start, mx.int32)
    if len(start) != rows:
        raise TokenError(
            f"decoder_start_token_id has {len(start)} ids for {rows} images; give one, or one each"
        )
    return mx.array(start, mx.int32)[:, None]


def _lengthened(mask: mx.array | None, prompt: mx.array) -> mx.array | None:
    """A mask of the prompt that was given, also over the start token that was put before it."""
    if mask is None:
        return None
    mask = as_array(mask, "decoder_attention_mask", f"({len(prompt)}, length)")
    added = prompt.shape[1] - mask.shape[1]
    if added not in (0, 1):
        raise TokenError(
            f"decoder_attention_mask is {tuple(mask.shape)}; expected the shape of the prompt, "
            f"{tuple(prompt.shape)}"
        )
    return mx.pad(mask, [(0, 0), (added, 0)], constant_values=1)


def _tokens(prompt: mx.array, sequences: list[Decoded], options: Options, fill: int) -> mx.array:
    """Prompts (B, P) and what follows them as one array (N, L)."""
    times = len(sequences) // len(prompt)
    prompts = mx.repeat(prompt.astype(mx.int32), times, axis=0) if times > 1 else prompt
    return mx.concatenate([prompts, _table([s.tokens for s in sequences], fill)], axis=1)


def _table(rows: Sequence[Sequence[int]], fill: int) -> mx.array:
    """Rows of unequal length as one array, filled on the right."""
    width = max(len(row) for row in rows)
    return mx.array([[*row, *[fill] * (width - len(row))] for row in rows], mx.int32)
