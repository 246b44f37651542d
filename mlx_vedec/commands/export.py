"""`mlx_vedec export`: write a model as functions that C++ and Swift import without Python.

The folder has three `.mlxfn` files over one file of weights, the text of every token, and a page
that says how to call them; EXPORT.md is about them. It is written whole or not at all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .common import run
from .convert import add_quantization, quantization
from .flags import NUMBER, FlagParser, add_flag, add_shared, loading_options, size


def parser() -> argparse.ArgumentParser:
    """The flags; those of quantization are `convert`'s."""
    p = FlagParser("mlx_vedec export", description=__doc__)
    add_shared(p, "model", "revision", "subfolder", "processor", "image_steps")
    add_shared(p, "image_size", type=size)
    add_shared(p, "dtype")
    add_flag(p, "path", "The folder to write.", default="exported_model", metavar="FOLDER")
    add_shared(p, "overwrite")
    add_shared(p, "batch_size", default=1)
    add_shared(p, "prompt")
    tokens = "The number of tokens after the prompt that the caches have room for."
    add_flag(p, "-m max_tokens", tokens, "as many as the checkpoint would write", **NUMBER)
    sample = "Images whose pixels are written to the folder `samples`, for a reader to try."
    add_flag(p, "sample", sample, nargs="+", metavar="IMAGE")
    add_quantization(p.add_argument_group("quantization"))
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run(parser(), _export, argv)


def _export(args: argparse.Namespace) -> int:
    from ..conversion.export import export
    from ..reading.image_sizes import resize_images
    from ..reading.load import load

    how = {**loading_options(vars(args)), "quantize": quantization(args)}
    model, processor = load(args.model, **how)
    if args.image_size is not None:
        resize_images(model, processor, args.image_size)
    path = export(
        model,
        processor,
        args.path,
        batch_size=args.batch_size,
        prompt=args.prompt,
        max_new_tokens=args.max_tokens,
        samples=args.sample or (),
        overwrite=args.overwrite,
    )
    print(path)
    return 0
