"""`mlx_vedec convert`: write a checkpoint in another type, quantized, or as floats again.

Unless it is quantized, transformers opens the result too. The folder is written whole or not at
all. With --target-bpw, --calibrate and --verify, images help to choose bits, to round, and to see
what it cost.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .common import bytes_done, count, run, say
from .flags import NUMBER, SHARED, YES, FlagParser, Parser, add_flag, add_shared, json_value, size

if TYPE_CHECKING:
    from ..layers.quantization_config import PartBits, QuantizationConfig

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
RECIPE = (
    "Which layers keep more bits than the others: none (uniform); the table of tokens and the "
    "head, 8 bits (head); or those, the cross-attention, and the first and last layer of encoder "
    "and decoder, 6 bits (mixed)."
)
SOME: dict[str, Any] = {"nargs": "+", "metavar": "PATH"}


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has them."""
    p = FlagParser("mlx_vedec convert", description=__doc__)
    names = ("--hf-path", "--model")
    p.add_argument(*names, required=True, metavar="MODEL", help=SHARED["model"][0])
    add_shared(p, "revision", "processor", "image_steps")
    add_shared(p, "image_size", type=size, unset="the source's")
    add_flag(p, "mlx_path", "The folder to write.", default="mlx_model", metavar="FOLDER")
    add_shared(p, "overwrite", "dry_run")
    shard = "The size above which weights are split into several files."
    add_flag(p, "max_shard_size", shard, type=_size, default="5GB", metavar="SIZE")
    add_flag(
        p,
        "dtype",
        "The type to write for what is not quantized.",
        "the type it is stored in, but a half type for float32 with -q",
        choices=("float32", "float16", "bfloat16"),
    )
    add_shared(p, "-d dequantize")
    add_flag(
        p,
        "config",
        "Change a field of the config, where it does not fit the weights; the value is JSON: "
        "decoder.vocab_size=50265; may be given several times.",
        action="append",
        default=[],
        metavar="KEY=VALUE",
    )
    add_quantization(p.add_argument_group("quantization"))
    _add_fitting(p.add_argument_group("on images such as the model is to read"))
    g = p.add_argument_group("the Hub", "uploads the result as `mlx_vedec upload` does")
    add_shared(g, "upload_repo", "private")
    return p


def add_quantization(g: Parser) -> None:
    """Flags of how weights are quantized, which `quantization` reads."""
    add_flag(g, "-q quantize", "Quantize the weights.", **YES)
    bits: dict[str, Any] = {"type": int, "metavar": "BITS"}
    add_flag(g, "q_bits", "Bits of a quantized weight, 2 to 6 or 8.", "4; mxfp8: 8", **bits)
    group = "The number of weights that share a scale."
    add_flag(g, "q_group_size", group, "affine 64, mxfp4 and mxfp8 32, nvfp4 16", **NUMBER)
    mode = "The format of quantized weights: affine, mxfp4, nvfp4 or mxfp8."
    add_flag(g, "q_mode", mode, default="affine", metavar="MODE")
    for part in ("encoder", "decoder"):
        text = f"Bits of the {part}'s weights, or none to leave it as it is."
        own = {**bits, "type": _bits, "default": "same"}
        add_flag(g, f"q_{part}_bits", text, "--q-bits", **own)
    add_flag(g, "quant_predicate", RECIPE, default="mixed", metavar="RECIPE")


def _add_fitting(g: Parser) -> None:
    add_flag(g, "images", "A folder or files, for the next two flags.", **SOME)
    bpw = "Choose the bits of each layer so that a weight has so many on average."
    add_flag(g, "target_bpw", bpw, type=float, metavar="BITS")
    add_flag(g, "calibrate", "Round anew, to agree with the source on images.", **YES)
    add_flag(
        g,
        "verify",
        "Compare with the source on a folder or files, labelled or not, and write a report; alone, "
        "on the lines that the package has for the bundled model.",
        **{**SOME, "nargs": "*"},
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
        quantize=quantization(args) if args.target_bpw is None else _chosen(args),
        dequantize=args.dequantize,
        config=_fields(args.config),
        processor=args.processor,
        image_steps=args.image_steps,
        image_size=args.image_size,
        revision=args.revision,
        overwrite=args.overwrite,
        dry_run=args.dry_run,
        max_shard_size=args.max_shard_size,
        say=say,
        progress=bytes_done,
    )
    if args.calibrate:
        _calibrate(path, args)
    if args.verify is not None:
        _verify(path, args)
    print(path)
    if args.upload_repo:
        from ..conversion.upload import upload

        print(upload(path, args.upload_repo, private=args.private, say=say))
    return 0


def _check_fitting(args: argparse.Namespace) -> None:
    """Refuse flags that cannot go together and missing images before anything is written."""
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
    choices = (args.q_encoder_bits, args.q_decoder_bits, args.quant_predicate, args.q_mode)
    if chosen and (args.q_bits or choices != ("same", "same", "mixed", "affine")):
        raise OptionError(
            "--target-bpw chooses the bits itself, in affine mode; leave out flags of bits"
        )
    for images in (args.images if tuned else None, args.verify):
        if images is not None:
            from ..conversion.fitting import images_for

            how = {"processor": args.processor, "image_steps": args.image_steps}
            images_for(args.hf_path, _paths(images), args.revision, **how)


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
        processor=args.processor,
        image_steps=args.image_steps,
        progress=count("images measured"),
    )


def _calibrate(path: Path, args: argparse.Namespace) -> None:
    from ..conversion.fitting import calibrate_folder

    found = calibrate_folder(
        path,
        args.hf_path,
        _paths(args.images),
        revision=args.revision,
        max_shard_size=args.max_shard_size,
        progress=count("layers rounded"),
    )
    say(
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
        say=say,
        progress=count("steps of the comparison"),
    )
    say(
        f"{100 * found.texts_unchanged:.1f} % of {found.images} texts unchanged, "
        f"{100 * found.token_agreement:.2f} % of {found.tokens} tokens; {path / 'verification.md'}"
    )


def quantization(args: argparse.Namespace) -> QuantizationConfig | None:
    """How weights are to be quantized; None without -q."""
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


def _fields(texts: Sequence[str]) -> dict[str, Any]:
    """Fields of a config and their values, of texts as `--config` has them."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals) or name in found:
            raise OptionError(f"--config {text[:200]!r}; expected KEY=VALUE, each key once")
        found[name] = json_value(value)
    return found


def _bits(text: str) -> PartBits:
    if text in ("same", "none"):
        return "same" if text == "same" else None
    return int(text)


def _size(text: str) -> int:
    """The bytes of a size with a unit, such as 500MB."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?) *([KMG]?B?)", text.strip().upper())
    if match is None or match[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"{text[:30]!r} is no size; expected such as 500MB or 5GB")
    return int(float(match[1]) * UNITS[match[2]])
