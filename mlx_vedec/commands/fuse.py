"""`mlx_vedec fuse`: a checkpoint with its adapters merged into it, written as a checkpoint.

Adapters are those of `mlx_vedec lora`, or of PEFT. Without quantized layers, transformers opens the
result. The folder is written whole or not at all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from .common import run


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names."""
    p = argparse.ArgumentParser("mlx_vedec fuse", description=__doc__)
    p.add_argument("--model", required=True, help="a folder or a Hub id")
    p.add_argument("--revision", help="branch, tag or commit of a Hub id")
    p.add_argument("--adapter-path", default="adapters", help="a folder of adapters (adapters)")
    p.add_argument("--save-path", default="fused_model", help="where to write (fused_model)")
    p.add_argument("--overwrite", action="store_true", help="replace a model that is there")
    p.add_argument(
        "-d",
        "--dequantize",
        action="store_true",
        help="make a quantized model floats, instead of quantizing what was merged again",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run(parser(), _fuse, argv)


def _fuse(args: argparse.Namespace) -> int:
    from ..conversion.fuse import fuse_checkpoint

    path = fuse_checkpoint(
        args.model,
        args.adapter_path,
        args.save_path,
        dequantize=args.dequantize,
        revision=args.revision,
        overwrite=args.overwrite,
        say=partial(print, file=sys.stderr),
    )
    print(path)
    return 0
