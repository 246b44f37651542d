"""Flags that several commands share, flags that are fields of a dataclass, and their parser."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import OptionError, nearest

if TYPE_CHECKING:
    from ..generation.values import Option

Parser = argparse._ActionsContainer
YES: dict[str, Any] = {"action": "store_true"}
NUMBER: dict[str, Any] = {"type": int, "metavar": "N"}
EITHER: dict[str, Any] = {"action": argparse.BooleanOptionalAction, "default": None}
HOW = {"int": NUMBER, "float": {"type": float, "metavar": "X"}, "bool": EITHER}
# Other names under which a flag is understood, where the command has no flag of that name.
ALSO = {
    "--temperature": "--temp",
    "--max-new-tokens": "--max-tokens",
    "--image": "--images",
    "--images": "--image",
    "--families": "--family",
    "--metric": "--metrics",
    "--target": "--targets",
    "--lr": "--learning-rate",
    "--model": "--path",
}
SEEDS = 2**64  # MLX takes a seed below it


class FlagParser(argparse.ArgumentParser):
    """The parser of a command: an error is one line, which names the nearest flag.

    Underscores in a flag's name are taken for hyphens, and the names of `ALSO` are understood. An
    option of generation without a flag of its own is understood as `--option` where there is that.
    Words without a flag are images, where there is `--image`.
    """

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore
        """As `argparse` does; a word that belongs to no flag is an error or an image."""
        words = [*self._understood(sys.argv[1:] if args is None else args)]
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        flags = takewhile(lambda word: word != "--", words)
        for name in (word.partition("=")[0] for word in flags if word.startswith("--")):
            if not any(flag.startswith(name) for flag in known):  # before what is missing is told
                self.error(f"{name} is no flag; {_near_flag(name, known)}")
        found, rest = self.parse_known_args(words, namespace)
        rest = [word for word in rest if word != "--"]
        for word in rest:
            if word.startswith("-") and word != "-":
                name = word.partition("=")[0]
                self.error(f"{name} is no flag; {_near_flag(name, known)}")
        if "image" in found:
            found.image = [*(found.image or ()), *rest]
            needed = self.get_default("image") is None and getattr(found, "watch", None) is None
            if needed and not found.image:
                self.error("the following arguments are required: --image")
        elif rest:
            self.error(f"{rest[0]!r} belongs to no flag; --help says which flag takes it")
        return found

    def error(self, message: str) -> NoReturn:
        """Print it on one line, and exit with 2."""
        said = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {said if len(said) < 1000 else said[:1000] + '…'}\n")

    def _understood(self, args: Sequence[str]) -> Iterator[str]:
        """The words of a command line with the flags' own names."""
        flags, rest = self._option_string_actions, [*args]
        places = {f"--{action.dest}" for action in self._actions if not action.option_strings}
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if not name.startswith("--") or name in flags or " " in name:
                yield word
                continue
            name = name.replace("_", "-")
            if name in places:  # what has a place needs no flag
                yield from [value] * bool(equals)
                continue
            if name not in flags and ALSO.get(name) in flags:
                name = ALSO[name]
            option = name[2:].replace("-", "_")
            if name in flags or "--option" not in flags or option not in _options():
                yield name + equals + value
                continue
            if not equals and _options()[option].type == "bool":
                said = rest and rest[0].lower() in ("true", "false")
                value = rest.pop(0).lower() if said else "true"
            elif not equals:
                value = rest.pop(0) if rest else ""
            yield from ("--option", f"{option}={value}")


def _near_flag(name: str, known: Sequence[str]) -> str:
    """What to say after a flag that there is not."""
    return nearest(name, known, "--help lists the flags")


@cache
def _options() -> dict[str, Option]:
    """The options of generation by their names in a call."""
    from ..generation.options import OPTIONS

    return OPTIONS


@cache
def _generation_flags() -> dict[str, Option]:
    """Those that have a flag, by their names in `args`."""
    return {o.alias or name: o for name, o in _options().items() if o.flag}


