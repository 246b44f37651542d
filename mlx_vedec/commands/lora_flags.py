"""The flags of `mlx_vedec lora`, on the command line, which wins, or in a file.

None has a default here, so that the file can have it instead. It is YAML or JSON, its keys the
flags' names with underscores. As in mlx-lm's, `lora_parameters` may hold those of adapters in a
block of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from reprlib import repr  # bounded in length and depth
from typing import Any

from ..adapters.config import LoraConfig
from ..errors import OptionError, nearest
from ..training.arguments import TrainingArguments
from .common import text_of
from .flags import DATA, EITHER, NUMBER, FlagParser, Parser, add_fields, add_flag, add_shared

DEFAULTS: dict[str, Any] = {
    "data": "data",
    "adapter_path": "adapters",
    "batch_size": 8,
    "test_batches": -1,
    "seed": 0,
}
RATES = {"lora": 1e-3, "dora": 1e-3, "full": 1e-4}  # measured with the bundled model
INSTEAD = ({"iters", "epochs"}, {"scale", "alpha"})  # where one comes, the other goes
BLOCK = "lora_parameters"
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
YES: Any = {"action": "store_true", "default": None}


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has one."""
    p = FlagParser(
        "mlx_vedec lora",
        description="Fine-tune a model on images and their texts, with adapters or as a whole.",
    )
    add_flag(p, "-c config", "A file of flags, YAML or JSON; flags here win.", metavar="FILE")
    add_shared(p, "model", "revision", "subfolder", "processor", "image_steps", "quantize")
    add_shared(p, "image_size")
    add_flag(p, "train", "Train on the data's split train.", **YES)
    add_flag(p, "test", "Evaluate on the data's split test, at the end.", **YES)
    add_flag(p, "adapter_path", "The folder of this training.", DEFAULTS["adapter_path"])
    add_flag(p, "resume", "Go on after the newest checkpoint in that folder.", **YES)
    add_flag(
        p,
        "resume_adapter_file",
        "Adapters to begin with, of ours or PEFT's.",
        "new ones",
        metavar="PATH",
    )
    add_shared(p, "json", default=None)
    _add_data(p.add_argument_group("data"))
    add_fields(p.add_argument_group("what is trained"), LoraConfig)
    rates = f"{RATES['lora']}, or {RATES['full']} with --fine-tune-type full"
    unset = {"iters": "1000", "learning_rate": rates}
    training = p.add_argument_group("training")
    add_fields(training, TrainingArguments, unset)
    add_flag(
        training,
        "report_to",
        "Where the reports go beside the terminal and the folder: tensorboard, wandb or both, of "
        "which each needs the package of its name.",
        nargs="+",
        metavar="NAME",
    )
    return p


def _add_data(g: Parser) -> None:
    add_shared(g, "data", unset=DEFAULTS["data"])
    add_shared(g, *DATA)
    form = "Bring the texts into this normal form of Unicode: NFC, NFD, NFKC or NFKD."
    add_flag(g, "normal_form", form, "they stay as they are", metavar="FORM")
    add_shared(g, "batch_size", unset=DEFAULTS["batch_size"])
    add_flag(g, "max_samples", "Train on this many samples, the first.", "all", **NUMBER)
    add_flag(
        g,
        "test_batches",
        "Batches of the split test that are evaluated; -1 is all.",
        DEFAULTS["test_batches"],
        **NUMBER,
    )
    add_flag(g, "mask_prompt", "Count no labels of the prompt.", **EITHER)
    add_flag(
        g,
        "augment",
        "Change images at random, such as rotate=2,blur=0.5,contrast=0.3,jpeg=30.",
        nargs="+",
        metavar="CHANGES",
    )
    add_flag(
        g,
        "add_tokens",
        "Give the tokenizer the tags that it lacks (Donut), and train the embedding.",
        **YES,
    )
    add_flag(
        g,
        "new_vocabulary",
        "Learn a vocabulary of characters from the texts of train, for a script that the tokenizer "
        "lacks, and train the embedding and the head.",
        **YES,
    )
    add_flag(
        g,
        "vocabulary_size",
        "With --new-vocabulary: tokens in all; frequent sequences of characters become tokens too.",
        "as many as there are characters",
        **NUMBER,
    )
    add_flag(
        g,
        "shrink_vocabulary",
        "Keep only the tokens that the texts of train need, which are cut as before.",
        **YES,
    )


# Options from several places


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Options of several places as one mapping, in which later places win.

    >>> layered({"iters": 100, "rank": 4}, {"epochs": 2})
    {'rank': 4, 'epochs': 2}
    """
    found: dict[str, Any] = {}
    for layer in layers:
        for pair in INSTEAD:
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
        raise OptionError(f"{name} is {repr(value)}; expected {KINDS[kind]}")
    if action.choices is not None and value not in action.choices:
        raise OptionError(f"{name} is {repr(value)}; expected one of {', '.join(action.choices)}")
    return value
