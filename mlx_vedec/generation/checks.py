"""What options may be together, and in a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import OptionError
from .options import OPTIONS, Options


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
        draws = {name: option for name, option in OPTIONS.items() if option.draws}
        idle = [n for n in call if n in draws and call[n] != draws[n].default]
        if idle:
            raise OptionError(
                f"{idle[0]}={call[idle[0]]!r} is for sampling, but tokens are not drawn; pass "
                "do_sample=True, or temp above 0, or leave it out"
            )
    if "kv_group_size" in call and "kv_bits" not in values:
        raise OptionError("kv_group_size is given without kv_bits; give kv_bits=8 or 4 too")


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
    if beams > 1 and "variance" in options.stop_on_repetition:
        raise OptionError(
            'the "variance" rule follows single rows; pass stop_on_repetition="ngram" with beams'
        )


def check_vocabulary(options: Options, size: int) -> None:
    """Raise for an id outside the vocabulary in any list."""
    for name, option in OPTIONS.items():
        ids = option.value.ids(getattr(options, option.settled, ()))
        wrong = sorted({i for i in ids if not 0 <= i < size})
        if wrong:
            raise OptionError(
                f"{name} has {str(wrong[:8])[1:-1]}, outside the vocabulary of {size}; expected "
                f"ids from 0 to {size - 1}"
            )
