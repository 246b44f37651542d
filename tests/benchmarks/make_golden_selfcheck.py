"""Write `mlx_vedec/assets/selfcheck.safetensors`, which `mlx_vedec selfcheck` compares with.

Run on a CPU from the repository's root, when a family is new: `python -m
tests.benchmarks.make_golden_selfcheck`. `tests/parity/test_selfcheck_golden.py` then has to pass.
"""

from __future__ import annotations

import mlx.core as mx

from mlx_vedec.files import write_file
from mlx_vedec.measuring.selfcheck import GOLDEN, bundled_tokens, family_values, golden_name
from mlx_vedec.measuring.selfcheck_models import FAMILIES

BITS = (None, 8, 4)


def golden() -> dict[str, mx.array]:
    """The file's arrays: values of every family, tokens of every line."""
    values = {
        golden_name(family, bits): family_values(family, bits, mx.float32)[0]
        for family in FAMILIES
        for bits in BITS
    }
    tokens = {
        f"{how}.{name}": mx.array(ids)
        for how, read in bundled_tokens().items()
        for name, ids in read.items()
    }
    return {**values, **tokens}


def main() -> None:
    mx.set_default_device(mx.cpu)
    arrays = golden()
    write_file(GOLDEN, lambda path: mx.save_safetensors(str(path), arrays))
    print(f"{GOLDEN}: {len(arrays)} arrays, {GOLDEN.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
