"""Flags that several commands share, and flags that are fields of a dataclass."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..generation.options import OPTIONS

Parser = argparse._ActionsContainer
FLAGS = {o.alias or name: o for name, o in OPTIONS.items() if o.flag}  # by their names in `args`
KINDS = {"int": (int, "N"), "float": (float, "X"), "str": (str, "NAME")}


def add_flag(p: Parser, names: str, help: str, unset: Any = None, **how: Any) -> None:
    """A flag whose help is a sentence that ends with its default, where something is said of that.

    names -- "temp", or "-t temp" with a letter
    """
    *short, name = names.split()
    if unset is not None:
        help = f"{help.removesuffix('.')} (default: {unset})."
    p.add_argument(*short, f"--{name.replace('_', '-')}", help=help.replace("%", "%%"), **how)


def add_fields(p: Parser, kind: Any, unset: Mapping[str, str] | None = None) -> None:
    """A flag for each field of a dataclass that has a `help` in its metadata; none has a default.

    unset -- what is said of defaults that are not those of the fields
    """
    for f in fields(kind):
        if "help" in f.metadata:
            own = " ".join(f.default) if isinstance(f.default, tuple) else f.default
            said = {f.name: None if own in (None, False, "") else own, **(unset or {})}[f.name]
            add_flag(p, f.name, f.metadata["help"], said, **_how(f.type, f.metadata.get("choices")))


def _how(type: Any, choices: Any = None) -> dict[str, Any]:
    """What `add_argument` wants for a type as annotations have it."""
    bare = type.removesuffix(" | None")
    if bare == "bool":
        return {"action": argparse.BooleanOptionalAction, "default": None}
    if bare.startswith("tuple"):
        return {"nargs": "+", "metavar": "NAME"}
    return {"choices": choices} if choices else {"type": KINDS[bare][0], "metavar": KINDS[bare][1]}


def add_generation_flags(p: argparse.ArgumentParser) -> None:
    """Give a parser the options by mlx-lm's names, the seed, and any other option by its own."""
    g = p.add_argument_group(
        "generation", "What no flag says, the checkpoint's generation_config.json says."
    )
    for name, o in FLAGS.items():
        add_flag(g, f"{o.short} {name}", o.help, o.unset or o.default, **_how(o.type))
    add_flag(g, "seed", "The seed of the draws.", "another at each run", **_how("int"))
    add_flag(
        g,
        "-o option",
        "Any other option of generation, its value in JSON: no_repeat_ngram_size=3.",
        action="append",
        default=[],
        metavar="NAME=VALUE",
    )


def generation_options(args: argparse.Namespace) -> dict[str, Any]:
    """The generation options of the flags that were given."""
    from ..errors import OptionError

    options = {name: getattr(args, name) for name in FLAGS if getattr(args, name) is not None}
    for text in args.option:
        name, equals, value = text.partition("=")
        if not equals or name in options:
            raise OptionError(f"--option {text!r}; expected NAME=VALUE, each name once")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options
