"""Options of a call, of its `generation_config` and of the checkpoint settled into one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import OptionError, nearest
from .config import GenerationConfig
from .options import OPTIONS, Lengths, Options

ALIASES = {option.alias: name for name, option in OPTIONS.items() if option.alias}
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


def resolve(
    config: GenerationConfig, given: Mapping[str, Any], *, limit: int, vocab_size: int | None = None
) -> Options:
    """Settle the options of a call: those given, then the checkpoint's, then the defaults.

    limit -- the end of the position table: the length where none is set, and the bound of any.
    vocab_size -- the bound of the ids in every list. What hangs on the prompt is settled by
    `Options.after`.
    """
    call, values = _layered(config, given)
    if "temp" in values:
        temp = values.pop("temp")
        values |= {"do_sample": temp > 0, "temperature": temp or 1.0}
    lengths = {f.name: values.pop(f.name) for f in fields(Lengths) if f.name in values}
    asked = "max_length" in call or "max_new_tokens" in call
    settled = {OPTIONS[n].settled: OPTIONS[n].value.form(values[n]) for n in OPTIONS if n in values}
    eos = settled.setdefault("eos_token_ids", ())
    settled.setdefault("pad_token_id", eos[0] if eos else 0)
    options = Options(limit, **settled, lengths=Lengths(**lengths, limit=limit, asked=asked))
    _check_together(options)
    if vocab_size is not None:
        _check_vocabulary(options, vocab_size)
    return options


def _layered(
    config: GenerationConfig, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that the call sets, and all: those over its config's and the checkpoint's."""
    call = _named(given)
    between = call.pop("generation_config", {})
    OPTIONS["generation_config"].value.check("generation_config", between)
    between = between.settings() if isinstance(between, GenerationConfig) else _named(between)
    own = config.settings()
    values = {**own, **between, **call}
    _refuse_other_ways(values, call)
    for name in OPTIONS:
        if name in values:
            source = "" if name in call else " in the generation_config"
            OPTIONS[name].value.check(name, values[name], source)
    _check_call(call, values)
    for name, rival in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        for source in (call, between, own):  # of two lengths, the nearer source has its say
            if name in source or rival in source:
                loser = name if rival in source else rival
                values.pop(loser, None)
                break
    return call, values


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call under their own names, without those that are None."""
    known = {*OPTIONS, *ALIASES}
    named: dict[str, Any] = {}
    for name, value in given.items():
        if name in NOT_HERE:
            named[name] = value
        elif name not in known and name not in IGNORED:
            raise OptionError(f"{name} is not a generation option; {nearest(name, sorted(known))}")
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


def _check_call(call: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise for options of one call that cannot both be meant."""
    for one, other in (
        ("temp", "temperature"),
        ("temp", "do_sample"),
        ("max_length", "max_new_tokens"),
        ("min_length", "min_new_tokens"),
        ("sampler", "temp"),
        ("sampler", "do_sample"),
    ):
        if one in call and other in call:
            raise OptionError(f"{one} and {other} are both given; give one of them")
    samples = values.get("temp", 0) > 0 or values.get("do_sample", False)
    if not samples:
        draws = {name: option for name, option in OPTIONS.items() if option.draws}
        idle = [n for n in call if n in draws and call[n] != draws[n].default]
        if idle:
            raise OptionError(
                f"{idle[0]}={call[idle[0]]!r} is for sampling, but tokens are not drawn; pass "
                "do_sample=True, or temp above 0, or leave it out"
            )
    if "kv_group_size" in call and "kv_bits" not in values:
        raise OptionError("kv_group_size is given without kv_bits; give kv_bits=8 or 4 too")


def _check_together(options: Options) -> None:
    """Raise for settled options that exclude each other."""
    beams, wanted = options.num_beams, options.num_return_sequences
    if beams > 1 and wanted > beams:
        raise OptionError(
            f"num_return_sequences={wanted} is more than num_beams={beams}; raise num_beams"
        )
    draws = options.do_sample or options.sampler is not None
    if beams == 1 and wanted > 1 and not draws:
        raise OptionError(
            f"num_return_sequences={wanted} would give the same sequence {wanted} times; pass "
            f"num_beams={wanted} or more, or do_sample=True"
        )
    if beams > 1 and options.sampler is not None:
        raise OptionError(
            "a sampler draws one token for each row, beams need several; pass num_beams=1, or "
            "do_sample=True instead of the sampler"
        )
    if options.stop_strings and options.tokenizer is None:
        raise OptionError("stop_strings need a tokenizer; pass tokenizer=processor.tokenizer")
    if beams > 1 and "variance" in options.stop_on_repetition:
        raise OptionError(
            'the "variance" rule follows single rows; pass stop_on_repetition="ngram" with beams'
        )


def _check_vocabulary(options: Options, size: int) -> None:
    """Raise for an id outside the vocabulary in any list."""
    for name, option in OPTIONS.items():
        ids = option.value.ids(getattr(options, option.settled, ()))
        wrong = sorted({i for i in ids if not 0 <= i < size})
        if wrong:
            raise OptionError(
                f"{name} has {str(wrong[:8])[1:-1]}, outside the vocabulary of {size}; expected "
                f"ids from 0 to {size - 1}"
            )
