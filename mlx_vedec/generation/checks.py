"""What options may be together, and in a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import OptionError
from .options import Options, listed

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def check_call(call: Mapping[str, Any], values: Mapping[str, Any]) -> None:
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
        idle = [name for name in SAMPLING if name in call and call[name] != _default(name)]
        if idle:
            raise OptionError(
                f"{idle[0]}={call[idle[0]]!r} is for sampling, but tokens are not drawn; pass "
                "do_sample=True, or temp above 0, or leave it out"
            )
    if "kv_group_size" in call and "kv_bits" not in values:
        raise OptionError("kv_group_size is given without kv_bits; give kv_bits=8 or 4 too")


def _default(name: str) -> Any:
    return next(f.default for f in fields(Options) if f.name == name)


def check_together(options: Options) -> None:
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
    if options.max_kv_size is not None and options.max_kv_size <= options.prompt_length:
        raise OptionError(
            f"max_kv_size={options.max_kv_size} has no room beside the prompt's "
            f"{options.prompt_length} tokens, which are kept; raise it"
        )
    if beams > 1 and "variance" in options.stop_on_repetition:
        raise OptionError(
            'the "variance" rule follows single rows; pass stop_on_repetition="ngram" with beams'
        )


def check_vocabulary(options: Options, size: int) -> None:
    """Raise for an id outside the vocabulary in any list."""
    ids = {
        "eos_token_id": options.eos_token_ids,
        "pad_token_id": (options.pad_token_id,),
        "forced_bos_token_id": listed(options.forced_bos_token_id),
        "forced_eos_token_id": options.forced_eos_token_ids,
        "bad_words_ids": tuple(i for word in options.bad_words_ids for i in word),
        "sequence_bias": tuple(i for word, _ in options.sequence_bias for i in word),
        "suppress_tokens": options.suppress_tokens,
        "begin_suppress_tokens": options.begin_suppress_tokens,
    }
    for name, listed_ids in ids.items():
        wrong = sorted({i for i in listed_ids if not 0 <= i < size})
        if wrong:
            raise OptionError(
                f"{name} has {str(wrong[:8])[1:-1]}, outside the vocabulary of {size}; expected "
                f"ids from 0 to {size - 1}"
            )
