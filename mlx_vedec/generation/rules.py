"""Which processors and warpers a set of options calls for, in transformers' order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import mlx.core as mx

from ..errors import OptionError
from ..layers.token_ids import as_array
from . import processors, warpers
from .options import LogitsProcessor, Options
from .processors import Rule, Tokens
from .texts import Texts
from .values import answer_of

Imaged = Callable[[int], int]  # an image's place in the batch to the one it was given at


def applied(rules: Sequence[Rule], tokens: Tokens, scores: mx.array) -> mx.array:
    """Scores (N, V) after every rule in turn."""
    for rule in rules:
        scores = rule(tokens, scores)
    return scores


def logits_processors(
    options: Options, image: Imaged, attention_mask: mx.array | None = None
) -> list[Rule]:
    """The rules of every way of decoding. attention_mask (N, P) is the prompts'."""
    rules = [*_first_rules(options, image, attention_mask), *_last_rules(options)]
    own = (_checked("logits_processor", rule) for rule in options.logits_processor)
    return [*rules, *own, *map(_row_by_row, options.logits_processors)]


def _first_rules(o: Options, image: Imaged, attention_mask: mx.array | None) -> Iterator[Rule]:
    if o.sequence_bias:
        yield processors.sequence_bias(dict(o.sequence_bias))
    if o.repetition_penalty != 1.0:
        yield processors.repetition_penalty(o.repetition_penalty, attention_mask)
    if o.no_repeat_ngram_size:
        yield processors.no_repeat_ngram(o.no_repeat_ngram_size)
    if o.bad_words_ids:
        yield processors.bad_words(o.bad_words_ids, o.eos_token_ids)
    if o.min_length and o.eos_token_ids:
        yield processors.min_length(o.min_length, o.eos_token_ids)
    if allowed := o.prefix_allowed_tokens_fn:
        rows = o.sequences_per_image
        asked = partial(answer_of, "prefix_allowed_tokens_fn", allowed)
        yield processors.prefix_allowed_tokens(lambda i, ids: asked(image(i), ids), rows)


def _last_rules(o: Options) -> Iterator[Rule]:
    eos, decay = o.eos_token_ids, o.exponential_decay_length_penalty
    if o.forced_bos_token_id is not None:
        yield processors.forced_bos(o.forced_bos_token_id)
    if o.forced_eos_token_ids:
        yield processors.forced_eos(o.forced_eos_token_ids, o.max_length)
    if o.remove_invalid_values:
        yield processors.remove_invalid_values()
    if decay and eos:
        yield processors.exponential_decay_length_penalty(*decay, eos, o.prompt_length)
    if o.suppress_tokens:
        yield processors.suppress_tokens(o.suppress_tokens)
    if o.begin_suppress_tokens:
        yield processors.begin_suppress_tokens(o.begin_suppress_tokens, _first_length(o))


def logits_warpers(options: Options) -> list[Rule]:
    """The rules of sampling, and the renormalisation that comes last in every way of decoding."""
    rules = [*_sampling_rules(options)] if options.do_sample else []
    return [*rules, warpers.renormalize()] if options.renormalize_logits else rules


def _sampling_rules(o: Options) -> Iterator[Rule]:
    keep = max(2, 1 + len(o.eos_token_ids)) if o.num_beams > 1 else 1
    if o.temperature != 1.0:
        yield warpers.temperature(o.temperature)
    if o.top_k:
        yield warpers.top_k(o.top_k, keep)
    if o.top_p < 1.0:
        yield warpers.top_p(o.top_p, keep)
    if o.min_p is not None:
        yield warpers.min_p(o.min_p, keep)
    if o.typical_p < 1.0:
        yield warpers.typical_p(o.typical_p, keep)
    if o.epsilon_cutoff:
        yield warpers.epsilon_cutoff(o.epsilon_cutoff, keep)
    if o.eta_cutoff:
        yield warpers.eta_cutoff(o.eta_cutoff, keep)


def _first_length(options: Options) -> int:
    """Tokens of a row where the model first chooses: its prompt, and a token forced upon it."""
    forced = options.prompt_length == 1 and options.forced_bos_token_id is not None
    return options.prompt_length + int(forced)


def _row_by_row(rule: LogitsProcessor) -> Rule:
    """mlx-lm's processors take one row: its tokens (T,) and its logits (1, V)."""

    checked = _checked("logits_processors", rule)

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        texts = Texts.of(tokens).exact
        rows = [checked(texts[i], scores[i : i + 1]) for i in range(len(texts))]
        return mx.concatenate(rows)

    return process


def _checked(name: str, rule: LogitsProcessor) -> Rule:
    """A caller's own rule, whose scores have to be of the shape of those it is given."""

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        texts = tokens.exact if isinstance(tokens, Texts) else tokens
        answer = answer_of(name, rule, texts, scores)
        found = as_array(answer, f"scores of {name}", str(tuple(scores.shape)))
        if found.dtype == mx.bool_:
            raise OptionError(f"scores of {name} are True and False; expected numbers")
        return found.astype(mx.float32)

    return process
