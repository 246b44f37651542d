"""`mlx_vedec convert`: a checkpoint rewritten in another type, readable by transformers too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .common import run


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names."""
    p = argparse.ArgumentParser("mlx_vedec convert", description=__doc__)
    p.add_argument(
        "--hf-path", "--model", dest="hf_path", required=True, help="a folder or a Hub id"
    )
    p.add_argument("--mlx-path", default="mlx_model", help="where to write (mlx_model)")
    p.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="of the weights; kept by default",
    )
    p.add_argument("--revision", help="branch, tag or commit of a Hub id")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run(parser(), _convert, argv)


def _convert(args: argparse.Namespace) -> int:
    from ..conversion import convert

    path = convert(args.hf_path, args.mlx_path, dtype=args.dtype, revision=args.revision)
    print(path)
    return 0
