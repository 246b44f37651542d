"""`mlx_vedec lora`: fine-tune a model, and go on where a training was interrupted."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError, TrainingError
from .common import run
from .finetuning import SETTINGS, Finetuning, options_of
from .flags import DATA
from .lora_flags import DEFAULTS, RATES, given, layered, parser, read_settings

if TYPE_CHECKING:
    from ..measuring.evaluation import Evaluation
    from ..training.trainer import TrainingResult

PROGRAM = "mlx_vedec lora"
# What a run that goes on must not change, beside `LoraConfig` and most of `TrainingArguments`.
SAME = (
    *("model", "revision", "subfolder", "processor", "image_steps"),
    *("quantize", "resume_adapter_file"),
    "image_size",
    *(*DATA, "normal_form"),
    *("batch_size", "max_samples", "mask_prompt", "augment", "add_tokens"),
    *("new_vocabulary", "vocabulary_size", "shrink_vocabulary"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    p = parser()
    return run(p, partial(_lora, p), argv)


def _lora(p: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    import mlx.core as mx

    from ..measuring.processes import from_first

    group = mx.distributed.init()
    asked = layered(read_settings(args.config, p) if args.config else {}, given(args))
    options = _completed(from_first(lambda: _settled(p, asked), group))
    tuning = Finetuning(options, group)
    tuning.prepare()
    result = tuning.train() if options.get("train") else None
    scores = tuning.test() if options.get("test") else None
    if not group.rank():
        _tell(tuning, result, scores)
    return 0


def _settled(p: argparse.ArgumentParser, asked: dict[str, Any]) -> dict[str, Any]:
    """The options of a training: those asked for, over those that a resumed one was begun with.

    An error where the folder is not free for a new training, or a resumed one would change.
    """
    from ..training.trackers import check_trackers

    if not asked.get("train") and not asked.get("test"):
        raise OptionError("there is nothing to do; give --train, --test or both")
    check_trackers(asked.get("report_to", ()))
    folder = Path(asked.get("adapter_path", DEFAULTS["adapter_path"]))
    if not asked.get("train"):
        return layered(_begun(p, folder), asked)
    if not asked.get("resume"):
        _check_free(folder)
        return asked
    if not _checkpoints(folder):
        raise TrainingError(f"{folder} holds no training to resume; begin without --resume")
    before = _begun(p, folder)
    options = layered(before, asked)
    was, now = _fixed(before or options), _fixed(options)
    differs = [f"{k} was {was[k]!r} and is {now[k]!r}" for k in now if was[k] != now[k]]
    if differs:
        raise TrainingError(
            f"{folder} is of another training: {'; '.join(differs)}; leave these out, or begin "
            "another training with another --adapter-path"
        )
    return options


def _fixed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a resumed training must not change, with their defaults."""
    from ..adapters.wrapping import LoraConfig
    from ..training.arguments import MAY_DIFFER, TrainingArguments

    whole = _completed(options)
    found = {name: whole.get(name) for name in SAME}
    for kind in (LoraConfig, TrainingArguments):
        found |= dataclasses.asdict(options_of(kind, whole))
    return {name: value for name, value in found.items() if name not in MAY_DIFFER}


def _begun(p: argparse.ArgumentParser, folder: Path) -> dict[str, Any]:
    """The options that the training in a folder was begun with; none where it has no record."""
    path = folder / SETTINGS
    return read_settings(path, p) if path.is_file() else {}


def _checkpoints(folder: Path) -> list[Path]:
    from ..training.state import FOLDER, checkpoints

    return checkpoints(folder / FOLDER)


def _check_free(folder: Path) -> None:
    """Refuse a folder that another training has written to."""
    from ..adapters.files import TENSORS

    checkpoints = _checkpoints(folder)
    if checkpoints:
        raise TrainingError(
            f"{folder} holds a training at iteration {int(checkpoints[-1].name)}; go on with it "
            "(--resume), or give another --adapter-path"
        )
    if (folder / TENSORS).exists():
        raise TrainingError(f"{folder} holds adapters already; give another --adapter-path")


def _completed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the command's own defaults for those that are not given."""
    rate = RATES[options.get("fine_tune_type", "lora")]
    return {**DEFAULTS, "learning_rate": rate, **options}


def _tell(tuning: Finetuning, result: TrainingResult | None, scores: Evaluation | None) -> None:
    """Print the results, and on stderr the commands that use the adapters."""
    from .evaluation_report import as_text

    if tuning.options.get("json"):
        print(json.dumps(_values(tuning.folder, result, scores)))
        return
    if scores is not None:
        print(as_text([("test", scores)], {}))
    if result is None:
        return
    if result.best is not None:
        tuning.say(f"kept: iteration {result.best_iteration} of {result.iterations}")
    for line in _next_commands(tuning):
        tuning.say(line)
    print(tuning.folder)


def _next_commands(tuning: Finetuning) -> Iterator[str]:
    model = tuning.options.get("model")
    base = [] if model is None else ["--model", model]
    bits, given = tuning.options.get("quantize"), tuning.options.get
    names = ("revision", "subfolder", "processor", "image_steps")
    where = [[f"--{name.replace('_', '-')}", given(name)] for name in names if given(name)]
    also = [*sum(where, []), *([] if bits is None else ["--quantize", str(bits)])]
    path = ["--adapter-path", str(tuning.folder)]
    yield "next:"
    for split in [name for name in ("test", "valid") if name in tuning.splits][:1]:
        data = ["--data", tuning.options["data"], *_data_flags(tuning.options), "--split", split]
        yield f"  mlx_vedec evaluate {shlex.join([*base, *also, *path, *data])}"
    yield f"  mlx_vedec generate {shlex.join([*base, *also, *path])} --image IMAGE"
    if bits is None and not given("subfolder"):
        own = shlex.join(["--model", model or str(tuning.model.source), *sum(where, []), *path])
        yield f"  mlx_vedec fuse {own} --save-path fused_model"


def _data_flags(options: Mapping[str, Any]) -> list[str]:
    """The flags that choose what is read in the data."""
    names = [*DATA, *["seed"] * bool(options.get("valid_fraction"))]
    pairs = ([f"--{n.replace('_', '-')}", str(options[n])] for n in names if options.get(n))
    form = options.get("normal_form")
    return sum(pairs, ["--unicode", form] if form in ("NFC", "NFKC") else [])


def _values(
    folder: Path, result: TrainingResult | None, scores: Evaluation | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"adapter_path": str(folder)}
    if result is not None:
        valid = result.validation
        found |= {
            "iterations": result.iterations,
            "best_iteration": result.best_iteration,
            "val_loss": valid and valid.loss,
            "val_cer": valid and valid.cer,
        }
    if scores is not None:
        found["test"] = {name: estimate.value for name, estimate in scores.metrics.items()}
    return found
