"""What one generation goes by: every option, its default and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx

LogitsProcessor = Callable[[mx.array, mx.array], mx.array]
Criterion = Callable[[mx.array, Any], Any]


@dataclass(frozen=True)
class Options:
    """Settled options, under transformers' names; mlx-lm's where transformers has none.

    max_length -- tokens of a row, the prompt included
    eos_token_ids -- a row ends after any of these
    pad_token_id -- fills a row that has ended
    prompt_length -- tokens that every row begins with
    min_length -- tokens a row has before it may end, the prompt included
    max_time -- seconds; no token is begun after them
    stop_strings -- a row ends when its text, the prompt aside, holds one; needs a tokenizer
    stop_on_repetition -- "variance", "ngram" or both: see `generation/repetition.py`
    stopping_criteria -- functions of (tokens (N, T), scores of the step) to bool (N,), or one for
        all; with beams N counts candidates

    num_beams -- beams of each image; above 1 the search is transformers' beam search
    num_return_sequences -- sequences returned for each image, best first
    early_stopping -- an image's search ends when it has as many finished beams as beams (True),
        when no running beam is likely to beat them (False), or when none can ("never")
    length_penalty -- a finished beam's score is its log-probability / length ** length_penalty

    do_sample -- draw tokens, instead of taking the likeliest
    temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff -- what is drawn from
    sampler -- draws instead: log-probabilities (N, V) to ids (N,), as in mlx-lm
    renormalize_logits -- make the scores log-probabilities again after the other rules

    repetition_penalty -- above 1 makes ids that a row has less likely (arXiv:1909.05858)
    no_repeat_ngram_size -- no n-gram of this size twice in a row
    bad_words_ids, suppress_tokens, begin_suppress_tokens -- sequences and ids that do not come at
        all, or not at the beginning
    sequence_bias -- pairs of a sequence of ids and what is added to the logit of its last
    exponential_decay_length_penalty -- (start, factor): ends become likelier past that many tokens
    forced_bos_token_id, forced_eos_token_ids -- the second token of a row, and the one that its
        length ends with, whatever the model says
    prefix_allowed_tokens_fn -- (image, tokens (T,)) to the ids that may follow
    remove_invalid_values -- replace what is not finite in the logits
    logits_processor -- functions of (tokens (N, T), scores (N, V)) to scores, after all rules
    logits_processors -- the same with mlx-lm's shapes, for each row: tokens (T,), logits (1, V)

    max_kv_size -- tokens each row remembers, its prompt always among them
    kv_bits, kv_group_size -- of the quantized keys and values, the image's too
    """

    max_length: int
    eos_token_ids: tuple[int, ...]
    pad_token_id: int
    prompt_length: int = 1
    min_length: int = 0
    max_time: float | None = None
    stop_strings: tuple[str, ...] = ()
    stop_on_repetition: tuple[str, ...] = ()
    stopping_criteria: tuple[Criterion, ...] = ()
    num_beams: int = 1
    num_return_sequences: int = 1
    early_stopping: bool | str = False
    length_penalty: float = 1.0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float | None = None
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    sampler: Callable[[mx.array], mx.array] | None = None
    renormalize_logits: bool = False
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    sequence_bias: tuple[tuple[tuple[int, ...], float], ...] = ()
    exponential_decay_length_penalty: tuple[int, float] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_ids: tuple[int, ...] = ()
    prefix_allowed_tokens_fn: Callable[[int, mx.array], Sequence[int]] | None = None
    remove_invalid_values: bool = False
    logits_processor: tuple[LogitsProcessor, ...] = ()
    logits_processors: tuple[LogitsProcessor, ...] = ()
    max_kv_size: int | None = None
    kv_bits: int | None = None
    kv_group_size: int | None = None
    tokenizer: Any = None

    @property
    def sequences_per_image(self) -> int:
        """Rows that are decoded for each image."""
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences

    def changed(self) -> dict[str, Any]:
        """The options that have no default or another value than it, to be printed."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        defaults = {f.name: f.default for f in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if value != defaults[name] and name != "tokenizer"
        }


def listed(value: Any) -> tuple[Any, ...]:
    """An option of one item or several as a tuple; nothing where it is not set."""
    if value is None:
        return ()
    if isinstance(value, (str, int)) or callable(value):
        return (value,)
    return tuple(value)


def words(value: Any) -> tuple[tuple[int, ...], ...]:
    """Sequences of ids as tuples."""
    return tuple(tuple(word) for word in value or ())


def biases(value: Any) -> tuple[tuple[tuple[int, ...], float], ...]:
    """A mapping from sequences to numbers, or pairs of them as JSON has it."""
    pairs = value.items() if isinstance(value, Mapping) else value or ()
    return tuple((tuple(word), float(bias)) for word, bias in pairs)
