"""load: a checkpoint's model and processor."""

import gc

import mlx.core as mx
import pytest

import mlx_vedec
from mlx_vedec import load
from mlx_vedec.errors import CheckpointError


def test_load_returns_the_config_when_asked():
    model, _, config = load(return_config=True)
    assert config["encoder"]["model_type"] == "vit" and not model.training
    assert mlx_vedec.__version__ in repr(mlx_vedec.__version__)


def test_load_lazily_reads_nothing():
    gc.collect()  # models of other tests must not be freed meanwhile
    before = mx.get_active_memory()
    model, _ = load(lazy=True)
    assert mx.get_active_memory() - before < 1e6
    mx.eval(model.parameters())
    assert mx.get_active_memory() - before > 7e6


def test_folders_that_are_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load(tmp_path)
