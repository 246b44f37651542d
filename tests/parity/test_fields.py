"""No configuration field that changes what is computed goes untested."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from mlx_vedec.decoders import DECODERS
from mlx_vedec.encoders import ENCODERS

HERE = Path(__file__).parent
CONFIGS = [family.config_class for family in (*ENCODERS.values(), *DECODERS.values())]
# What is set for the library's sake or the user's, or in every row by the table of sizes.
WITHOUT_EFFECT = {
    *("extra", "use_cache", "is_decoder", "bos_token_id", "initializer_range", "init_std"),
    "add_cross_attention",  # both ways in test_assembly.py, by attribute
}
SIZED = {
    *("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size", "d_model"),
    *("decoder_ffn_dim", "max_position_embeddings"),
}


def keys_of(tree: ast.Module) -> set[str]:
    """Every name that a dict, a keyword or a tuple of names in a test could set."""
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    strings = {name.removesuffix("Config").removesuffix("Model") for name in imported} | {
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }
    return strings | {n.arg for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg}


PATHS = {*HERE.parent.rglob("test_*.py")} - {Path(__file__)}
KEYS = {path: keys_of(ast.parse(path.read_text(encoding="utf-8"))) for path in PATHS}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.model_type)
def test_every_field_is_set_by_some_row(config):
    stem = config.__name__.removesuffix("Config")
    own = [keys for keys in KEYS.values() if stem in keys]
    assert own, f"no parity test names {stem}"
    used = set().union(*own) | WITHOUT_EFFECT | SIZED
    names = {
        f.name: {f.name, *(a for a, n in config.aliases.items() if n == f.name)}
        for f in fields(config)
    }
    unset = sorted(name for name, spelled in names.items() if not spelled & used)
    assert not unset, f"no row sets {unset} of {stem}"
