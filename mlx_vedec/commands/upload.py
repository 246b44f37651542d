"""`mlx_vedec upload`: put a model's folder on the Hugging Face Hub, with a model card.

The login is that of `hf auth login`, or HF_TOKEN. The address is printed at the end. With --dry-run
the files and the model card are printed, and no network is asked.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .common import run, say
from .flags import YES, FlagParser, add_flag, add_shared

if TYPE_CHECKING:
    from ..conversion.upload import Upload


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has them."""
    p = FlagParser("mlx_vedec upload", description=__doc__)
    path = "The folder of the model, or of adapters."
    add_flag(p, "path", path, default="mlx_model", metavar="FOLDER")
    add_shared(p, "upload_repo", required=True)
    add_shared(p, "private")
    add_flag(p, "revision", "The branch to write to, made if it is not there.", "main")
    add_flag(p, "create_pr", "Open a pull request instead of writing to it.", **YES)
    message = "The message of the one commit."
    add_flag(p, "commit_message", message, "one that names this version", metavar="TEXT")
    add_shared(p, "dry_run")
    g = p.add_argument_group("model card", "where the folder's README.md does not say it")
    base = "The Hub id of the model that this one was made from."
    add_flag(g, "base_model", base, metavar="ID")
    add_flag(
        g,
        "base_model_relation",
        "What was done to that model: quantized, finetune, adapter or merge.",
        "told by the weights",
        metavar="RELATION",
    )
    add_flag(g, "license", "The licence, by the Hub's short name, such as mit or apache-2.0.")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run(parser(), _upload, argv)


def _upload(args: argparse.Namespace) -> int:
    from ..conversion.model_card import Origin
    from ..conversion.upload import planned, upload

    if args.dry_run:
        origin = Origin(args.base_model, args.base_model_relation, args.license)
        found = planned(args.path, args.upload_repo, origin)
        for note in found.notes:
            say(note)
        print(_listing(found))
        return 0
    address = upload(
        args.path,
        args.upload_repo,
        private=args.private,
        base_model=args.base_model,
        relation=args.base_model_relation,
        license=args.license,
        revision=args.revision,
        create_pr=args.create_pr,
        message=args.commit_message,
        say=say,
    )
    print(address)
    return 0


def _listing(found: Upload) -> str:
    """A line for each file with its bytes, one for their sum, and the card."""
    sizes = [f"{size:>14,}  {name}" for name, size in sorted(found.files.items())]
    return "\n".join([*sizes, f"{sum(found.files.values()):>14,}  bytes together", "", found.card])
