"""Hostile calls: options of generation, and command lines."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx

from mlx_vedec import batch_generate, commands, generate, stream_generate
from mlx_vedec.generation.options import OPTIONS
from tests.conftest import ROOT
from tests.hostile.folders import whole
from tests.hostile.values import hostile, short
from tests.support import training_parts as parts
from tests.support.tiny import pixels

Case = tuple[str, Callable[[], object]]
WRONG = (
    *("-1", "0", "99999999", "1e400", "nan", "x", "", "9" * 400, "é", "{}", "[1]", "[" * 5000),
)
# Flags that name what is written, and names in the folder where a command line runs.
WRITES = ("output", "pages", "csv", "worst", "save_path", "mlx_path", "adapter_path")
WRITTEN = ("made", "", "a/b/c", "x.png", "x" * 300)
PICTURE = parts.picture()
# Options that transformers has and this package has not, and one that nobody has.
FOREIGN = (
    "encoder_no_repeat_ngram_size",
    "token_healing",
    "num_beam_groups",
    "guidance_scale",
    "zzz",
)


@cache
def model_and_processor() -> Any:
    """A tiny model that is not changed by what is tried."""
    return parts.model(), parts.processor()


def options(scratch: Path, rng: Random) -> Case:
    """One to three options of generation with values that may be anything."""
    names = rng.sample([*OPTIONS, *FOREIGN], rng.choice((1, 1, 2, 3)))
    given = {name: hostile(rng) for name in names}
    usual = {"max_new_tokens": 3, "num_beams": rng.choice((1, 2))}
    if not given.keys() & {"max_new_tokens", "max_length", "max_tokens", "min_length"}:
        given = {**usual, **given}
    use = rng.choice(("model.generate", "generate", "stream_generate", "batch_generate"))
    model, processor = model_and_processor()

    def call() -> None:
        if use == "model.generate":
            found = model.generate(pixels(), **given)
            if isinstance(found, mx.array):
                assert found.dtype == mx.int32 and found.ndim == 2
        elif use == "generate":
            found = generate(model, processor, PICTURE, **given)
            assert 0 <= found.confidence <= 1, f"confidence is {found.confidence}"
        elif use == "stream_generate":
            [*stream_generate(model, processor, PICTURE, **given)]
        else:
            [*batch_generate(model, processor, [PICTURE, PICTURE], **given)]

    said = ", ".join(f"{name}={short(value)}" for name, value in given.items())
    return f"{use}({said})", call


def words(scratch: Path, rng: Random) -> list[str]:
    """A command line of flags that there are, most with values that do not fit them."""
    command = rng.choice([*commands.COMMANDS] * 9 + ["", "genrate", "--zzz"])
    if command not in commands.COMMANDS:
        return [command]
    home = whole(scratch)
    picture, table = home / "data" / "000.png", home / "data"
    model = rng.choice((str(home / "checkpoint"), "no/where", "a/b/c", "", "\udcff"))
    line = []
    if command == "selfcheck":  # of all families it takes as long as it takes
        return [
            command,
            "--family",
            rng.choice(("vit", "zzz", "vit trocr", "")),
            *rng.choice(([], ["x"])),
        ]
    if command == "server":  # which goes on for ever where nothing is wrong
        return [
            command,
            "--port",
            rng.choice(("-1", "x", "99999999", "")),
            *rng.choice(([], ["x"])),
        ]
    flags = [*import_module(f"mlx_vedec.commands.{command}").parser()._actions][1:]
    flags = [action for action in flags if action.dest != "watch"]  # so does this
    for action in rng.sample(flags, min(len(flags), rng.choice((0, 1, 2, 4)))):
        line += action.option_strings[-1:]
        values = WRITTEN if action.dest in WRITES else (*WRONG, model, str(picture), str(home))
        if action.nargs != 0:
            line += [rng.choice(values) for _ in range(rng.choice((1, 1, 1, 2)))]
    required = {
        "generate": ["--image", picture, "--model", model, "-m", "2"],
        "convert": ["--model", model, "--mlx-path", "made", "--overwrite"],
        "lora": ["--model", model, "--data", table, "--train", "--iters", "1"],
        "evaluate": ["--model", model, "--data", table, "-m", "2"],
        "benchmark": ["--model", model, "-n", "1", "-m", "2", "--warmup", "0"],
        "fuse": ["--model", model, "--adapter-path", home / "adapters", "--save-path", "fused"],
        "inspect": [model],
        "export": ["--model", model, "--path", "made", "--overwrite", "-m", "2"],
        "upload": ["--upload-repo", "a/b", "--path", model, "--dry-run"],
    }[command]
    if rng.random() < 0.9:  # before the others, so that those win
        line = [*map(str, required), *line]
    if rng.random() < 0.1:
        line.append(rng.choice(("--zzz", "--num_beams", "-", "--", "-q=3", "more", "--image")))
    return [command, *line]


def command_lines(scratch: Path, rng: Random) -> Case:
    """A command line in this process."""
    line = words(scratch, rng)

    def call() -> None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = commands.main(line)
            except SystemExit as stop:
                code = stop.code
        _judge(code, err.getvalue())

    return f"mlx_vedec {line!r}", call


def processes(scratch: Path, rng: Random) -> Case:
    """A command line in a process of its own."""
    line = words(scratch, rng)

    def call() -> None:
        run = [sys.executable, "-m", "mlx_vedec", *line]
        path = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(run, capture_output=True, stdin=subprocess.DEVNULL, env=path)
        _judge(done.returncode, done.stderr.decode(errors="replace"))

    return f"python -m mlx_vedec {line!r}", call


def _judge(code: Any, err: str) -> None:
    assert code in (0, 1, 2), f"it ended with {code}: {err[-300:]}"
    assert "Traceback" not in err, err[-300:]
    assert code == 0 or err.strip(), f"{code} without a word"
    assert len(err) < 20_000, f"{len(err):,} characters on stderr"
