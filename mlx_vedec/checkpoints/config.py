"""Configurations: dataclasses with Hugging Face's field names that keep unknown keys."""

from __future__ import annotations

import json
import math
import stat
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..errors import ConfigError, nearest
from ..files import make_folder, write_json
from .hub import fetch, required

C = TypeVar("C", bound="Config")
LARGEST = 2**31 - 1


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; a `ConfigError` names the file where there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no regular file")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of numbers of thousands of digits, of depth
        raise ConfigError(f"{path} is not JSON ({error}); download the file again") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; expected a JSON object")
    return values


def check_object(values: Any) -> None:
    """Raise `ConfigError` for what is no parsed JSON object."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"a config is {repr(values)[:80]}; expected an object of its fields")


class _Open(type):
    """Lets a config be made of other names of its fields, and of keywords that are no fields."""

    if not TYPE_CHECKING:  # which should go on refusing names that no config has

        def __call__(cls, **given: Any) -> Any:
            known, extra = cls.sorted_out(given)
            return super().__call__(**known, extra=extra)


@dataclass(kw_only=True)
class Config(metaclass=_Open):
    """Base of all configurations. Keys that are not fields are kept in `extra` and written back."""

    model_type: ClassVar[str] = ""
    aliases: ClassVar[dict[str, str]] = {}  # other names of fields: Hugging Face's attribute_map
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(self.aliases.get(name, name), value)

    if not TYPE_CHECKING:  # a type checker should go on refusing names that no config has

        def __getattr__(self, name: str) -> Any:
            if name in self.aliases:
                return getattr(self, self.aliases[name])
            if name != "extra" and name in self.extra:
                return self.extra[name]
            raise AttributeError(f"{type(self).__name__} has no {name}")

    @classmethod
    def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
        """Build from a parsed `config.json`. A null stands for the default of its field."""
        check_object(values)
        known, extra = cls.sorted_out(values)
        known = {key: value for key, value in known.items() if value is not None}
        config = cls(**known, extra=extra)
        config.check()
        return config

    @classmethod
    def sorted_out(cls, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields among these values, under their own names, and what is kept beside them."""
        known = {f.name for f in fields(cls)} - {"extra"}
        named = {cls.aliases.get(key, key): value for key, value in values.items()}
        extra = dict(named.pop("extra", None) or {})
        given_type = named.pop("model_type", None)
        if given_type not in (None, cls.model_type):
            raise ConfigError(f"model_type is {given_type!r}; expected {cls.model_type!r}")
        own = {key: _frozen(value) for key, value in named.items() if key in known}
        return own, {**extra, **{key: named[key] for key in named if key not in known}}

    @classmethod
    def from_pretrained(
        cls: type[C], path_or_hf_repo: str | Path, *, revision: str | None = None
    ) -> C:
        """Read `config.json` of a folder or a Hub id."""
        folder = fetch(path_or_hf_repo, revision, weights=False)
        return cls.from_dict(read_json(required(folder, "config.json")))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` into a folder, which is made if it is not there."""
        self.check()
        write_json(make_folder(folder) / "config.json", self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Every field, every unknown key and every attribute set since, ready for JSON."""
        own = {key: value for key, value in vars(self).items() if key != "extra"}
        model_type = {"model_type": self.model_type} if self.model_type else {}
        return {**self.extra, **own, **model_type}

    def set(self, name: str, value: Any) -> None:
        """Set a field, or another key that is there; `decoder.vocab_size` is one of the decoder."""
        outer, _, inner = name.partition(".")
        known = {*vars(self), *self.aliases, *self.extra} - {"extra"}
        if outer not in known:
            hint = nearest(outer, sorted(known))
            raise ConfigError(self._message(outer, value, f"it is no field; {hint}"))
        if inner and isinstance(getattr(self, outer), Config):
            getattr(self, outer).set(inner, value)
        elif inner:
            raise ConfigError(self._message(name, value, f"expected {outer} without a point"))
        elif outer in self.extra:
            self.extra[outer] = value
        else:
            setattr(self, outer, _frozen(value))

    def check(self) -> None:
        """Raise `ConfigError` for a value of the wrong type or out of range."""
        hints = _hints(type(self))
        for f in fields(self):
            value: Any = getattr(self, f.name)
            if not _fits(value, hints[f.name]):
                raise ConfigError(self._message(f.name, value, f"expected {f.type}"))
            if hints[f.name] is int and not f.name.endswith("_id") and not 1 <= value <= LARGEST:
                raise ConfigError(self._message(f.name, value, f"expected 1 to {LARGEST}"))
            if f.name.endswith(("_eps", "_epsilon")):
                self.require(value > 0, f.name, "expected a number above 0")
            if "drop" in f.name and isinstance(value, (int, float)) and not 0 <= value < 1:
                raise ConfigError(self._message(f.name, value, "expected 0 or more and below 1"))
            if not all(map(_is_moderate, value if isinstance(value, tuple) else (value,))):
                raise ConfigError(self._message(f.name, value, f"expected numbers to {LARGEST}"))

    def divisible(self, name: str, by: str) -> None:
        """Raise `ConfigError` unless field `name` is a multiple of field `by`."""
        value, divisor = getattr(self, name), getattr(self, by)
        self.require(not value % divisor, name, f"expected a multiple of {by}, {divisor}")

    def require(self, right: object, name: str, expected: str) -> None:
        """Raise `ConfigError` about the value of field `name` unless it is right."""
        if not right:
            raise ConfigError(self._message(name, getattr(self, name), expected))

    def _message(self, name: str, value: object, expected: str) -> str:
        said = repr(value)[:80]
        return f"{self.model_type or type(self).__name__} config: {name} is {said}; {expected}"


# Dataclasses of options


def option(default: Any, help: str, **limits: Any) -> Any:
    """A field of options, with what its flag and its check need to know.

    limits -- choices: the values there are. least, most, also: of whole numbers, the last one more
    that is taken. above, below: of numbers, which are from 0 on. expected: of others, in words.
    unset -- what None is, for the flag.
    """
    return field(default=default, metadata={"help": help, **limits})


def check_options(options: Any, error: type[ValueError]) -> None:
    """Raise an error for a field that is not of its type, or not within the limits it has."""
    hints = _hints(type(options))
    for f in fields(options):
        value, kinds = getattr(options, f.name), str(f.type).split(" | ")
        if value is None and "None" in kinds:
            continue
        fits, expected = _within(value, kinds[0], hints[f.name], f.metadata)
        if not fits:
            raise error(f"{f.name} is {value!r}; expected {expected}")


def _within(value: Any, kind: str, hint: Any, limits: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a value is of its field's type and within its limits, and what would be, in words."""
    typed = "choices" in limits or _fits(value, hint)
    if "choices" in limits:
        choices = limits["choices"]
        return isinstance(value, str) and value in choices, f"one of {', '.join(choices)}"
    if kind == "int":
        least, most, also = limits["least"], limits.get("most", LARGEST), limits.get("also")
        if typed and value > most:
            return False, f"a whole number, {most} or less"
        fits = typed and (value >= least or value == also)
        return fits, f"a whole number, {least} or more" + (f", or {also}" if also else "")
    if kind == "float" and typed and value > LARGEST:
        return False, f"a number, {LARGEST} or less"
    if kind == "float" and "above" in limits:
        return typed and value > limits["above"], f"a number above {limits['above']}"
    if kind == "float":
        below = limits.get("below", math.inf)
        bound = "" if below == math.inf else f" and below {below}"
        return typed and 0 <= value < below, f"a number from 0 on{bound}"
    return typed, limits.get("expected", "True or False")


@cache  # to evaluate them took a third of the time that a load of a small model takes
def _hints(config: type[Config]) -> dict[str, Any]:
    return typing.get_type_hints(config)


def _is_moderate(value: object) -> bool:
    """Whether a value is no number, or one that sizes and weights may have."""
    return not isinstance(value, (int, float)) or -LARGEST <= value <= LARGEST


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type: a class, a union of classes, or a tuple of them."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is tuple:
        return (
            isinstance(value, tuple)
            and (arguments[-1] is Ellipsis or len(value) == len(arguments))
            and all(_fits(item, arguments[0]) for item in value)
        )
    if origin is dict:
        return isinstance(value, dict)
    if hint in (int, float):
        numbers = (int, float) if hint is float else int
        return isinstance(value, numbers) and not isinstance(value, bool)
    return hint is Any or isinstance(value, hint)