# Flags that mean the same in every command: what is said, also of the default, and how they parse.
SHARED: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "model": (
        "The model: a folder, or a Hub id, which is downloaded.",
        "the line reader that comes with the package",
        {},
    ),
    "revision": (
        "The branch, tag or commit to read where the model is a Hub id.",
        "main",
        {},
    ),
    "subfolder": ("The subfolder of the model's folder or repository that holds it.", None, {}),
    "processor": (
        "The folder or Hub id whose processor reads the images, if the model's own does not fit.",
        "the model's own",
        {"metavar": "MODEL"},
    ),
    "image_steps": (
        "The project whose own steps prepare the images of formulas and clean their texts.",
        "what the model's folder says",
        {"choices": ("texteller", "nougat-latex", "texify")},
    ),
    "image_size": (
        "The size of the images that the model reads, HxW in pixels, or one number for both; "
        "positions are interpolated.",
        "the processor's",
        {"metavar": "HxW"},
    ),
    "adapter_path": (
        "A folder of adapters for the model, written by `mlx_vedec lora` or by PEFT.",
        None,
        {"metavar": "FOLDER"},
    ),
    "quantize": (
        "Quantize the model's weights to this many bits, 2 to 6 or 8, while it is loaded.",
        "they stay as they are stored",
        {"type": int, "metavar": "BITS"},
    ),
    "dtype": (
        "The type of the model's weights in memory.",
        "the type they are stored in, but on a CPU float32 for half types",
        {"choices": ("float32", "float16", "bfloat16")},
    ),
    "batch_size": ("The number of images that are read at once.", None, NUMBER),
    "data": ("Images with their texts: a folder or a file, as LORA.md tells.", None, {}),
    "data_layout": (
        "The layout to read the data in, where they could be read in several: table, beside, list, "
        "iam, pages, parquet, datasets or webdataset.",
        "the only one they are in",
        {"metavar": "NAME"},
    ),
    "image_column": (
        "The column of a table that has the images.",
        "image, file_name or file",
        {"metavar": "NAME"},
    ),
    "text_column": (
        "The column of a table that has the texts.",
        "text or ground_truth",
        {"metavar": "NAME"},
    ),
    "valid_fraction": (
        "The part of the split train, such as 0.1, that becomes the split valid; pages stay whole.",
        None,
        {"type": float, "metavar": "X"},
    ),
    "prompt": (
        "What the decoder is given before it writes; for Donut a question, or a task's tags.",
        "the checkpoint's own",
        {},
    ),
    "grammar": ("Let only well-formed tags come, for Donut.", None, YES),
    "json": ("Print the results as one JSON object.", None, YES),
    "overwrite": ("Replace what is already in the folder to write.", None, YES),
    "dequantize": ("Write floats in the place of quantized weights.", None, YES),
    "dry_run": ("Say what would be done, and write nothing.", None, YES),
    "private": ("Make the repository on the Hub private, if it is new.", None, YES),
    "upload_repo": (
        "The repository on the Hub to upload to, as owner/name; made if it is not there.",
        None,
        {"metavar": "ID"},
    ),
}
LOADING = (
    *("revision", "subfolder", "processor", "image_steps"),
    *("adapter_path", "quantize", "dtype"),
)
DATA = ("data_layout", "image_column", "text_column", "valid_fraction")


def add_flag(p: Parser, names: str, help: str, unset: Any = None, **how: Any) -> None:
    """A flag whose help is a sentence that ends with its default, where there is one to name.

    names -- "temp", or "-t temp" with a letter. unset -- what it is to leave the flag out, where
    how, which is `add_argument`'s, does not have it as the default
    """
    *short, name = names.split()
    unset = how.get("default") or None if unset is None else unset
    if how.get("nargs") in ("+", "*"):
        how = {"action": "extend", **how}  # a list that is given twice is one list
    if unset is not None:
        help = f"{help.removesuffix('.')} (default: {unset})."
    p.add_argument(*short, f"--{name.replace('_', '-')}", help=help.replace("%", "%%"), **how)


