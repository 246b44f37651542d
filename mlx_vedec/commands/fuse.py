"""`mlx_vedec fuse`: merge adapters into their model, and write that as a checkpoint.

Layers that were quantized are quantized again as they were, unless --dequantize is given; without
quantized layers, transformers opens the result too. The folder is written whole or not at all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .common import run, say
from .flags import FlagParser, add_flag, add_shared


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names."""
    p = FlagParser("mlx_vedec fuse", description=__doc__)
    add_shared(p, "model", required=True)
    add_shared(p, "revision", "processor", "image_steps")
    add_shared(p, "adapter_path", default="adapters")
    add_flag(p, "save_path", "The folder to write.", default="fused_model")
    add_shared(p, "overwrite", "-d dequantize")
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
        processor=args.processor,
        image_steps=args.image_steps,
        revision=args.revision,
        overwrite=args.overwrite,
        say=say,
    )
    print(path)
    return 0
