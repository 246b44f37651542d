"""`mlx_vedec convert`: write a checkpoint in another type, quantized, or as floats again.

Unless it is quantized, transformers opens the result too. The folder is written whole or not at
all. With --target-bpw, --calibrate and --verify, images help to choose bits, to round, and to see
what it cost.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import Bytes, Count, run
from .flags import SHARED, add_shared

if TYPE_CHECKING:
    from ..layers.quantization_config import PartBits, QuantizationConfig

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
RECIPE = (
    "Which layers keep more bits than the others: none (uniform); the table of tokens and the "
    "head, 8 bits (head); or those, the cross-attention and each half's first and last layer, "
    "6 bits (mixed) (default: mixed)."
)


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has them."""
    p = argparse.ArgumentParser("mlx_vedec convert", description=__doc__)
    p.add_argument(
        *("--hf-path", "--model"),
        dest="hf_path",
        required=True,
        metavar="MODEL",
        help=SHARED["model"][0],
    )
    add_shared(p, "revision")
    p.add_argument(
        "--mlx-path",
        default="mlx_model",
        metavar="FOLDER",
        help="The folder to write (default: mlx_model).",
    )
    add_shared(p, "overwrite", "dry_run")
    p.add_argument(
        "--max-shard-size",
        type=_size,
        default="5GB",
        metavar="SIZE",
        help="The size above which weights are split into several files (default: 5GB).",
    )
    p.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="The type to write for what is not quantized (default: the type it is stored in, but "
        "a half type for float32 with -q).",
    )
    add_shared(p, "-d dequantize")
    p.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="Change a field of the config, where it does not fit the weights; the value is JSON: "
        "decoder.vocab_size=50265; may be given several times.",
    )
    _add_quantization(p.add_argument_group("quantization"))
    _add_fitting(p.add_argument_group("on images such as the model is to read"))
    g = p.add_argument_group("the Hub", "uploads the result as `mlx_vedec upload` does")
    add_shared(g, "upload_repo", "private")
    return p


def _add_quantization(g: argparse._ArgumentGroup) -> None:
    g.add_argument("-q", "--quantize", action="store_true", help="Quantize the weights.")
    g.add_argument(
        "--q-bits", type=int, help="Bits of a quantized weight, 2 to 6 or 8 (default: 4; mxfp8: 8)."
    )
    g.add_argument(
        "--q-group-size",
        type=int,
        help="The number of weights that share a scale (default: affine 64, mxfp4 and mxfp8 32, "
        "nvfp4 16).",
    )
    g.add_argument(
        "--q-mode",
        default="affine",
        help="The format of quantized weights: affine, mxfp4, nvfp4 or mxfp8 (default: affine).",
    )
    for half in ("encoder", "decoder"):
        g.add_argument(
            f"--q-{half}-bits",
            type=_bits,
            default="same",
            metavar="BITS",
            help=f"Bits of the {half}'s weights, or none to leave it as it is (default: --q-bits).",
        )
    g.add_argument("--quant-predicate", metavar="RECIPE", default="mixed", help=RECIPE)


