"""Options of a call, of its `generation_config` and of the checkpoint settled into one object."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ..errors import OptionError
from .checks import check_call, check_together, check_vocabulary
from .config import GenerationConfig
from .options import Options, biases, listed, words
from .values import FITS, check_value, is_int

ALIASES = {"max_tokens": "max_new_tokens", "logit_bias": "sequence_bias"}  # mlx-lm's names
# What has no say here, whatever it is: the cache is always used, an encoder of images has no text.
IGNORED = (
    *("use_cache", "cache_implementation", "transformers_version", "_from_model_config"),
    *("output_attentions", "output_hidden_states", "encoder_no_repeat_ngram_size"),
)
# Ways of decoding that transformers no longer has, or never had for this family, with the value
# that leaves decoding alone. A checkpoint that sets another is refused rather than read wrongly.
NOT_HERE: dict[str, Any] = {
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "penalty_alpha": 0.0,
    "constraints": None,
    "force_words_ids": None,
    "dola_layers": None,
    "guidance_scale": 1.0,
    "watermarking_config": None,
    "top_h": None,
    "low_memory": False,
    "prompt_lookup_num_tokens": None,
}


def _rules(value: bool | str | tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("variance", "ngram") if value else ()
    return listed(value)


# What several forms of an option become.
FORMS: dict[str, Callable[[Any], Any]] = {
    "stop_on_repetition": _rules,
    "bad_words_ids": words,
    "sequence_bias": biases,
    "exponential_decay_length_penalty": tuple,
    **dict.fromkeys(("stop_strings", "stopping_criteria"), listed),
    **dict.fromkeys(("logits_processor", "logits_processors"), listed),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), listed),
}


def known_options() -> set[str]:
    """Every option name that is understood."""
    return {*FITS, *ALIASES}


def layered(config: GenerationConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are set: by the call, else its `generation_config`, else the checkpoint."""
    call = _named(given)
    between = call.pop("generation_config", {})
    check_value("generation_config", between)
    between = between.settings() if isinstance(between, GenerationConfig) else _named(between)
    own = config.settings()
    values = {**own, **between, **call}
    _refuse_other_ways(values, call)
    for name in set(values) & set(FITS):
        elsewhere = "" if name in call else " in the generation_config"
        check_value(name, values[name], elsewhere)
    check_call(call, values)
    for name, rival in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        for source in (call, between, own):  # of two lengths, the nearer source has its say
            if name in source or rival in source:
                loser = name if rival in source else rival
                values.pop(loser, None)
                break
    return values


def resolve(
    config: GenerationConfig,
    given: Mapping[str, Any],
    *,
    prompt_length: int = 1,
    limit: int,
    vocab_size: int | None = None,
) -> Options:
    """Settle the options of a call: those given, then the checkpoint's, then the defaults.

    limit -- the end of the position table: the length where none is set, and the bound of any.
    vocab_size -- the bound of the ids in every list
    """
    values = layered(config, given)
    if "temp" in values:
        temp = values["temp"]
        values |= {"do_sample": temp > 0, "temperature": temp or 1.0}
    eos, pad = listed(values.get("eos_token_id")), values.get("pad_token_id")
    maximum = _max_length(values, given, prompt_length, limit)
    named = {f.name for f in fields(Options)} & set(values)
    settled: dict[str, Any] = {
        **{name: FORMS.get(name, lambda v: v)(values[name]) for name in named},
        "max_length": maximum,
        "min_length": _min_length(values, prompt_length, maximum),
        "eos_token_ids": eos,
        "pad_token_id": pad if pad is not None else eos[0] if eos else 0,
        "prompt_length": prompt_length,
        "forced_eos_token_ids": listed(values.get("forced_eos_token_id")),
    }
    options = Options(**settled)
    check_together(options)
    if vocab_size is not None:
        check_vocabulary(options, vocab_size)
    return options


def start_token(config: GenerationConfig, given: Mapping[str, Any]) -> int | tuple[int, ...] | None:
    """What every prompt starts with: `decoder_start_token_id`, else `bos_token_id`."""
    values = layered(config, given)
    for name in ("decoder_start_token_id", "bos_token_id"):
        value = values.get(name)
        if value is not None:
            return value if is_int(value) else tuple(value)
    return None


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call under their own names, those that are None left out."""
    known = known_options()
    named: dict[str, Any] = {}
    for name, value in given.items():
        if name in NOT_HERE:
            named[name] = value
        elif name not in known and name not in IGNORED:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
            raise OptionError(f"{name} is not a generation option; {hint}")
        elif value is not None and name not in IGNORED:
            own = ALIASES.get(name, name)
            if own in named:
                raise OptionError(f"{name} and {own} are the same option; give one of them")
            named[own] = value
    return named


def _refuse_other_ways(values: Mapping[str, Any], call: Mapping[str, Any]) -> None:
    for name, neutral in NOT_HERE.items():
        value = values.get(name)
        if value is not None and value != neutral:
            source = "asked for" if name in call else "set by the checkpoint"
            raise OptionError(
                f"{name}={value!r} is {source}, but decoding here is greedy, sampling, or beam "
                f"search; pass {name}={neutral!r}"
            )


def _max_length(
    values: Mapping[str, Any], given: Mapping[str, Any], prompt_length: int, limit: int
) -> int:
    name = "max_new_tokens" if "max_new_tokens" in values else "max_length"
    if name not in values:
        return limit
    value = values[name]
    total = value + (prompt_length if name == "max_new_tokens" else 0)
    if total <= prompt_length:
        raise OptionError(f"{name}={value} leaves no room after a prompt of {prompt_length} tokens")
    asked = name in given or ("max_tokens" in given and name == "max_new_tokens")
    if total > limit and asked:
        raise OptionError(
            f"{name}={value} goes past the end of the position table, {limit} tokens with the "
            f"prompt's {prompt_length}; leave it out to go to the end"
        )
    return min(total, limit)


def _min_length(values: Mapping[str, Any], prompt_length: int, maximum: int) -> int:
    name = "min_new_tokens" if "min_new_tokens" in values else "min_length"
    value = values.get(name, 0)
    least = value + (prompt_length if name == "min_new_tokens" else 0)
    if value and least > maximum:
        raise OptionError(
            f"{name}={value} asks for {least} tokens, prompt included, but the most is {maximum}; "
            "lower it, or raise max_new_tokens"
        )
    return least if value else 0
