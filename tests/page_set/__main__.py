"""Make a set of pages with known lines and texts.

python -m tests.page_set FOLDER [--seed 18] [--pages 54] [--typefaces FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .making import write_set
from .typefaces import fetch


def main() -> None:
    """Fetch the typefaces where they are not there, and write the pages."""
    p = argparse.ArgumentParser("python -m tests.page_set", description=__doc__)
    p.add_argument("folder", type=Path, help="where the pages go, and PAGE beside each")
    p.add_argument("--seed", type=int, default=18, help="another makes other pages")
    p.add_argument("--pages", type=int, default=54, help="how many, beside one of A4")
    p.add_argument(
        "--typefaces",
        type=Path,
        default=Path.home() / ".cache" / "mlx_vedec_typefaces",
        help="where they are, or are fetched to by npm",
    )
    args = p.parse_args()
    fetch(args.typefaces)
    for path in write_set(args.folder, seed=args.seed, count=args.pages, typefaces=args.typefaces):
        print(path)


if __name__ == "__main__":
    main()
