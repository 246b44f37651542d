"""Generation options: where they come from, which wins, and that they make sense together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..config import Config, read_json
from ..errors import OptionError
from ..files import write_json

# Options of transformers that change greedy decoding and are not built yet, with the value that
# leaves it alone. A checkpoint that sets another one is refused rather than read wrongly.
NEUTRAL: dict[str, Any] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "do_sample": False,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "exponential_decay_length_penalty": None,
    "max_time": None,
    "stop_strings": None,
}
ALIASES = {"max_tokens": "max_new_tokens"}  # mlx-lm's names


@dataclass(kw_only=True)
class GenerationConfig(Config):
    """The options in force for a model; editable, checked when a generation starts."""

    max_length: int | None = None
    max_new_tokens: int | None = None
    decoder_start_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | tuple[int, ...] | None = None

    @classmethod
    def from_folder(cls, folder: Path, config: Mapping[str, Any]) -> GenerationConfig:
        """From `generation_config.json`, the only file asked where there is one.

        A start token that it does not name comes from `config.json`, where transformers gives up.
        """
        legacy = cls.from_configs(config)
        path = folder / "generation_config.json"
        if not path.is_file():
            return legacy
        own = cls.from_dict(read_json(path))
        if own.decoder_start_token_id is None and own.bos_token_id is None:
            own.decoder_start_token_id = legacy.decoder_start_token_id
        return own

    @classmethod
    def from_configs(cls, config: Mapping[str, Any]) -> GenerationConfig:
        """From the top of a parsed `config.json`, then its decoder's part, as older versions saved.

        A decoder's `max_length: 20` is a default that was written out, not a choice.
        """
        top, decoder = _set(config), _set(config["decoder"])
        if decoder.get("max_length") == 20:
            del decoder["max_length"]
        values = {**decoder, **top}
        return cls.from_dict({name: values[name] for name in values if name in known_options()})

    def save(self, folder: Path) -> None:
        """Write `generation_config.json`, leaving out what is not set."""
        values = {key: value for key, value in self.to_dict().items() if value is not None}
        write_json(folder / "generation_config.json", values)


@dataclass(frozen=True)
class Options:
    """What one generation goes by, every value settled.

    max_length    -- tokens of a row, the prompt included
    eos_token_ids -- a row ends after any of these
    pad_token_id  -- fills a row that has ended
    forced_bos_token_id, forced_eos_token_id -- the second token of a row, and the one that its
                     length ends with, whatever the model says
    """

    max_length: int
    eos_token_ids: tuple[int, ...]
    pad_token_id: int
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None

    def forced(self, length: int) -> int | None:
        """The id that has to follow a row of this length, if one has to."""
        if length == self.max_length - 1 and self.forced_eos_token_id is not None:
            return self.forced_eos_token_id
        return self.forced_bos_token_id if length == 1 else None


def known_options() -> set[str]:
    """Every option name that is understood."""
    return {*(f.name for f in fields(GenerationConfig)), *NEUTRAL, *ALIASES} - {"extra"}


def resolve(
    config: GenerationConfig, given: Mapping[str, Any], *, prompt_length: int, limit: int
) -> Options:
    """Settle the options of a call: those given, then the checkpoint's, then the defaults.

    limit -- the end of the position table: the length where none is set, and the bound of any.
    """
    call = _named(given)
    for name, neutral in NEUTRAL.items():
        value = call.get(name, config.extra.get(name))
        if value is not None and value != neutral:
            source = "asked for" if name in call else "set by the checkpoint"
            raise OptionError(
                f"{name}={value!r} is {source}, but only plain greedy decoding is built so far; "
                f"pass {name}={neutral!r}"
            )
    own = vars(config)
    eos = _ids(call.get("eos_token_id", own["eos_token_id"]))
    pad = call.get("pad_token_id", own["pad_token_id"])
    forced_eos = call.get("forced_eos_token_id", own["forced_eos_token_id"])
    return Options(
        max_length=_max_length(call, own, prompt_length, limit),
        eos_token_ids=eos,
        pad_token_id=pad if pad is not None else eos[0] if eos else 0,
        forced_bos_token_id=call.get("forced_bos_token_id", own["forced_bos_token_id"]),
        forced_eos_token_id=next(iter(_ids(forced_eos)), None),
    )


def start_token(config: GenerationConfig, given: Mapping[str, Any]) -> int | None:
    """The id every prompt starts with: `decoder_start_token_id`, else `bos_token_id`."""
    for name in ("decoder_start_token_id", "bos_token_id"):
        for source in (given, vars(config)):
            if source.get(name) is not None:
                return source[name]
    return None


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    known = known_options()
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"; did you mean {close[0]}?"
                if close
                else f"; known are {', '.join(sorted(known))}"
            )
            raise OptionError(f"{name} is not a generation option{hint}")
    named = {ALIASES.get(name, name): value for name, value in given.items() if value is not None}
    if len(named) < sum(value is not None for value in given.values()):
        raise OptionError("max_tokens and max_new_tokens are the same option; give one of them")
    return named


def _max_length(
    call: Mapping[str, Any], own: Mapping[str, Any], prompt_length: int, limit: int
) -> int:
    for source in (call, own):
        for name, before in (("max_new_tokens", prompt_length), ("max_length", 0)):
            value = source.get(name)
            if value is not None:
                return _within(name, value, before, prompt_length, limit, strict=source is call)
    return limit


def _within(
    name: str, value: Any, before: int, prompt_length: int, limit: int, *, strict: bool
) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise OptionError(f"{name} is {value!r}; expected a whole number of at least 1")
    total = before + value
    if total <= prompt_length:
        raise OptionError(f"{name}={value} leaves no room after a prompt of {prompt_length} tokens")
    if total > limit and strict:
        raise OptionError(
            f"{name}={value} goes past the end of the position table, {limit} tokens with the "
            f"prompt's {prompt_length}; leave it out to go to the end"
        )
    return min(total, limit)


def _ids(value: int | tuple[int, ...] | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
