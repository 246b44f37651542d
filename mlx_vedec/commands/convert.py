"""`mlx_vedec convert`: a checkpoint rewritten in another type, or quantized, or made floats again.

What is not quantized is readable by transformers too. The folder is written whole or not at all.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .common import Bytes, run

if TYPE_CHECKING:
    from ..quantization import HalfBits, QuantizationConfig

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
RECIPE = "uniform, head or mixed: which layers keep 6 or 8 bits where others have fewer (mixed)"


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has them."""
    p = argparse.ArgumentParser("mlx_vedec convert", description=__doc__)
    p.add_argument(
        "--hf-path", "--model", dest="hf_path", required=True, help="a folder or a Hub id"
    )
    p.add_argument("--revision", help="branch, tag or commit of a Hub id")
    p.add_argument("--mlx-path", default="mlx_model", help="where to write (mlx_model)")
    p.add_argument("--overwrite", action="store_true", help="replace a model that is there")
    p.add_argument("--dry-run", action="store_true", help="say what would be done, write nothing")
    p.add_argument("--max-shard-size", type=_size, default="5GB", help="of a file of weights (5GB)")
    p.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="of what is not quantized; kept by default, but half of float32 with -q",
    )
    p.add_argument("-d", "--dequantize", action="store_true", help="make quantized weights floats")
    p.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a field of the config to change, its value in JSON: decoder.vocab_size=50265",
    )
    _add_quantization(p.add_argument_group("quantization"))
    return p


def _add_quantization(g: argparse._ArgumentGroup) -> None:
    g.add_argument("-q", "--quantize", action="store_true", help="quantize the weights")
    g.add_argument("--q-bits", type=int, help="2 to 6, or 8 (the mode's own, 4 or 8)")
    g.add_argument("--q-group-size", type=int, help="weights that share a scale (the mode's own)")
    g.add_argument("--q-mode", default="affine", help="affine, mxfp4, nvfp4 or mxfp8 (affine)")
    for half in ("encoder", "decoder"):
        g.add_argument(
            f"--q-{half}-bits",
            type=_bits,
            default="same",
            help=f"bits of the {half}, or none to leave it alone (as --q-bits)",
        )
    g.add_argument("--quant-predicate", metavar="RECIPE", default="mixed", help=RECIPE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run(parser(), _convert, argv)


def _convert(args: argparse.Namespace) -> int:
    from ..conversion import convert

    path = convert(
        args.hf_path,
        args.mlx_path,
        dtype=args.dtype,
        quantize=_settings(args),
        dequantize=args.dequantize,
        config=dict(map(_field, args.config)),
        revision=args.revision,
        overwrite=args.overwrite,
        dry_run=args.dry_run,
        max_shard_size=args.max_shard_size,
        say=partial(print, file=sys.stderr),
        progress=Bytes("written"),
    )
    print(path)
    return 0


def _settings(args: argparse.Namespace) -> QuantizationConfig | None:
    from ..errors import OptionError
    from ..quantization import QuantizationConfig

    settings = QuantizationConfig(
        args.q_bits,
        args.q_group_size,
        args.q_mode,
        encoder_bits=args.q_encoder_bits,
        decoder_bits=args.q_decoder_bits,
        recipe=args.quant_predicate,
    )
    given = args.q_bits or args.q_group_size or settings != QuantizationConfig()
    if given and not args.quantize:
        raise OptionError("flags of quantization are given without -q; add it, or leave them out")
    return settings if args.quantize else None


def _field(text: str) -> tuple[str, Any]:
    from ..errors import OptionError

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise OptionError(f"--config {text!r}; expected KEY=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _bits(text: str) -> HalfBits:
    if text in ("same", "none"):
        return "same" if text == "same" else None
    return int(text)


def _size(text: str) -> int:
    """Bytes, of a number with a unit."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMG]?B?)", text.strip().upper())
    if match is None or match[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected such as 500MB or 5GB")
    return int(float(match[1]) * UNITS[match[2]])
