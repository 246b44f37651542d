"""The flags that several commands share, and the texts of those that each adds for itself."""

from __future__ import annotations

import argparse
from typing import Any

MODEL = "The model: a folder, or a Hub id, which is downloaded."
REVISION = "The branch, tag or commit to read where the model is a Hub id (default: main)."
ADAPTERS = "A folder of adapters for the model, written by `mlx_vedec lora` or by PEFT."
QUANTIZE = (
    "Quantize the model's weights to this many bits, 2 to 6 or 8, while it is loaded "
    "(default: they stay as they are stored)."
)
JSON = "Print the results as one JSON object."
BATCH_SIZE = "The number of images that are read at once."
NUM_BEAMS = "beams of each image"
OVERWRITE = "Replace what is already in the folder to write."
DEQUANTIZE = "Write floats in the place of quantized weights."
DRY_RUN = "Say what would be done, and write nothing."
UPLOAD_REPO = "The repository on the Hub to upload to, as owner/name; made if it is not there."
PRIVATE = "Make the repository on the Hub private, if it is new."
TYPES = ("float32", "float16", "bfloat16")

LOADING = ("adapter_path", "dtype", "quantize", "revision")


def unset(text: str, default: str) -> str:
    """The text of a flag with its default.

    >>> unset("The number of runs.", "5")
    'The number of runs (default: 5).'
    """
    return f"{text.removesuffix('.')} (default: {default})."


BUNDLED_MODEL = unset(MODEL, "the line reader that comes with the package")


def add_loading_flags(p: argparse.ArgumentParser) -> None:
    """Give a parser the flags that say which model is loaded, and how."""
    p.add_argument("--model", help=BUNDLED_MODEL)
    p.add_argument("--revision", help=REVISION)
    p.add_argument("--adapter-path", metavar="FOLDER", help=ADAPTERS)
    p.add_argument("--quantize", type=int, metavar="BITS", help=QUANTIZE)
    p.add_argument(
        "--dtype",
        choices=TYPES,
        help="The type of the model's weights in memory (default: the type they are stored in, "
        "but on a CPU float32 for half types).",
    )


def loading_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `load` takes beside the model, as those flags say."""
    return {name: getattr(args, name) for name in LOADING}


def add_reading_flags(p: argparse.ArgumentParser) -> None:
    """Give a parser the flags of commands that read images, beside those of generation."""
    p.add_argument("--batch-size", type=int, default=16, help=unset(BATCH_SIZE, "16"))
    p.add_argument(
        "-p",
        "--prompt",
        help="The text that the decoder starts from, for Donut a question or the tags of a task; "
        "a prompt that the data has for an image takes its place.",
    )
    p.add_argument(
        "--grammar",
        action="store_true",
        help="Let the decoder write well-formed tags only (Donut).",
    )
