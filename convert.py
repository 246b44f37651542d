"""The converter from a checkout: `python convert.py --model … --mlx-path …`."""

import sys

from mlx_vedec.commands.convert import main

if __name__ == "__main__":
    sys.exit(main())
