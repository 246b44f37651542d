"""`mlx_vedec upload`: a model's folder put on the Hugging Face Hub, with a model card.

The login is that of `hf auth login`, or HF_TOKEN. The address is printed at the end.
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
    from ..conversion.upload import Plan


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has them."""
    p = argparse.ArgumentParser("mlx_vedec upload", description=__doc__)
    p.add_argument("--path", default="mlx_model", help="the folder (mlx_model)")
    add_shared(p, "upload_repo", required=True)
    add_shared(p, "private")
    p.add_argument("--revision", help="the branch to write to, made if it is not there (main)")
    p.add_argument("--create-pr", action="store_true", help="open a pull request")
    p.add_argument("--commit-message", help="of the one commit")
    p.add_argument(
        "--dry-run", action="store_true", help="print files and card, touch nothing, ask no network"
    )
    g = p.add_argument_group("model card", "where the folder's README.md does not know it")
    g.add_argument("--base-model", metavar="ID", help="Hub id of what the model was made from")
    g.add_argument(
        "--base-model-relation", help="quantized, finetune, adapter or merge (by the weights)"
    )
    g.add_argument("--license", help="by the Hub's short name, such as mit or apache-2.0")
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
        plan = planned(args.path, args.upload_repo, origin)
        for note in plan.notes:
            say(note)
        print(_listing(plan))
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


def _listing(plan: Plan) -> str:
    sizes = [f"{size:>14,}  {name}" for name, size in sorted(plan.files.items())]
    return "\n".join([*sizes, f"{sum(plan.files.values()):>14,}  bytes together", "", plan.card])