def _add_fitting(g: argparse._ArgumentGroup) -> None:
    g.add_argument(
        "--images", nargs="+", metavar="PATH", help="a folder or files, for the next two flags"
    )
    g.add_argument(
        "--target-bpw",
        type=float,
        metavar="BITS",
        help="choose the bits of each layer so that a weight has so many on average",
    )
    g.add_argument(
        "--calibrate", action="store_true", help="round anew, to agree with the source on images"
    )
    g.add_argument(
        "--verify",
        nargs="*",
        metavar="PATH",
        help="compare with the source on a folder or files, labelled or not, and write a report; "
        "alone, on the lines that the package has for the bundled model",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run(parser(), _convert, argv)


def _convert(args: argparse.Namespace) -> int:
    from ..conversion.convert import convert

    _check_fitting(args)
    path = convert(
        args.hf_path,
        args.mlx_path,
        dtype=args.dtype,
        quantize=_settings(args) if args.target_bpw is None else _chosen(args),
        dequantize=args.dequantize,
        config=dict(map(_field, args.config)),
        revision=args.revision,
        overwrite=args.overwrite,
        dry_run=args.dry_run,
        max_shard_size=args.max_shard_size,
        say=_say,
        progress=Bytes("written"),
    )
    if args.calibrate:
        _calibrate(path, args)
    if args.verify is not None:
        _verify(path, args)
    print(path)
    if args.upload_repo:
        from ..conversion.upload import upload

        print(upload(path, args.upload_repo, private=args.private, say=_say))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _check_fitting(args: argparse.Namespace) -> None:
    """What cannot go together, and images that are not there, before anything is written."""
    from ..errors import OptionError

    chosen = args.target_bpw is not None
    tuned = chosen or args.calibrate
    if args.dry_run and (tuned or args.verify is not None or args.upload_repo):
        raise OptionError("--dry-run writes nothing to calibrate, verify or upload; leave them out")
    if args.private and not args.upload_repo:
        raise OptionError("--private is given without --upload-repo; say where to upload to")
    if tuned and not args.images:
        raise OptionError(
            "--target-bpw and --calibrate need --images, a folder or files such as the model is "
            "to read"
        )
    if tuned and not args.quantize:
        raise OptionError("--target-bpw and --calibrate are for quantized models; add -q")
    halves = (args.q_encoder_bits, args.q_decoder_bits, args.quant_predicate, args.q_mode)
    if chosen and (args.q_bits or halves != ("same", "same", "mixed", "affine")):
        raise OptionError(
            "--target-bpw chooses the bits itself, in affine mode; leave out flags of bits"
        )
    for images in (args.images if tuned else None, args.verify):
        if images is not None:
            from ..conversion.fitting import images_for

            images_for(args.hf_path, _paths(images), args.revision)


def _paths(given: Sequence[str]) -> str | Sequence[str] | None:
    """One folder or file, several files, or None for the package's own lines."""
    return (given[0] if len(given) == 1 else given) if given else None


def _chosen(args: argparse.Namespace) -> QuantizationConfig:
    from ..conversion.fitting import choose_bits

    return choose_bits(
        args.hf_path,
        _paths(args.images),
        args.target_bpw,
        group_size=args.q_group_size or 64,
        revision=args.revision,
        progress=Count("images measured"),
    )


def _calibrate(path: Path, args: argparse.Namespace) -> None:
    from ..conversion.fitting import calibrate_folder

    found = calibrate_folder(
        path,
        args.hf_path,
        _paths(args.images),
        revision=args.revision,
        max_shard_size=args.max_shard_size,
        progress=Count("layers rounded"),
    )
    _say(
        f"calibrated on {found.images} images: divergence from the source {found.before:.2e} before"
        f" and {found.after:.2e} after, on {found.held_out} others"
    )


def _verify(path: Path, args: argparse.Namespace) -> None:
    from ..conversion.fitting import verify_folder

    found = verify_folder(
        path,
        args.hf_path,
        _paths(args.verify),
        revision=args.revision,
        say=_say,
        progress=Count("steps of the comparison"),
    )
    _say(
        f"{100 * found.texts_unchanged:.1f} % of {found.images} texts unchanged, "
        f"{100 * found.token_agreement:.2f} % of {found.tokens} tokens; {path / 'verification.md'}"
    )


def _settings(args: argparse.Namespace) -> QuantizationConfig | None:
    from ..errors import OptionError
    from ..layers.quantization_config import QuantizationConfig

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


def _bits(text: str) -> PartBits:
    if text in ("same", "none"):
        return "same" if text == "same" else None
    return int(text)


def _size(text: str) -> int:
    """Bytes, of a number with a unit."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMG]?B?)", text.strip().upper())
    if match is None or match[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected such as 500MB or 5GB")
    return int(float(match[1]) * UNITS[match[2]])
