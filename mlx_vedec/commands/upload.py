"""`mlx_vedec upload`: put a model's folder on the Hugging Face Hub, with a model card.

The login is that of `hf auth login`, or HF_TOKEN. The address is printed at the end. With --dry-run
the files and the model card are printed, and no network is asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from .common import run
from .flags import add_shared

if TYPE_CHECKING:
    from ..conversion.upload import Upload


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has them."""
    p = argparse.ArgumentParser("mlx_vedec upload", description=__doc__)
    p.add_argument(
        "--path",
        default="mlx_model",
        metavar="FOLDER",
        help="The folder of the model, or of adapters (default: mlx_model).",
    )
    add_shared(p, "upload_repo", required=True)
    add_shared(p, "private")
    p.add_argument(
        "--revision", help="The branch to write to, made if it is not there (default: main)."
    )
    p.add_argument(
        "--create-pr", action="store_true", help="Open a pull request instead of writing to it."
    )
    p.add_argument(
        "--commit-message",
        metavar="TEXT",
        help="The message of the one commit (default: one that names this version).",
    )
    add_shared(p, "dry_run")
    g = p.add_argument_group("model card", "where the folder's README.md does not say it")
    g.add_argument(
        "--base-model", metavar="ID", help="The Hub id of the model that this one was made from."
    )
    g.add_argument(
        "--base-model-relation",
        metavar="RELATION",
        help="What was done to that model: quantized, finetune, adapter or merge (default: told by "
        "the weights).",
    )
    g.add_argument(
        "--license", help="The licence, by the Hub's short name, such as mit or apache-2.0."
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run(parser(), _upload, argv)


def _upload(args: argparse.Namespace) -> int:
    from ..conversion.model_card import Origin
    from ..conversion.upload import planned, upload

    say = partial(print, file=sys.stderr)
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