def add_shared(p: Parser, *names: str, unset: Any = None, **how: Any) -> None:
    """Flags of `SHARED`; unset and how -- what is said of the default and done otherwise here."""
    for names_ in names:
        help, said, own = SHARED[names_.split()[-1]]
        said = None if how.get("required") else unset or how.get("default") or said
        add_flag(p, names_, help, said, **{**own, **how})


def add_fields(p: Parser, kind: Any, unset: Mapping[str, str] | None = None) -> None:
    """A flag for each field of a dataclass that has a `help` in its metadata; none has a default.

    unset -- what is said of defaults that are not those of the fields
    """
    for f in fields(kind):
        said = f.metadata.get("unset") or f.default
        if isinstance(said, tuple):
            said = " ".join(said)
        if said is False or said == "":
            said = None
        if "help" in f.metadata:
            said, choices = (unset or {}).get(f.name, said), f.metadata.get("choices")
            add_flag(p, f.name, f.metadata["help"], said, **_how(f.type, choices))


def _how(type: Any, choices: Any = None) -> dict[str, Any]:
    """The keywords of `add_argument` for a type as annotations have it."""
    bare = type.removesuffix(" | None")
    if choices:
        return {"choices": choices}
    return {"nargs": "+", "metavar": "NAME"} if bare.startswith("tuple") else HOW[bare]


def add_option(p: Parser, name: str, unset: str = "") -> None:
    """The flag of an option of generation."""
    o = _generation_flags()[name]
    add_flag(p, f"{o.short} {name}", o.help, unset or o.unset or o.default, **_how(o.type))


def add_generation_flags(p: argparse.ArgumentParser) -> None:
    """Give a parser the options by mlx-lm's names, the seed, and any other option by its own."""
    g = p.add_argument_group(
        "generation", "What no flag says, the checkpoint's generation_config.json says."
    )
    for name in _generation_flags():
        add_option(g, name)
    seed = {"type": _seed, "metavar": "N"}
    add_flag(g, "seed", "The seed of the draws.", "another at each run", **seed)
    add_flag(
        g,
        "-o option",
        "Any other option of generation, its value in JSON: no_repeat_ngram_size=3.",
        action="append",
        default=[],
        metavar="NAME=VALUE",
    )


def _seed(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 20 and int(text) < SEEDS):
        raise argparse.ArgumentTypeError(f"{text[:30]!r} is no seed; expected 0 to 2**64 - 1")
    return int(text)


def generation_options(args: argparse.Namespace) -> dict[str, Any]:
    """The generation options of the flags that were given."""
    flags = _generation_flags()
    options = {name: getattr(args, name) for name in flags if getattr(args, name) is not None}
    for text in args.option:
        name, equals, value = text.partition("=")
        if not equals or name in options:
            raise OptionError(f"--option {text[:200]!r}; expected NAME=VALUE, each name once")
        options[name] = json_value(value)
    if options.get("do_sample") is True and options.get("temp"):
        options["temperature"] = options.pop("temp")  # transformers' names, given as flags
    return options


def json_value(text: str) -> Any:
    """What a text says in JSON; the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def size(text: str) -> tuple[int, int]:
    """(height, width) of a flag's HxW, or of its one number for both."""
    height, x, width = text.lower().partition("x")
    if not x:
        width = height
    if not (height.isdecimal() and width.isdecimal()) or len(text) > 20:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is no size; expected HxW, such as 96x800, or one number for both"
        )
    return int(height), int(width)


def loading_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What `load` takes beside the model, as the flags say."""
    return {name: options.get(name) for name in LOADING}


def data_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What `load_dataset` and `load_splits` take beside the path, as the flags say."""
    named = {name.removeprefix("data_"): options.get(name) for name in DATA}
    return {**named, "seed": options.get("seed") or 0}
