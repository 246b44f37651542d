"""The command line: `mlx_vedec <command>`, each also `mlx_vedec.<command>`; a file for each.

Imports every room, a command only what it needs, once it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from ..errors import nearest

COMMANDS = {
    "generate": "read the text of images",
    "convert": "rewrite a checkpoint in another type",
    "lora": "fine-tune a model on images and their texts",
    "evaluate": "measure how well a model reads data whose texts are known",
    "benchmark": "measure how fast a model reads, and with how much memory",
    "fuse": "merge adapters into a checkpoint",
    "export": "write a model as functions that C++ and Swift import",
    "server": "read the images that clients send, as OpenAI's API has it",
    "inspect": "say what a checkpoint is, and whether it loads",
    "selfcheck": "check that every family computes on this machine what it should",
    "upload": "put a model's folder on the Hugging Face Hub",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; the exit code is 0, 1 or, for usage, 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        from ..version import __version__

        print(f"mlx_vedec {__version__}")
        return 0
    if name not in COMMANDS:
        what = f"{name[:100]} is not a command; {nearest(name[:100], COMMANDS)}"
        print(f"mlx_vedec: error: {what}", file=sys.stderr)
        return 2
    return import_module(f".{name}", __name__).main(rest)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
    return f"""usage: mlx_vedec <command> [-h] ...

Run Hugging Face VisionEncoderDecoder checkpoints on Apple MLX.

commands:
{lines}

`mlx_vedec <command> --help` lists a command's flags."""
