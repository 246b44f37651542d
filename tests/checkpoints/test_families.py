"""Families by their model types: those that are not used are not imported."""

import subprocess
import sys

import pytest

from mlx_vedec.decoders import DECODERS
from mlx_vedec.encoders import ENCODERS


@pytest.mark.parametrize("families", [ENCODERS, DECODERS], ids=["encoders", "decoders"])
def test_each_type_leads_to_its_class(families):
    assert len({*families}) == len(families) > 20
    for model_type, kind in families.items():
        assert kind.config_class.model_type == model_type or model_type == "mlcd"
    assert "vit_hybrid" not in families
    with pytest.raises(KeyError):
        families["vit_hybrid"]


def test_a_load_imports_what_it_uses():
    code = (
        "import sys, mlx_vedec; mlx_vedec.load(); "
        "print(*(name for name in sys.modules if name.startswith('mlx_vedec.')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = set(found.stdout.split())
    assert {"mlx_vedec.encoders.vit", "mlx_vedec.decoders.bart"} <= names
    others = {"swin", "dinov2", "beit", "clip"}, {"gpt2", "mbart", "roberta", "xglm"}
    for room, files in zip(("encoders", "decoders"), others, strict=True):
        assert not names & {f"mlx_vedec.{room}.{file}" for file in files}
