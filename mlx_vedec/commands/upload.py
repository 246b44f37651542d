"""`mlx_vedec upload`: a model's folder put on the Hugging Face Hub, with a model card.

The login is that of `hf auth login`, or the token in HF_TOKEN. What is printed is the address of
what was uploaded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from .common import run

if TYPE_CHECKING:
    from ..conversion.upload import Upload


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has them."""
    p = argparse.ArgumentParser("mlx_vedec upload", description=__doc__)
    p.add_argument(
        "--path", default="mlx_model", help="the model's or adapter's folder (default: mlx_model)"
    )
    p.add_argument(
        "--upload-repo",
        metavar="ID",
        required=True,
        help="the repository to write to, owner/name; it is made if it is not there",
    )
    p.add_argument("--private", action="store_true", help="make a new repository private")
    p.add_argument(
        "--revision",
        metavar="BRANCH",
        help="the branch to write to; it is made if it is not there (default: main)",
    )
    p.add_argument(
        "--create-pr", action="store_true", help="open a pull request instead of writing"
    )
    p.add_argument(
        "--commit-message",
        metavar="TEXT",
        help="the commit's message (default: Upload with mlx_vedec and its version)",
    )
    p.add_argument(
        "--dry-run",
        action="store_true",
        help="print the files and the model card; write nothing and use no network",
    )
    g = p.add_argument_group("model card", "what it says where the folder's README.md does not")
    g.add_argument("--base-model", metavar="ID", help="Hub id of the model it was made from")
    g.add_argument(
        "--base-model-relation",
        metavar="WORD",
        help="how it was made from that model: quantized, finetune, adapter or merge (default: as "
        "the weights tell)",
    )
    g.add_argument(
        "--license",
        metavar="NAME",
        help="its licence by the Hub's short name, such as mit or apache-2.0",
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
