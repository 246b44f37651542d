"""Options of a command from several places: flags win over a file, the file over what was before.

The file is YAML or JSON, its keys the flags' names with underscores. As in mlx-lm's,
`lora_parameters` may hold those of adapters in a block of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from reprlib import repr  # bounded in length and depth
from typing import Any

from ..errors import OptionError, nearest
from ..files import near

EITHER = ({"iters", "epochs"}, {"scale", "alpha"})  # where one comes, the other goes
BLOCK = "lora_parameters"


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Options of several places as one mapping, in which later places win.

    >>> layered({"iters": 100, "rank": 4}, {"epochs": 2})
    {'rank': 4, 'epochs': 2}
    """
    found: dict[str, Any] = {}
    for layer in layers:
        for pair in EITHER:
            if pair & layer.keys():
                found = {name: value for name, value in found.items() if name not in pair}
        found |= layer
    return found


def given(args: argparse.Namespace, without: Iterable[str] = ()) -> dict[str, Any]:
    """The flags that were given."""
    return {k: v for k, v in vars(args).items() if v is not None and k not in without}


def read_settings(path: str | Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The options of a file, checked as the parser checks flags; nulls are left out."""
    values = _read(Path(path))
    block = values.pop(BLOCK, None) or {}
    if not isinstance(block, dict):
        raise OptionError(f"{path}: {BLOCK} is {repr(block)}; expected names and values")
    renamed = {"targets" if name == "keys" else name: value for name, value in block.items()}
    twice = sorted(renamed.keys() & values.keys())
    if twice:
        raise OptionError(f"{path} has {', '.join(twice)} twice; expected once, or in {BLOCK}")
    values |= renamed
    actions = {a.dest: a for a in parser._actions if a.dest not in ("help", "config")}
    unknown = [_unknown(str(name), actions) for name in values if name not in actions]
    if unknown:
        raise OptionError(f"{path} has {'; '.join(unknown)}")
    return {
        name: _checked(value, actions[name], f"{path}: {name}")
        for name, value in values.items()
        if value is not None
    }


def _read(path: Path) -> dict[str, Any]:
    import yaml  # which takes a while, and `--help` does not need it

    text = text_of(path, "flags in YAML or JSON")
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise OptionError(f"{path} is neither YAML nor JSON ({error}); mend it") from error
    if not isinstance(values, dict):
        raise OptionError(f"{path} holds {type(values).__name__}; expected names and values")
    return values


def text_of(path: Path, expected: str) -> str:
    """The text of a file that a flag names; an `OptionError` where it is none."""
    from ..images.loading import irregular

    if kind := irregular(path):
        raise OptionError(f"{path} is {kind}; expected a regular file; save what it gives")
    if not path.is_file():
        raise OptionError(f"{path} is no file; expected {expected}; {near(path)}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not UTF-8 ({error.reason}); expected {expected}") from error


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"{name}, which is no option; {nearest(name, known, '--help lists what there is')}"


def _checked(value: Any, action: argparse.Action, name: str) -> Any:
    """A value of the file as its flag would give it."""
    if action.nargs == "+":
        values = value if isinstance(value, list) else [value]
        return [_one(part, action, name) for part in values]
    return _one(value, action, name)


def _one(value: Any, action: argparse.Action, name: str) -> Any:
    kind = bool if action.nargs == 0 else action.type or str
    if kind is float and not isinstance(value, bool):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            value = float(value)  # YAML takes 1e-5 for text
    if isinstance(kind, type) and type(value) is not kind:
        raise OptionError(f"{name} is {repr(value)}; expected {_KINDS[kind]}")
    if action.choices is not None and value not in action.choices:
        raise OptionError(f"{name} is {repr(value)}; expected one of {', '.join(action.choices)}")
    return value


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
