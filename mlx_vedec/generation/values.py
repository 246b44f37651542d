"""What each option may be, one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import OptionError
from .config import GenerationConfig
from .options import listed


def is_int(value: Any) -> bool:
    """Whether a value is a whole number, which True is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _at_least(low: int) -> tuple[Callable[[Any], bool], str]:
    return lambda v: is_int(v) and v >= low, f"a whole number of at least {low}"


def _share(low_closed: bool, high_closed: bool) -> tuple[Callable[[Any], bool], str]:
    def fits(v: Any) -> bool:
        above = v >= 0 if low_closed else v > 0
        return above and (v <= 1 if high_closed else v < 1)

    bounds = f"{'from 0' if low_closed else 'above 0'} {'to 1' if high_closed else 'to below 1'}"
    return lambda v: _is_number(v) and fits(v), f"a number {bounds}"


def _ids(value: Any) -> bool:
    return all(is_int(v) for v in listed(value))


TRUTH = (lambda v: isinstance(v, bool), "True or False")
POSITIVE = (lambda v: _is_number(v) and v > 0, "a number above 0")
CALLS = (lambda v: all(callable(f) for f in listed(v)), "a function, or a list of them")
CALL = (callable, "a function")
IDS = (_ids, "token ids")
# What each option may be, in words too.
FITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_length": _at_least(1),
    "max_new_tokens": _at_least(1),
    "min_length": _at_least(0),
    "min_new_tokens": _at_least(0),
    "max_time": POSITIVE,
    "stop_strings": (
        lambda v: all(isinstance(s, str) and s for s in listed(v)),
        "a text, or a list of texts",
    ),
    "stop_on_repetition": (
        lambda v: isinstance(v, bool) or set(listed(v)) <= {"variance", "ngram"},
        'True, False, "variance" or "ngram"',
    ),
    "stopping_criteria": CALLS,
    "num_beams": _at_least(1),
    "num_return_sequences": _at_least(1),
    "early_stopping": (lambda v: v in (True, False, "never"), 'True, False or "never"'),
    "length_penalty": (_is_number, "a number"),
    "do_sample": TRUTH,
    "temp": (lambda v: _is_number(v) and v >= 0, "a number of 0 (greedy) or more"),
    "temperature": (
        POSITIVE[0],
        "a number above 0; pass do_sample=False, or temp=0, to decode greedily",
    ),
    "top_k": _at_least(0),
    "top_p": _share(True, True),
    "min_p": _share(True, True),
    "typical_p": _share(False, True),
    "epsilon_cutoff": _share(True, False),
    "eta_cutoff": _share(True, False),
    "sampler": CALL,
    "renormalize_logits": TRUTH,
    "repetition_penalty": POSITIVE,
    "no_repeat_ngram_size": _at_least(0),
    "bad_words_ids": (
        lambda v: all(not is_int(w) and len(w) and _ids(w) for w in v),
        "a list of lists of token ids, none of them empty",
    ),
    "suppress_tokens": IDS,
    "begin_suppress_tokens": IDS,
    "sequence_bias": (
        lambda v: all(len(w) and _ids(w) and _is_number(b) for w, b in _pairs(v)),
        "sequences of token ids, each with a number",
    ),
    "exponential_decay_length_penalty": (
        lambda v: len(v) == 2 and is_int(v[0]) and _is_number(v[1]),
        "(start, factor): a whole number and a number",
    ),
    "decoder_start_token_id": IDS,
    "bos_token_id": IDS,
    "eos_token_id": IDS,
    "pad_token_id": (is_int, "a token id"),
    "forced_bos_token_id": (is_int, "a token id"),
    "forced_eos_token_id": IDS,
    "prefix_allowed_tokens_fn": CALL,
    "remove_invalid_values": TRUTH,
    "logits_processor": CALLS,
    "logits_processors": CALLS,
    "max_kv_size": _at_least(2),
    "kv_bits": (lambda v: v in (2, 3, 4, 5, 6, 8), "2, 3, 4, 5, 6 or 8"),
    "kv_group_size": (lambda v: v in (32, 64, 128), "32, 64 or 128"),
    "tokenizer": (lambda v: hasattr(v, "decode"), "a tokenizer"),
    "generation_config": (
        lambda v: isinstance(v, (GenerationConfig, Mapping)),
        "a GenerationConfig, or a mapping of options",
    ),
}


def _pairs(value: Any) -> Any:
    return value.items() if isinstance(value, Mapping) else value


def check_value(name: str, value: Any, source: str = "") -> None:
    """Raise `OptionError` for a value that an option cannot have; source -- where it stands."""
    fits, expected = FITS[name]
    try:
        fine = fits(value)
    except TypeError:  # of a kind that the question does not apply to
        fine = False
    if not fine:
        raise OptionError(f"{name} is {value!r}{source}; expected {expected}")
