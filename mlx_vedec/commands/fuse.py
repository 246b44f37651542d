"""`mlx_vedec fuse`: merge adapters into their model, and write that as a checkpoint.

Layers that were quantized are quantized again as they were, unless --dequantize is given; without
quantized layers, transformers opens the result too. The folder is written whole or not at all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from .common import run
from .shared_flags import ADAPTERS, DEQUANTIZE, MODEL, OVERWRITE, REVISION, unset


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names."""
    p = argparse.ArgumentParser("mlx_vedec fuse", description=__doc__)
    p.add_argument("--model", required=True, help=MODEL)
    p.add_argument("--revision", help=REVISION)
    p.add_argument(
        "--adapter-path",
        default="adapters",
        metavar="FOLDER",
        help=unset(ADAPTERS, "adapters"),
    )
    p.add_argument(
        "--save-path",
        default="fused_model",
        metavar="FOLDER",
        help="The folder to write (default: fused_model).",
    )
    p.add_argument("--overwrite", action="store_true", help=OVERWRITE)
    p.add_argument("-d", "--dequantize", action="store_true", help=DEQUANTIZE)
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
