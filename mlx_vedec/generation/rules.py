"""Which processors and warpers a set of options calls for, in transformers' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx

from . import processors, warpers
from .options import LogitsProcessor, Options

Imaged = Callable[[int], int]  # an image's place in the batch to the one it was given at


def applied(rules: Sequence[LogitsProcessor], tokens: mx.array, scores: mx.array) -> mx.array:
    """Scores (N, V) after every rule in turn."""
    for rule in rules:
        scores = rule(tokens, scores)
    return scores


def logits_processors(
    options: Options, image: Imaged, attention_mask: mx.array | None = None
) -> list[LogitsProcessor]:
    """The rules of every way of decoding. attention_mask (N, P) is the prompts'."""
    o, eos, p = options, options.eos_token_ids, processors
    asked, rows = o.prefix_allowed_tokens_fn, o.sequences_per_image
    decay = o.exponential_decay_length_penalty
    table: list[tuple[object, Callable[[], LogitsProcessor]]] = [
        (o.sequence_bias, lambda: p.sequence_bias(dict(o.sequence_bias))),
        (
            o.repetition_penalty != 1.0,
            lambda: p.repetition_penalty(o.repetition_penalty, attention_mask),
        ),
        (o.no_repeat_ngram_size, lambda: p.no_repeat_ngram(o.no_repeat_ngram_size)),
        (o.bad_words_ids, lambda: p.bad_words(o.bad_words_ids, eos)),
        (o.min_length and eos, lambda: p.min_length(o.min_length, eos)),
        (
            asked,
            lambda: p.prefix_allowed_tokens(lambda i, ids: asked(image(i), ids), rows),  # pyright: ignore[reportOptionalCall]
        ),
        (
            o.forced_bos_token_id is not None,
            lambda: p.forced_bos(o.forced_bos_token_id),  # pyright: ignore[reportArgumentType]
        ),
        (o.forced_eos_token_ids, lambda: p.forced_eos(o.forced_eos_token_ids, o.max_length)),
        (o.remove_invalid_values, p.remove_invalid_values),
        (
            decay and eos,
            lambda: p.exponential_decay_length_penalty(*decay, eos, o.prompt_length),  # pyright: ignore
        ),
        (o.suppress_tokens, lambda: p.suppress_tokens(o.suppress_tokens)),
        (
            o.begin_suppress_tokens,
            lambda: p.begin_suppress_tokens(o.begin_suppress_tokens, _begin(o)),
        ),
    ]
    rules = [make() for wanted, make in table if wanted]
    return [*rules, *o.logits_processor, *(_row_by_row(f) for f in o.logits_processors)]


def logits_warpers(options: Options) -> list[LogitsProcessor]:
    """The rules of sampling, and the renormalisation that comes last in every way of decoding."""
    o = options
    keep = max(2, 1 + len(o.eos_token_ids)) if o.num_beams > 1 else 1
    warping = [
        (o.temperature != 1.0, lambda: warpers.temperature(o.temperature)),
        (o.top_k, lambda: warpers.top_k(o.top_k, keep)),
        (o.top_p < 1.0, lambda: warpers.top_p(o.top_p, keep)),
        (o.min_p is not None, lambda: warpers.min_p(o.min_p or 0.0, keep)),
        (o.typical_p < 1.0, lambda: warpers.typical_p(o.typical_p, keep)),
        (o.epsilon_cutoff, lambda: warpers.epsilon_cutoff(o.epsilon_cutoff, keep)),
        (o.eta_cutoff, lambda: warpers.eta_cutoff(o.eta_cutoff, keep)),
    ]
    chosen = [make() for wanted, make in warping if wanted and o.do_sample]
    return [*chosen, warpers.renormalize()] if o.renormalize_logits else chosen


def _begin(options: Options) -> int:
    """The length at which a row begins: after the prompt, and after a token forced upon it."""
    forced = options.prompt_length == 1 and options.forced_bos_token_id is not None
    return options.prompt_length + int(forced)


def _row_by_row(rule: LogitsProcessor) -> LogitsProcessor:
    """mlx-lm's processors take one row: its tokens (T,) and its logits (1, V)."""

    def process(tokens: mx.array, scores: mx.array) -> mx.array:
        rows = [rule(tokens[i], scores[i : i + 1]) for i in range(len(tokens))]
        return mx.concatenate(rows)

    return process
