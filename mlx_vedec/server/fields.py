"""The fields of a request: each checked, options of generation by the names that `generate` has."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import nearest, shown
from ..generation.options import OPTIONS, Options
from ..generation.resolve import ALIASES
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.generate import settle
from ..reading.processor import Processor
from .limits import OPTION_ITEMS, STOP_LENGTH, STOPS
from .refusals import Refusal

# Options that JSON can say, and that stand for one image.
OWN = frozenset(name for name, option in OPTIONS.items() if option.value.in_files) | {
    alias for alias, name in ALIASES.items() if OPTIONS[name].value.in_files
}
SEEDS = 2**64


def as_json(content: bytes) -> dict[str, Any]:
    """The object that a body says in JSON."""
    try:
        values = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise Refusal(400, f"the body is not JSON: {said}") from None
    if not isinstance(values, dict):
        raise Refusal(400, f"the body is {shown(values)}; expected a JSON object")
    return values


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def refuse_unknown(values: Mapping[str, Any], known: frozenset[str] | set[str]) -> None:
    """Raise `Refusal` for the first field that is not known."""
    for name in values:
        if name not in known:
            said = nearest(name[:80], sorted(known), "leave it out")
            raise Refusal(400, f"{ascii(name[:80])} is not taken here; {said}", param=name[:80])


def true_or_false(values: Mapping[str, Any], name: str) -> bool:
    """A field that is a truth; false where it is not there."""
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refusal(400, f"{name} is {shown(value)}; expected true or false", param=name)
    return bool(value)


def text_or_none(values: Mapping[str, Any], name: str) -> str | None:
    """A field that is a text; None where it is not there."""
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal(400, f"{name} is {shown(value)}; expected a text", param=name)
    return value


def settled(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    options: Mapping[str, Any],
    *,
    grammar: bool,
    most_rows: int,
) -> Options:
    """The options that a text is read by; an `OptionError` where they are wrong."""
    for name, value in options.items():
        if _items(value) > OPTION_ITEMS:
            raise Refusal(
                400, f"{name} has over {OPTION_ITEMS} items; expected no more", param=name
            )
    found = settle(model, processor, {**options}, grammar=grammar)
    if not found.do_sample:
        found = replace(found, seed=None)  # alike options are decoded together
    if found.sequences_per_image > most_rows:
        raise Refusal(
            400,
            f"{found.sequences_per_image} texts or beams of an image are asked for; expected at "
            f"most {most_rows}, as many as this server reads at once",
        )
    stops = found.stop_strings
    if len(stops) > STOPS or any(len(stop) > STOP_LENGTH for stop in stops):
        raise Refusal(
            400,
            f"stop has {len(stops)} texts, the longest of {max(map(len, stops))} characters; "
            f"expected at most {STOPS}, of {STOP_LENGTH}",
            param="stop",
        )
    return found


def with_seed(options: Options) -> Options:
    """Options that draw, with a seed: a text that has to be begun again is then the same."""
    if options.do_sample and options.seed is None:
        return replace(options, seed=random.randrange(SEEDS))
    return options


def _items(value: Any) -> int:
    """How many items a list or an object has, those of lists in it counted."""
    if isinstance(value, Mapping):
        value = [*value.items()]
    if not isinstance(value, (list, tuple)):
        return 0
    return len(value) + sum(map(_items, value))
