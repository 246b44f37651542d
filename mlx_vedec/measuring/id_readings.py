"""An image read under each of the ids that a checkpoint's files name, and which are meant."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import OptionError
from ..generation.disputes import ROLES, ids_in_force, ids_of, places_of
from ..generation.values import listed
from ..images.loading import ImageSource
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.generate import generate
from ..reading.processor import Processor

LONGEST = 200  # characters of a text that is shown


@dataclass(frozen=True)
class IdReading:
    """What a model reads under some ids, greedily.

    ids -- the start, the end and padding, by name. places -- which files name these. text -- at
    most 200 characters of it. mean_logprob -- of its tokens, the end among them. tokens -- how
    many. finish_reason -- as in `GenerationResult`. error -- why there is no text. meant -- whether
    the model means these ids, as far as this image tells.
    """

    ids: dict[str, Any]
    places: tuple[str, ...]
    text: str = ""
    mean_logprob: float = 0.0
    tokens: int = 0
    finish_reason: str | None = None
    error: str | None = None
    meant: bool = False

    @property
    def ends_at_once(self) -> bool:
        """Whether the first token is the end."""
        return self.finish_reason == "stop" and self.tokens <= 1

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**vars(self), "places": list(self.places), "ends_at_once": self.ends_at_once}

    def __str__(self) -> str:
        ids = ", ".join(f"{name}={repr(value)[:40]}" for name, value in self.ids.items())
        under = f"under {ids} ({' and '.join(self.places) or 'in force'})"
        if self.error is not None:
            return f"{under}: {self.error}"
        ends = "ends at once" if self.ends_at_once else f"{self.tokens} tokens"
        reason = {"stop": "", "length": " up to the greatest length"}.get(self.finish_reason or "")
        reason = " in circles" if reason is None else reason
        meant = "; the model means these" if self.meant else ""
        said = f"{ends}{reason}, mean log-probability {self.mean_logprob:.3f}{meant}"
        return f"{under}: {self.text!r}, {said}"


def id_readings(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: ImageSource,
    config: Mapping[str, Any],
    folder: Any,
) -> list[IdReading]:
    """The image read under the ids in force, then under those of each place that differs.

    What a place does not name is as it is in force; config -- the parsed `config.json`. The model
    means the ids under which a text does not end at once, comes to an end, and is likeliest, in
    this order of weight; where all texts are the same, none is marked.
    """
    used = ids_in_force(model.generation_config)
    sets: dict[tuple[Any, ...], tuple[dict[str, Any], list[str]]] = {_key(used): (used, [])}
    for place, values in places_of(folder, config).items():
        named = ids_of(place, values)
        if named:
            ids = {**used, **named}
            sets.setdefault(_key(ids), (ids, []))[1].append(place)
    with warnings.catch_warnings():  # of what is looked into here
        warnings.filterwarnings("ignore", "the files of the checkpoint differ")
        found = [_read(model, processor, image, ids, tuple(at)) for ids, at in sets.values()]
    if len({(r.text, r.tokens, r.finish_reason, r.error) for r in found}) == 1:
        return found
    best = max(found, key=_likeliness)
    return [_marked(reading, meant=reading is best) for reading in found]


def _key(ids: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(listed(ids[name]) for name in ROLES)


def _likeliness(reading: IdReading) -> tuple[bool, bool, bool, float]:
    whole = reading.finish_reason == "stop"
    return reading.error is None, not reading.ends_at_once, whole, reading.mean_logprob


def _marked(reading: IdReading, meant: bool) -> IdReading:
    return IdReading(**{**vars(reading), "meant": meant})


def _read(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: ImageSource,
    ids: dict[str, Any],
    places: tuple[str, ...],
) -> IdReading:
    shown = {name: list(v) if isinstance(v, tuple) else v for name, v in ids.items()}
    given: dict[str, Any] = {name: value for name, value in shown.items() if value is not None}
    try:
        result = generate(model, processor, image, do_sample=False, num_beams=1, **given)
    except OptionError as error:
        return IdReading(shown, places, error=str(error)[:LONGEST])
    return IdReading(
        shown,
        places,
        result.text[:LONGEST],
        sum(result.token_logprobs) / max(1, len(result.tokens)),
        len(result.tokens),
        result.finish_reason,
    )
