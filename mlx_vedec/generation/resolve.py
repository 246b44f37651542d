"""Options of a call, of its `generation_config` and of the checkpoint settled into one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import OptionError, nearest, spelt
from .config import GenerationConfig
from .lengths import Lengths
from .options import OPTIONS, Options

ALIASES = {option.alias: name for name, option in OPTIONS.items() if option.alias}
# Of transformers' options those that change no text: how its cache is kept and its code compiled,
# what an assistant would do if there were one, what is returned besides tokens.
HARMLESS = (
    *("use_cache", "cache_implementation", "cache_config", "max_cache_len", "return_legacy_cache"),
    *("prefill_chunk_size", "compile_config", "disable_compile", "continuous_batching_config"),
    *("is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule"),
    *("assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind"),
    *("assistant_ensemble_weight", "max_matching_ngram_size", "synced_gpus", "use_model_defaults"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *("return_dict_in_generate", "transformers_version", "_from_model_config", "generation_kwargs"),
    *("trust_remote_code",),
)
# Its options that would change the text and are not here, with the value that leaves decoding
# alone: ways of decoding that it no longer has, or never had for this family, and rules about the
# text that an encoder of images does not read. Another value is refused rather than read wrongly.
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
    "assistant_model": None,
    "assistant_early_exit": None,
    "speculation_type": None,
    "use_mtp": False,
    "token_healing": False,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "negative_prompt_ids": None,
    "negative_prompt_attention_mask": None,
    "forced_decoder_ids": None,
    "custom_generate": None,
    "streamer": None,
}
QUANTIZED = "quantized"  # the one cache of transformers that changes the text


def resolve(
    config: GenerationConfig,
    given: Mapping[str, Any],
    *,
    limit: int,
    ends: bool = True,
    vocab_size: int | None = None,
) -> Options:
    """Settle the options of a call: those given, then the checkpoint's, then the defaults.

    limit -- tokens of a row that fills the position table, the last one not fed: the length where
    none is set, and the bound of any, unless the table has no end and `ends` is not set.
    vocab_size -- the bound of the ids in every list. What hangs on the prompt is settled by
    `Options.after`.
    """
    call, values = _layered(config, given)
    if "temp" in values:
        temp = values.pop("temp")
        values |= {"do_sample": temp > 0, "temperature": temp or 1.0}
    lengths = {f.name: values.pop(f.name) for f in fields(Lengths) if f.name in values}
    chosen = frozenset(call).intersection(lengths)
    settled = {OPTIONS[n].settled: OPTIONS[n].value.form(values[n]) for n in OPTIONS if n in values}
    eos = settled.setdefault("eos_token_ids", ())
    settled.setdefault("pad_token_id", eos[0] if eos else 0)
    options = Options(
        limit, **settled, lengths=Lengths(**lengths, limit=limit, ends=ends, given=chosen)
    )
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
    if isinstance(between, GenerationConfig):  # its unknown names are the checkpoint's own
        between = between.settings()
    else:
        between = _named(between if isinstance(between, Mapping) else between.to_dict())
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
    """The options of a call under their own names, without those that are None.

    Numbers and lists may be numpy's or MLX's.
    """
    known = {*OPTIONS, *ALIASES}
    named: dict[str, Any] = {}
    for name, value in given.items():
        value = value.tolist() if hasattr(value, "tolist") else value
        if name in NOT_HERE or name in HARMLESS:
            named[name] = value
        elif value is not None and name not in known:
            raise OptionError(
                f"{name[:80]} is not a generation option; {nearest(name[:80], sorted(known))}"
            )
        elif value is not None:
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
                f"{name}={spelt(value)} is {source}, but decoding here is greedy, sampling, or "
                f"beam search, over tokens of the decoder alone; pass {name}={neutral!r}"
            )
    if values.get("cache_implementation") == QUANTIZED:
        raise OptionError(
            "cache_implementation='quantized' is transformers' way; pass cache_implementation=None "
            "and kv_bits=4 or 8"
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
    """Raise for an id outside the vocabulary in any list, and for more beams than ids."""
    if options.num_beams > size:
        raise OptionError(
            f"num_beams={options.num_beams} is more than the vocabulary has ids, {size}; lower it"
        )
    for name, option in OPTIONS.items():
        ids = option.value.ids(getattr(options, option.settled, ()))
        wrong = sorted({i for i in ids if not 0 <= i < size})
        if wrong:
            raise OptionError(
                f"{name} has {str(wrong[:8])[1:-1]}, outside the vocabulary of {size}; expected "
                f"ids from 0 to {size - 1}"
            )
